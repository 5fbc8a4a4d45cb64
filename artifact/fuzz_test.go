package artifact

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
)

// exercise does with a file whatever can be done with one. It is called with files that anybody may have made: nothing may
// panic, every fault must be an *Error, and memory must stay within bounds.
func exercise(t *testing.T, b []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := openBytes(b)
	if err != nil {
		wantFault(t, err, nil, "open")
	} else {
		use(t, f, b)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
		t.Errorf("%d bytes of memory for a file of %d", n, len(b))
	}
}

func use(t *testing.T, f *File, b []byte) {
	fault := func(err error) bool {
		if err != nil && !errors.Is(err, errEnough) {
			wantFault(t, err, nil, "use")
		}
		return err != nil
	}
	sound := !fault(f.Verify())
	if x := f.Index; !bytes.Equal(encodeIndex(x), encodeIndex(x)) {
		t.Error("the index encodes differently from time to time")
	}
	f.Index.List(true)
	f.Index.PrintModel(io.Discard)
	fault(f.Index.PrintOperands(io.Discard, true))
	fault(f.Index.PrintParameters(io.Discard))
	fault(dump(io.Discard, bytes.NewReader(b), int64(len(b))))
	for i := range min(len(f.Index.Operands), 50) {
		v, err := f.OperandValues(f.Index.Operands[i].Name)
		if !fault(err) {
			fault(v.WriteFloat32(&limited{1 << 20}))
			fault(v.WriteRaw(&limited{1 << 20}))
		}
	}
	for i := range min(len(f.Index.Parameters), 50) {
		name := f.Index.Parameters[i].Name
		v, err := f.ParameterValues(name)
		if fault(err) {
			continue
		}
		if !fault(v.WriteFloat32(&limited{1 << 20})) && len(v.Shape) > maxAxes {
			t.Errorf("parameter %q has %d axes", name, len(v.Shape))
		}
		fault(v.WriteRaw(&limited{1 << 20}))
	}
	if sound {
		for i := range f.Index.Operands {
			if o := &f.Index.Operands[i]; !o.Supported() && o.single() {
				t.Errorf("operand %q is of a known format and not supported", o.Name)
			}
		}
	}
}

// FuzzOpen is given whole files.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(magic))
	f.Add(newSmallSample().damaged().bytes())
	f.Add(newSample(4096).damaged().bytes())
	f.Fuzz(exercise)
}

// FuzzIndex is given the index and 4096 bytes of data at most; header and digests are put right, so that the decoder and the
// checks behind it are reached.
func FuzzIndex(f *testing.F) {
	for _, s := range []*sample{newSmallSample(), newSample(4096)} {
		d := s.damaged()
		d.seal()
		f.Add(encodeIndex(d.index), d.data[:4096])
	}
	f.Add(sharedIndex(3), []byte{})
	f.Fuzz(func(t *testing.T, index, data []byte) {
		d := newSample(4096).damaged()
		copy(d.data, data)
		index = append(bytes.Clone(index), make([]byte, (8-len(index)%8)%8)...)
		if len(index) < minIndexBytes {
			index = append(index, make([]byte, minIndexBytes-len(index))...)
		}
		d.raw = index
		if x, err := decodeIndex(index, 0); err == nil { // segments as the index has them, and their digests
			end := uint64(4096)
			for i := range x.Segments {
				s := &x.Segments[i]
				if s.Offset != end || s.Bytes > 1<<20-end {
					break
				}
				end += s.Bytes
			}
			d.data = append(d.data, make([]byte, 1<<20)...)[:end-4096]
			at := openFlat(index, 0).at[slotSegments]
			for i := range x.Segments {
				g := &x.Segments[i]
				if g.Offset >= 4096 && g.Bytes <= uint64(len(d.data)) && g.Offset-4096 <= uint64(len(d.data))-g.Bytes {
					putDigest(index[at+i*segmentStruct.size+24:], Sum(d.data[g.Offset-4096:][:g.Bytes]))
				}
			}
		}
		exercise(t, d.bytes())
	})
}
