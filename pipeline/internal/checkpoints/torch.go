package checkpoints

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"npuw/artifact/element"
)

// Storage is what tensors of a torch.save file are views of.
type Storage struct {
	Class    string // "FloatStorage"
	Elements int
	Bytes    []byte
}

// View is a tensor of a torch.save file.
type View struct {
	Name          string
	Of            *Storage
	Offset        int // in elements
	Shape, Stride []int
}

// Saved is what is given to torch.save.
type Saved struct {
	Views   []View
	Nest    string                    // the key of the state dict, "" for none
	Numbers map[string]map[string]int // dicts beside a nested state dict
}

// classes are those of storages.
var classes = map[element.Format]string{
	element.F64: "DoubleStorage", element.F32: "FloatStorage", element.F16: "HalfStorage", element.BF16: "BFloat16Storage",
}

// Views gives each tensor a storage of its own.
func Views(list []Tensor) []View {
	var views []View
	for _, t := range list {
		s := &Storage{classes[t.Type], len(t.Bytes) / t.Type.Size(), t.Bytes}
		views = append(views, View{t.Name, s, 0, t.Shape, strides(t.Shape)})
	}
	return views
}

// Transposed gives v of a storage in which its first two axes lie the other way round, behind three elements of other things.
func Transposed(v View, size int) View {
	if len(v.Shape) < 2 {
		return v
	}
	order := slices.Clone(v.Shape)
	order[0], order[1] = order[1], order[0]
	stride := strides(order)
	stride[0], stride[1] = stride[1], stride[0]
	file := bytes.Repeat([]byte{0xaa}, 3*size+len(v.Of.Bytes))
	at := make([]int, len(v.Shape))
	for i := range v.Of.Elements {
		rest, to := i, 3
		for a := len(at) - 1; a >= 0; a-- {
			to += rest % v.Shape[a] * stride[a]
			rest /= v.Shape[a]
		}
		copy(file[to*size:], v.Of.Bytes[i*size:][:size])
	}
	return View{v.Name, &Storage{v.Of.Class, v.Of.Elements + 3, file}, 3, v.Shape, stride}
}

func strides(shape []int) []int {
	list := make([]int, len(shape))
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		list[i] = step
		step *= shape[i]
	}
	return list
}

// TorchZip gives the file that torch.save makes of s since PyTorch 1.6.
func TorchZip(s Saved) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name string, file []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(file)
		}
		if err != nil {
			panic(err) // a buffer takes all
		}
	}
	p := pickler{}
	add("data.pkl", p.saved(s, false))
	add("byteorder", []byte("little"))
	for i, storage := range p.storages {
		add(fmt.Sprintf("data/%d", i), storage.Bytes)
	}
	add("version", []byte("3\n"))
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// TorchLegacy gives the file that it made before.
func TorchLegacy(s Saved) []byte {
	b := []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.")
	info := pickler{}
	info.op("\x80\x02}(")
	info.text("little_endian")
	b = append(b, append(info.b, "\x88u."...)...)
	p, keys := pickler{}, pickler{}
	b = append(b, p.saved(s, true)...)
	keys.op("\x80\x02](")
	for i := range p.storages {
		keys.text(fmt.Sprint(i))
	}
	b = append(b, append(keys.b, "e."...)...)
	for _, storage := range p.storages {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(storage.Elements)), storage.Bytes...)
	}
	return b
}

// pickler writes pickles of protocol 2.
type pickler struct {
	b        []byte
	storages []*Storage
}

func (p *pickler) op(text string) { p.b = append(p.b, text...) }

func (p *pickler) text(s string) {
	p.op("X")
	p.b = append(binary.LittleEndian.AppendUint32(p.b, uint32(len(s))), s...)
}

func (p *pickler) number(n int) {
	p.op("J")
	p.b = binary.LittleEndian.AppendUint32(p.b, uint32(n))
}

func (p *pickler) tuple(list []int) {
	p.op("(")
	for _, n := range list {
		p.number(n)
	}
	p.op("t")
}

// saved pickles s, with the persistent ids of the old format or of the new.
func (p *pickler) saved(s Saved, old bool) []byte {
	p.op("\x80\x02")
	if s.Nest != "" {
		p.op("}(")
		for _, key := range slices.Sorted(maps.Keys(s.Numbers)) {
			p.text(key)
			p.op("}(")
			for _, name := range slices.Sorted(maps.Keys(s.Numbers[key])) {
				p.text(name)
				p.number(s.Numbers[key][name])
			}
			p.op("u")
		}
		p.text(s.Nest)
	}
	p.op("ccollections\nOrderedDict\n)R(")
	for _, v := range s.Views {
		p.view(v, old)
	}
	p.op("u")
	if s.Nest != "" {
		p.op("u")
	}
	p.op(".")
	return p.b
}

// view pickles a name and its tensor.
func (p *pickler) view(v View, old bool) {
	key := slices.Index(p.storages, v.Of)
	if key < 0 {
		key = len(p.storages)
		p.storages = append(p.storages, v.Of)
	}
	p.text(v.Name)
	p.op("ctorch._utils\n_rebuild_tensor_v2\n((")
	p.text("storage")
	p.op("ctorch\n" + v.Of.Class + "\n")
	p.text(fmt.Sprint(key))
	p.text("cpu")
	p.number(v.Of.Elements)
	if old {
		p.op("N")
	}
	p.op("tQ")
	p.number(v.Offset)
	p.tuple(v.Shape)
	p.tuple(v.Stride)
	p.op("\x89ccollections\nOrderedDict\n)RtR")
}
