package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/internal/checkpoints"
	"npuw/pipeline/source"
)

// small is a state dict of two tensors, one of whose storages is shared.
func small() checkpoints.Saved {
	views := checkpoints.Views([]checkpoints.Tensor{{Name: "w", Type: element.F32, Shape: []int{2, 2}, Bytes: []byte("0123456789abcdef")}})
	return checkpoints.Saved{Views: append(views, checkpoints.View{Name: "v", Of: views[0].Of, Offset: 1, Shape: []int{2}, Stride: []int{2}})}
}

// zipped gives a zip of files, name and content in turn; method is how they are stored.
func zipped(t *testing.T, method uint16, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err == nil {
			_, err = w.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pickled is the pickle of small in the new format.
func pickled(t *testing.T) string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(checkpoints.TorchZip(small())), int64(len(checkpoints.TorchZip(small()))))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open("archive/data.pkl")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRefusesZips(t *testing.T) {
	t.Parallel()
	pickle := pickled(t)
	good := zipped(t, zip.Store, "x/data.pkl", pickle, "x/data/0", "0123456789abcdef")
	if c := open(t, good); len(c.Tensors) != 2 {
		t.Fatalf("%+v", c)
	}
	end := len(good) - endHead
	directory := int(binary.LittleEndian.Uint32(good[end+16:]))
	edit := func(at int, b ...byte) []byte {
		file := bytes.Clone(good)
		copy(file[at:], b)
		return file
	}
	for name, x := range map[string]struct {
		file []byte
		want error
		says string
	}{
		"no checkpoint":          {zipped(t, zip.Store, "weights.npy", "x"), source.ErrNotRecognised, "0 files data.pkl"},
		"two":                    {zipped(t, zip.Store, "x/data.pkl", pickle, "y/data.pkl", pickle), source.ErrNotRecognised, "2 files data.pkl"},
		"a deeper one":           {zipped(t, zip.Store, "x/y/data.pkl", pickle), source.ErrNotRecognised, "0 files data.pkl"},
		"compressed":             {zipped(t, zip.Deflate, "x/data.pkl", pickle, "x/data/0", "0123456789abcdef"), source.ErrUnsupported, "compressed"},
		"TorchScript":            {zipped(t, zip.Store, "x/data.pkl", pickle, "x/constants.pkl", ").", "x/data/0", "0123456789abcdef"), source.ErrUnsupported, "TorchScript"},
		"big-endian":             {zipped(t, zip.Store, "x/data.pkl", pickle, "x/byteorder", "big", "x/data/0", "0123456789abcdef"), source.ErrUnsupported, `"big"`},
		"a storage is missing":   {zipped(t, zip.Store, "x/data.pkl", pickle), source.ErrCorrupt, `storage "0" is not in the zip`},
		"a storage elsewhere":    {zipped(t, zip.Store, "x/data.pkl", pickle, "data/0", "0123456789abcdef"), source.ErrCorrupt, `storage "0" is not in the zip`},
		"a storage too small":    {zipped(t, zip.Store, "x/data.pkl", pickle, "x/data/0", "0123456789abcde"), source.ErrCorrupt, "has 15 bytes"},
		"a storage twice":        {zipped(t, zip.Store, "x/data.pkl", pickle, "x/data/0", "0123456789abcdef", "x/data/0", "0123456789abcdef"), source.ErrCorrupt, "twice"},
		"no pickle in it":        {zipped(t, zip.Store, "x/data.pkl", ""), source.ErrTruncated, "pickle"},
		"a list":                 {zipped(t, zip.Store, "x/data.pkl", "]."), source.ErrUnsupported, "holds a list, expected a state dict"},
		"an empty dict":          {zipped(t, zip.Store, "x/data.pkl", "}."), source.ErrNotRecognised, "no tensors by name"},
		"a number for a name":    {zipped(t, zip.Store, "x/data.pkl", strings.Replace(pickle, "X\x01\x00\x00\x00w", "J\x01\x00\x00\x00", 1), "x/data/0", "0123456789abcdef"), source.ErrCorrupt, "name is 1"},
		"encrypted":              {edit(directory+8, 1, 0), source.ErrUnsupported, "encrypted"},
		"sizes that differ":      {edit(directory+20, 1), source.ErrUnsupported, "compressed"},
		"a size past the end":    {edit(directory+20, 255, 255, 255, 0, 255, 255, 255, 0), source.ErrCorrupt, "in a file of"},
		"into the directory":     {edit(bytes.LastIndex(good, []byte(signDirectory))+20, 99, 0, 0, 0, 99), source.ErrCorrupt, "into the zip's directory"},
		"an offset past the end": {edit(directory+42, 255, 255, 255, 127), source.ErrCorrupt, "in a file of"},
		"an offset elsewhere":    {edit(directory+42, 1), source.ErrCorrupt, "no local header"},
		"another local name":     {edit(localHead, 'y'), source.ErrCorrupt, "no local header"},
		"one in another":         {edit(bytes.LastIndex(good, []byte(signDirectory))+42, 0, 0, 0, 0), source.ErrCorrupt, "no local header"},
		"zip64 without sizes":    {edit(directory+42, 255, 255, 255, 255), source.ErrCorrupt, "do not stand in it"},
		"no directory":           {edit(directory, 'Q'), source.ErrCorrupt, "no entry of a zip's directory"},
		"a directory elsewhere":  {edit(end+16, 0), source.ErrCorrupt, "does not end where"},
		"a longer directory":     {edit(end+12, 255, 255, 255), source.ErrCorrupt, "does not end where"},
		"a name past the end":    {edit(directory+28, 255, 255), source.ErrCorrupt, "directory entry"},
		"entries too many":       {edit(end+8, 3, 0, 3, 0), source.ErrCorrupt, "is said to have 3"},
		"no end":                 {edit(end, 'Q'), source.ErrTruncated, "no end record"},
		"cut":                    {good[:end], source.ErrTruncated, "no end record"},
		"its magic alone":        {[]byte("PK\x03\x04"), source.ErrTruncated, "no end record"},
		"something behind":       {append(bytes.Clone(good), 0), nil, ""},
	} {
		path := write(t, x.file)
		c, err := Open(path)
		if x.want == nil { // as a comment of the zip
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			c.Close()
			continue
		}
		if c != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.says) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: %v, expected %v with %q", name, err, x.want, x.says)
		}
	}
}

// The records of zip64 are read where they are, as in files past 4 GiB.
func TestZip64(t *testing.T) {
	t.Parallel()
	good := zipped(t, zip.Store, "x/data.pkl", pickled(t), "x/data/0", "0123456789abcdef")
	end := len(good) - endHead
	directory, size := binary.LittleEndian.Uint32(good[end+16:]), binary.LittleEndian.Uint32(good[end+12:])
	end64 := func(entries, size, offset, at uint64) []byte {
		le := binary.LittleEndian
		b := append(good[:end:end], signEnd64...)
		b = le.AppendUint64(b, end64Head-12)
		b = append(b, make([]byte, 12)...) // versions, disks
		for _, n := range []uint64{entries, entries, size, offset} {
			b = le.AppendUint64(b, n)
		}
		b = append(append(b, signLocator...), 0, 0, 0, 0)
		b = append(le.AppendUint64(b, at), 1, 0, 0, 0)
		tail := bytes.Clone(good[end:])
		for i := 8; i < 20; i++ {
			tail[i] = 255
		}
		return append(b, tail...)
	}
	if c := open(t, end64(2, uint64(size), uint64(directory), uint64(end))); len(c.Tensors) != 2 {
		t.Errorf("%+v", c)
	}
	for name, x := range map[string]struct {
		file []byte
		want error
	}{
		"entries over the limit": {end64(maxEntries+1, uint64(size), uint64(directory), uint64(end)), source.ErrLimit},
		"bytes over the limit":   {end64(2, maxDirectory+1, uint64(directory), uint64(end)), source.ErrLimit},
		"bytes past 2^63":        {end64(2, 1<<63, uint64(directory), uint64(end)), source.ErrCorrupt},
		"an offset past 2^63":    {end64(2, uint64(size), 1<<63, uint64(end)), source.ErrCorrupt},
		"a record past 2^63":     {end64(2, uint64(size), uint64(directory), 1<<63), source.ErrCorrupt},
		"a record past the end":  {end64(2, uint64(size), uint64(directory), uint64(end)+60), source.ErrTruncated},
		"a record elsewhere":     {end64(2, uint64(size), uint64(directory), uint64(end)+1), source.ErrCorrupt},
	} {
		if _, err := Open(write(t, x.file)); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, expected %v", name, err, x.want)
		}
	}
	for name, x := range map[string]struct {
		numbers [3]uint64
		extra   string
		want    [3]uint64
		ok      bool
	}{
		"none":             {[3]uint64{1, 2, 3}, "", [3]uint64{1, 2, 3}, true},
		"an offset":        {[3]uint64{1, 2, overflow32}, "\x01\x00\x08\x00\x00\x00\x00\x00\x01\x00\x00\x00", [3]uint64{1, 2, 1 << 32}, true},
		"behind others":    {[3]uint64{1, 2, overflow32}, "FB\x01\x00Z\x01\x00\x08\x00\x07\x00\x00\x00\x00\x00\x00\x00", [3]uint64{1, 2, 7}, true},
		"both sizes":       {[3]uint64{overflow32, overflow32, 3}, "\x01\x00\x10\x00\x05\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00", [3]uint64{5, 6, 3}, true},
		"one of two":       {[3]uint64{overflow32, overflow32, 3}, "\x01\x00\x08\x00\x05\x00\x00\x00\x00\x00\x00\x00", [3]uint64{5, overflow32, 3}, false},
		"a field cut":      {[3]uint64{1, 2, overflow32}, "\x01\x00\x08\x00\x05", [3]uint64{1, 2, overflow32}, false},
		"rest of no field": {[3]uint64{1, 2, 3}, "\x01\x00", [3]uint64{1, 2, 3}, true},
	} {
		if ok := widen(&x.numbers, []byte(x.extra)); ok != x.ok || x.numbers != x.want {
			t.Errorf("%s: %v, %v", name, x.numbers, ok)
		}
	}
}

func TestRefusesLegacy(t *testing.T) {
	t.Parallel()
	good := checkpoints.TorchLegacy(small())
	replace := func(from, to string) []byte {
		if !bytes.Contains(good, []byte(from)) {
			t.Fatalf("%q is not in %q", from, good)
		}
		return bytes.Replace(good, []byte(from), []byte(to), 1)
	}
	keys := "\x80\x02](X\x01\x00\x00\x000e."
	for name, x := range map[string]struct {
		file []byte
		want error
		says string
	}{
		"another pickle":               {[]byte("\x80\x02}."), source.ErrUnsupported, "magic number"},
		"a pickle that runs a program": {[]byte("\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."), source.ErrUnsupported, `"os.system"`},
		"another magic number":         {replace("\x6c\xfc", "\x6c\xfd"), source.ErrUnsupported, "magic number"},
		"another protocol":             {replace("M\xe9\x03", "M\xea\x03"), source.ErrUnsupported, "1002"},
		"big-endian":                   {replace("\x88u.", "\x89u."), source.ErrUnsupported, "little-endian"},
		"no order":                     {replace("little_endian", "little_indian"), source.ErrUnsupported, "little-endian"},
		"no keys":                      {replace(keys, "\x80\x02}."), source.ErrCorrupt, "the keys of storages"},
		"a key that is no text":        {replace(keys, "\x80\x02](K\x00e."), source.ErrCorrupt, "storage 0"},
		"a key of nothing":             {replace(keys, "\x80\x02](X\x01\x00\x00\x001e."), source.ErrCorrupt, `storage "1"`},
		"a key twice":                  {replace(keys, "\x80\x02](X\x01\x00\x00\x000X\x01\x00\x00\x000e."), source.ErrCorrupt, "there twice"},
		"none of the keys":             {append(replace(keys, "\x80\x02]e.")[:len(good)-len(keys)-24], "\x80\x02]."...), source.ErrCorrupt, "not in the file"},
		"elements of another number":   {replace("\x04\x00\x00\x00\x00\x00\x00\x0001", "\x03\x00\x00\x00\x00\x00\x00\x0001"), source.ErrCorrupt, "4 bytes behind the last storage"},
		"elements past the end":        {replace("\x04\x00\x00\x00\x00\x00\x00\x0001", "\x05\x00\x00\x00\x00\x00\x00\x0001"), source.ErrTruncated, "5 elements of 4 bytes, 16 bytes are left"},
		"elements past 2^63":           {replace("\x04\x00\x00\x00\x00\x00\x00\x0001", "\x04\x00\x00\x00\x00\x00\x00\x8001"), source.ErrTruncated, "elements of 4 bytes"},
		"cut":                          {good[:len(good)-1], source.ErrTruncated, "15 bytes are left"},
		"without storages":             {good[:len(good)-24], source.ErrTruncated, "8 bytes were expected"},
		"something behind":             {append(bytes.Clone(good), 0), source.ErrCorrupt, "1 bytes behind"},
		"cut in the first pickle":      {good[:17], source.ErrTruncated, "pickle"},
		"classes that disagree":        {bytes.Replace(good, []byte("FloatStorage"), []byte("HalfStorage"), 1), source.ErrCorrupt, "of another size"},
		"a pickle over the limit":      {append(bytes.Clone(good[:21]), bytes.Repeat([]byte{0x95, 0, 0, 0, 0, 0, 0, 0, 0}, maxPickle/9+1)...), source.ErrLimit, "16777216 bytes"},
		"too short":                    {[]byte{0x80, 2}, source.ErrNotRecognised, "no checkpoint"},
		"nothing":                      {nil, source.ErrNotRecognised, "no checkpoint"},
	} {
		path := write(t, x.file)
		c, err := Open(path)
		if x.want == nil { // as good
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			c.Close()
			continue
		}
		if c != nil || !errors.Is(err, x.want) || !strings.Contains(fmt.Sprint(err), x.says) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: %v, expected %v with %q", name, err, x.want, x.says)
		}
	}
}

// check fails unless c's tensors lie within a file, or err is about it.
func check(t *testing.T, b []byte, c *source.Catalogue, err error) {
	t.Helper()
	if err != nil {
		if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	for i := range c.Tensors {
		x := &c.Tensors[i]
		size, ok := source.Bytes(x.Shape, x.Type)
		if !ok || size != x.Data.Size || x.Data.Offset < 0 || x.Data.Decoder == nil && x.Data.Offset+size > int64(len(b)) {
			t.Fatalf("%+v: %d bytes, in a file of %d", x, size, len(b))
		}
	}
}

// FuzzPickle runs pickles. Whatever they say, nothing but values comes of it, and tensors of them lie in their storages.
func FuzzPickle(f *testing.F) {
	for _, nest := range []string{"", "state_dict"} {
		s := small()
		s.Nest, s.Numbers = nest, map[string]map[string]int{"dims": {"n": 1}}
		f.Add(string(checkpoints.TorchLegacy(s)[17+3:]))
	}
	f.Add("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01w\x94K\x07u.")
	f.Fuzz(func(t *testing.T, text string) {
		m := &machine{text: []byte(text), path: "f"}
		v, err := m.run()
		if err != nil {
			check(t, nil, nil, err)
			return
		}
		const file = 1 << 20
		r := reader{path: "f", size: file}
		c, err := r.catalogue(v, func(s *storage) (int64, error) {
			if s.elements > file/s.kind.size {
				return 0, r.fail(0, source.ErrTruncated, "cut", "")
			}
			return 0, nil
		})
		check(t, make([]byte, file), c, err)
	})
}

// FuzzOpen reads files of both formats.
func FuzzOpen(f *testing.F) {
	f.Add(checkpoints.TorchZip(small()))
	f.Add(checkpoints.TorchLegacy(small()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{src: bytes.NewReader(b), size: int64(len(b)), path: "f"}
		c, err := r.read()
		check(t, b, c, err)
	})
}
