package main

import (
	"errors"
	"math"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}, {[]float64{8, 1, 4, 2}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

// matrix is an operand of two axes in the only segment.
func matrix(name string, rows, cols layout.Axis) artifact.Operand {
	return artifact.Operand{Name: name, Format: element.F32, Layout: rowMajor(rows, cols), Bytes: 4 * rows.Extent * cols.Extent}
}

func TestStatedGEMM(t *testing.T) {
	t.Parallel()
	small := matrix("small", axisOf('K', 4), axisOf('N', 8))
	turned := matrix("turned", axisOf('N', 8), axisOf('K', 16))
	other := matrix("other", axisOf('V', 99), axisOf('N', 99))
	empty := matrix("empty", axisOf('K', 0), axisOf('N', 8))
	for name, c := range map[string]struct {
		positions int64
		operands  []artifact.Operand
		want      string
	}{
		"largest":         {50, []artifact.Operand{small, turned, other}, "turned"},
		"first":           {50, []artifact.Operand{small, small}, "small"},
		"no matrix":       {50, []artifact.Operand{other}, ""},
		"empty":           {50, []artifact.Operand{empty}, ""},
		"no positions":    {0, []artifact.Operand{small}, ""},
		"below 0":         {-1, []artifact.Operand{small}, ""},
		"senseless":       {math.MaxInt64, []artifact.Operand{small}, ""},
		"beyond a buffer": {maxBenchBuffer, []artifact.Operand{small}, "small"}, // refused when it is allocated
	} {
		x := &artifact.Index{Segments: make([]artifact.Segment, 1), Operands: c.operands}
		x.Model.Attributes = []artifact.Attribute{{Name: "positions", Integer: c.positions}}
		list := statedGEMM(x)
		if c.want == "" {
			if len(list) != 0 {
				t.Errorf("%s: %+v", name, list)
			}
			continue
		}
		if len(list) != 1 || list[0].operands["b"] != c.want {
			t.Errorf("%s: %+v, want %s", name, list, c.want)
			continue
		}
		if err := list[0].contract.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is allocated for a contract is bounded, filled where the kernel reads it, and closed.
func TestBenchAllocate(t *testing.T) {
	t.Parallel()
	b := bench{device: cpu.New(cpu.Options{})}
	a := kernel.Buffer("a", 0, kernel.Activation, element.BF16, rowMajor(axisOf('M', 5), axisOf('K', 3)))
	buffer, err := b.allocate(&a)
	if err != nil {
		t.Fatal(err)
	}
	host, err := buffer.Host()
	if err != nil {
		t.Fatal(err)
	}
	values := make([]float32, 15)
	if err := element.ToFloat32(values, host, element.BF16); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if want := float32(i%7-3) / 8; v != want {
			t.Errorf("value %d: %v, want %v", i, v, want)
		}
	}
	a.Bytes = maxBenchBuffer + 1
	if _, err := b.allocate(&a); !errors.Is(err, device.ErrUnsupported) {
		t.Errorf("%d bytes: %v", a.Bytes, err)
	}
	if err := errors.Join(buffer.Close(), b.device.Close()); err != nil {
		t.Error(err)
	}
}
