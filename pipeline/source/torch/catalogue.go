package torch

import (
	"fmt"
	"math/bits"

	"npuw/pipeline/source"
)

// nests are the keys under which training tools and OpenAI put a state dict, the likeliest first.
var nests = []string{"model_state_dict", "state_dict", "model"}

// catalogue gives the tensors of what was saved: a state dict, or a dict that has one under a key of nests. place gives the offset in
// the file of a storage, of which all bytes are there.
func (r *reader) catalogue(v value, place func(*storage) (int64, error)) (*source.Catalogue, error) {
	saved, ok := v.(*dict)
	if !ok {
		return nil, r.fail(-1, source.ErrUnsupported, fmt.Sprintf("holds %.100s, expected a state dict", describe(v)), nextSafe)
	}
	c := &source.Catalogue{Kind: "torch", Path: r.path, Sizes: saved.numbers()}
	state := saved
	for i := 0; i < len(nests) && !state.hasTensors(); i++ {
		if inner, ok := saved.get(nests[i]).(*dict); ok && inner.hasTensors() {
			state = inner
		}
	}
	if !state.hasTensors() {
		return nil, r.fail(-1, source.ErrNotRecognised, fmt.Sprintf("no tensors by name: neither it nor what it has under %q is a state dict", nests), nextSafe)
	}
	seen := map[string]bool{}
	for _, e := range state.entries {
		t, ok := e.value.(*tensor)
		if !ok {
			continue
		}
		name, ok := e.key.(string)
		if !ok || len(name) > maxName || seen[name] {
			return nil, r.fail(-1, source.ErrCorrupt, fmt.Sprintf("a tensor's name is %.100s, which is no string, too long, or there twice", describe(e.key)), nextSafe)
		}
		seen[name] = true
		if err := r.add(c, name, t, place); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// add adds a tensor to c.
func (r *reader) add(c *source.Catalogue, name string, t *tensor, place func(*storage) (int64, error)) error {
	fail := func(sentinel error, problem string) error {
		return &source.Error{File: r.path, Offset: -1, Thing: fmt.Sprintf("tensor %.200q", name), Problem: problem, Next: nextSafe, Err: sentinel}
	}
	at, err := place(t.of)
	if err != nil {
		return err
	}
	held := t.of.elements * t.of.kind.size / t.kind.size // elements of the tensor's type in the storage; place knows that its bytes are there
	n, ok := t.elements()
	switch {
	case len(t.shape) != len(t.stride):
		return fail(source.ErrCorrupt, fmt.Sprintf("shape %v, strides %v", t.shape, t.stride))
	case !ok || n > 0 && !t.within(held):
		return fail(source.ErrCorrupt, fmt.Sprintf("shape %v with strides %v from element %d on goes past its storage of %d", t.shape, t.stride, t.offset, held))
	case n > held:
		return fail(source.ErrUnsupported, fmt.Sprintf("shape %v has more elements than its storage of %d: it was expanded", t.shape, held))
	}
	if t.kind.format == 0 && t.kind.float8 == nil {
		if c.Others == nil {
			c.Others = map[string]string{}
		}
		c.Others[name] = t.kind.name
		return nil
	}
	shape := make([]uint64, len(t.shape))
	for i, s := range t.shape {
		shape[i] = uint64(s)
	}
	data := source.Data{File: r.file, Offset: at + t.offset*t.kind.size, Size: n * t.kind.size}
	if n == 0 {
		data.Offset = at
	} else if !t.contiguous() {
		data.Decoder = strided{name, r.file, data.Offset, t.kind.size, t.shape, t.stride}
	}
	if t.kind.float8 != nil {
		c.Tensors = append(c.Tensors, t.kind.float8.Tensor(name, shape, data))
		return nil
	}
	c.Tensors = append(c.Tensors, source.Tensor{Name: name, Type: t.kind.format, Shape: shape, Data: data})
	return nil
}

// elements is how many the tensor has; false if no file has as many.
func (t *tensor) elements() (int64, bool) {
	shape := make([]uint64, len(t.shape))
	for i, s := range t.shape {
		shape[i] = uint64(s)
	}
	n, ok := source.Elements(shape)
	return int64(n), ok
}

// within reports whether all elements of a tensor, which has some, are among held of its storage.
func (t *tensor) within(held int64) bool {
	if t.offset < 0 || t.offset >= held {
		return false
	}
	last := uint64(t.offset)
	for i, s := range t.shape {
		over, far := bits.Mul64(uint64(s-1), uint64(t.stride[i]))
		if over != 0 || far >= uint64(held)-last {
			return false
		}
		last += far
	}
	return true
}

// contiguous reports whether the elements lie row-major, one after another.
func (t *tensor) contiguous() bool {
	step := int64(1)
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.stride[i] != step {
			return false
		}
		step *= t.shape[i]
	}
	return true
}

// get is the value of a key, nil if there is none; of a key that is there twice it is the last one's, as in Python.
func (d *dict) get(key string) value {
	for i := len(d.entries) - 1; i >= 0; i-- {
		if d.entries[i].key == value(key) {
			return d.entries[i].value
		}
	}
	return nil
}

func (d *dict) hasTensors() bool {
	for _, e := range d.entries {
		if _, ok := e.value.(*tensor); ok {
			return true
		}
	}
	return false
}

// Of numbers beside a state dict. A pickle may hold one dict any number of times.
const (
	maxLooked = 1 << 16 // entries of dicts in dicts that are looked at
	maxKey    = 64      // bytes of a name; longer ones do not count
)

// numbers are the integers in d and, with its key and a dot before their names, in the dicts in it; nil if there are none.
func (d *dict) numbers() map[string]int64 {
	found, looked := map[string]int64{}, 0
	add := func(prefix string, e entry) {
		name, ok := e.key.(string)
		if n, number := e.value.(int64); ok && number && len(name) <= maxKey {
			found[prefix+name] = n
		}
	}
	for _, e := range d.entries {
		add("", e)
		key, ok := e.key.(string)
		inner, isDict := e.value.(*dict)
		if !ok || !isDict || len(key) > maxKey {
			continue
		}
		for _, x := range inner.entries[:min(len(inner.entries), maxLooked-looked)] {
			add(key+".", x)
			looked++
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}
