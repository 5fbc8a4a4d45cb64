package source_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// counting decodes a tensor whose 16-bit elements are 0, 1, 2...
type counting struct{}

func (counting) Decode(_ *source.Catalogue, dst []byte, offset int64) error {
	for i := 0; i < len(dst); i += 2 {
		binary.LittleEndian.PutUint16(dst[i:], uint16((offset+int64(i))/2))
	}
	return nil
}

// TestDecoder: a computed tensor, and a part of it, are read in whole elements within their bounds.
func TestDecoder(t *testing.T) {
	t.Parallel()
	c := &source.Catalogue{Path: "m", Files: []*source.File{{Path: "m"}}}
	whole := source.Tensor{Name: "w", Type: element.F16, Shape: []uint64{4, 6}, Data: source.Data{Size: 48, Decoder: counting{}}}
	part := source.Tensor{Name: "p", Type: element.F16, Shape: []uint64{4, 2}, Data: whole.Data.Part(4, 4, 12, 4)}
	part2 := source.Tensor{Name: "q", Type: element.F16, Shape: []uint64{2, 1}, Data: part.Data.Part(2, 2, 8, 2)}
	for _, c2 := range []struct {
		t      *source.Tensor
		offset int64
		want   []uint16
	}{
		{&whole, 0, []uint16{0, 1, 2}},
		{&whole, 46, []uint16{23}},
		{&part, 0, []uint16{2, 3, 8, 9, 14, 15, 20, 21}},
		{&part, 6, []uint16{9, 14, 15}},
		{&part2, 0, []uint16{3, 15}},
	} {
		got := make([]byte, 2*len(c2.want))
		if err := c.ReadAt(got, c2.t, c2.offset); err != nil {
			t.Fatal(err)
		}
		for i, w := range c2.want {
			if v := binary.LittleEndian.Uint16(got[2*i:]); v != w {
				t.Errorf("%s from %d: element %d is %d, expected %d", c2.t.Name, c2.offset, i, v, w)
			}
		}
	}
	for _, bad := range []struct{ offset, n int64 }{{1, 2}, {0, 3}, {46, 4}, {-2, 2}, {50, 0}} {
		if err := c.ReadAt(make([]byte, bad.n), &whole, bad.offset); !errors.Is(err, source.ErrMisuse) {
			t.Errorf("%d bytes at %d: %v", bad.n, bad.offset, err)
		}
	}
}
