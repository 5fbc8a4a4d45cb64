package layout

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N4", kn(10, 6)...) // 16 x 8 elements
	packed, plain := make([]byte, 256), make([]byte, 120)
	huge := Layout{[]Axis{{'K', 1, 1 << 62}}, []Digit{{0, 1 << 62, 1}}}
	for _, c := range []struct {
		name          string
		l             Layout
		packed, plain []byte
		strides       []int64
		elem          int
		pad           []byte
		message       string
	}{
		{"packed too short", l, packed[:255], plain, []int64{6, 1}, 2, nil, "the packed buffer has 255 bytes, the layout covers 256"},
		{"no packed", l, nil, plain, []int64{6, 1}, 2, nil, "the packed buffer has 0 bytes, the layout covers 256"},
		{"plain too short", l, packed, plain[:119], []int64{6, 1}, 2, nil, "the last element is at 59 of a buffer of 59"},
		{"no plain", l, packed, nil, []int64{6, 1}, 2, nil, "the last element is at 59 of a buffer of 0"},
		{"stride too long", l, packed, plain, []int64{7, 1}, 2, nil, "the last element is at 68 of a buffer of 60"},
		{"stride overflows", l, packed, plain, []int64{math.MaxInt64, 1}, 2, nil, "a stride of 9223372036854775807 for the 10 elements of axis K"},
		{"strides overflow together", l, packed, plain, []int64{math.MaxInt64 / 9, math.MaxInt64 / 5}, 2, nil, "for the 6 elements of axis N"},
		{"negative stride", l, packed, plain, []int64{-6, 1}, 2, nil, "a stride of -6 for the 10 elements of axis K"},
		{"negative stride that is never taken", Layout{[]Axis{{'K', 1, 1}}, nil}, packed, plain, []int64{-1}, 2, nil, "a stride of -1 for the 1 elements of axis K"},
		{"one stride", l, packed, plain, []int64{1}, 2, nil, "1 strides for 2 axes"},
		{"no element size", l, packed, plain, []int64{6, 1}, 0, nil, "elements of 0 bytes"},
		{"negative element size", l, packed, plain, []int64{6, 1}, -2, nil, "elements of -2 bytes"},
		{"does not fit in memory", huge, packed, plain, []int64{1}, 4, nil, "do not fit in memory"},
		{"tables longer than the buffer", huge, packed, plain, []int64{1}, 1, nil, "the packed buffer has 256 bytes, the layout covers 4611686018427387904"},
		{"pad of another size", l, packed, plain, []int64{6, 1}, 2, []byte{1}, "a pad value of 1 bytes for elements of 2"},
	} {
		err := c.l.Pack(c.packed, c.plain, c.strides, c.elem, c.pad)
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: Pack's error is %v, want %q", c.name, err, c.message)
		}
		if c.pad != nil {
			continue
		}
		if err := c.l.Unpack(c.plain, c.packed, c.strides, c.elem); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: Unpack's error is %v, want %q", c.name, err, c.message)
		}
	}
}

func TestPackCorners(t *testing.T) {
	t.Parallel()
	t.Run("no logical elements", func(t *testing.T) {
		t.Parallel()
		dst := bytes.Repeat([]byte{9}, 16)
		if err := resolve(t, "K* K8", Axis{Name: 'K'}).Pack(dst, nil, []int64{1}, 2, []byte{1, 2}); err != nil {
			t.Fatal(err)
		}
		if want := bytes.Repeat([]byte{1, 2}, 8); !bytes.Equal(dst, want) {
			t.Errorf("got %v, want %v", dst, want)
		}
	})
	t.Run("nil pads with zeros", func(t *testing.T) {
		t.Parallel()
		dst := bytes.Repeat([]byte{9}, 5)
		if err := resolve(t, "K* K4", Axis{Name: 'K', Extent: 3}).Pack(dst, []byte{5, 6, 7}, []int64{1}, 1, nil); err != nil {
			t.Fatal(err)
		}
		if want := []byte{5, 6, 7, 0, 9}; !bytes.Equal(dst, want) {
			t.Errorf("got %v, want %v", dst, want)
		}
	})
	t.Run("stride 0 repeats", func(t *testing.T) {
		t.Parallel()
		dst := make([]byte, 6)
		if err := resolve(t, "K* N*", kn(2, 3)...).Pack(dst, []byte{1, 2, 3}, []int64{0, 1}, 1, nil); err != nil {
			t.Fatal(err)
		}
		if want := []byte{1, 2, 3, 1, 2, 3}; !bytes.Equal(dst, want) {
			t.Errorf("got %v, want %v", dst, want)
		}
	})
	t.Run("every second element", func(t *testing.T) {
		t.Parallel()
		dst := make([]byte, 6)
		if err := resolve(t, "N* K*", kn(2, 3)...).Pack(dst, []byte{1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6}, []int64{6, 2}, 1, nil); err != nil {
			t.Fatal(err)
		}
		if want := []byte{1, 4, 2, 5, 3, 6}; !bytes.Equal(dst, want) {
			t.Errorf("got %v, want %v", dst, want)
		}
	})
}

func TestPatchRefuses(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N4", kn(10, 6)...)
	packed, patch := make([]byte, 256), make([]byte, 64)
	for _, c := range []struct {
		name             string
		packed, patch    []byte
		stride           int
		index            []uint64
		rowAxis, colAxis int
		rows, cols       int
		message          string
	}{
		{"packed too short", packed[:255], patch, 8, []uint64{0, 0}, 0, 1, 4, 8, "the packed buffer has 255 bytes, the layout covers 256"},
		{"patch too short", packed, patch[:63], 8, []uint64{0, 0}, 0, 1, 4, 8, "a patch of 4 rows, 8 apart, of 8 columns in a buffer of 31 elements"},
		{"stride too long", packed, patch, 9, []uint64{0, 0}, 0, 1, 4, 8, "a patch of 4 rows, 9 apart"},
		{"stride overflows", packed, patch, math.MaxInt, []uint64{0, 0}, 0, 1, 3, 1, "a patch of 3 rows"},
		{"negative stride", packed, patch, -1, []uint64{0, 0}, 0, 1, 4, 8, "a patch of 4 rows, -1 apart"},
		{"negative rows", packed, patch, 8, []uint64{0, 0}, 0, 1, -4, 8, "a patch of -4 rows"},
		{"negative columns", packed, patch, 8, []uint64{0, 0}, 0, 1, 4, -8, "of -8 columns"},
		{"index of one axis", packed, patch, 8, []uint64{0}, 0, 1, 4, 8, "an index of 1 values for 2 axes"},
		{"rows beyond", packed, patch, 2, []uint64{13, 0}, 0, 1, 4, 2, "4 values from 13 on axis 0, whose padded extent is 16"},
		{"columns beyond", packed, patch, 2, []uint64{0, 7}, 0, 1, 4, 2, "2 values from 7 on axis 1, whose padded extent is 8"},
		{"index overflows", packed, patch, 2, []uint64{0, 1<<64 - 1}, 0, 1, 4, 2, "2 values from 18446744073709551615 on axis 1"},
		{"a single row beyond", packed, patch, 2, []uint64{16, 0}, -1, 1, 1, 2, "1 values from 16 on axis 0"},
		{"no row axis", packed, patch, 2, []uint64{0, 0}, -1, 1, 2, 2, "rows along axis -1 of 2"},
		{"no such row axis", packed, patch, 2, []uint64{0, 0}, 2, 1, 2, 2, "rows along axis 2 of 2"},
		{"no such column axis", packed, patch, 2, []uint64{0, 0}, 0, 2, 2, 2, "columns along axis 2 of 2"},
		{"no column axis", packed, patch, 2, []uint64{0, 0}, 0, -7, 2, 2, "columns along axis -7 of 2"},
		{"same axis twice", packed, patch, 2, []uint64{0, 0}, 1, 1, 2, 2, "rows and columns both along axis 1"},
	} {
		s := NewScatter(l, 2)
		if err := s.Place(c.packed, c.patch, c.stride, c.index, c.rowAxis, c.colAxis, c.rows, c.cols); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: Place's error is %v, want %q", c.name, err, c.message)
		}
		if err := s.Gather(c.patch, c.packed, c.stride, c.index, c.rowAxis, c.colAxis, c.rows, c.cols); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: Gather's error is %v, want %q", c.name, err, c.message)
		}
	}
	large := resolve(t, "N*", Axis{Name: 'N', Extent: 1<<24 + 1})
	if err := NewScatter(large, 1).Place(nil, nil, 0, []uint64{0}, -1, 0, 1, 0); err == nil || !strings.Contains(err.Error(), "are packed window by window") {
		t.Errorf("tables of 128 MiB: error %v", err)
	}
}

func TestPatchCorners(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N4", kn(10, 6)...)
	s := NewScatter(l, 2)
	packed := make([]byte, 256)
	for _, c := range []struct{ rows, cols int }{{0, 4}, {4, 0}, {0, 0}} {
		if err := s.Place(packed, nil, 4, []uint64{0, 0}, 0, 1, c.rows, c.cols); err != nil {
			t.Errorf("%d rows and %d columns: %v", c.rows, c.cols, err)
		}
	}
	// A single row and a single column need no axis, whatever the stride says.
	if err := s.Place(packed, []byte{1, 2}, math.MaxInt, []uint64{1, 5}, 77, 77, 1, 1); err != nil {
		t.Error(err)
	}
	at := l.Offset([]uint64{1, 5}) * 2
	if got := packed[at : at+2]; got[0] != 1 || got[1] != 2 {
		t.Errorf("the element is %v", got)
	}
}
