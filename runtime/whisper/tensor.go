package whisper

import (
	"fmt"
	"math/bits"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/runtime/device"
)

// tensor is a matrix of activations in a buffer, in panels of columns: each panel is rows x panel elements, row-major, and one
// panel follows the other. A panel as wide as the matrix is row-major, a panel of one column is column-major, and panels of one
// head each let a head be a view.
//
//	rows x cols, panel 2:   0 1 | 6  7 | ..
//	                        2 3 | 8  9 | ..
//	                        4 5 | 10 11| ..
type tensor struct {
	buffer     device.Buffer
	format     element.Format
	rows, cols uint64
	panel      uint64
}

// padded is how many columns lie in the buffer: whole panels.
func (t tensor) padded() uint64 { return (t.cols + t.panel - 1) / t.panel * t.panel }

// bytes is the length of the buffer. It reports false where that is more than most.
func (t tensor) bytes(most uint64) (uint64, bool) {
	over, n := bits.Mul64(t.rows, t.padded())
	hi, total := bits.Mul64(n, uint64(t.format.Size()))
	return total, over == 0 && hi == 0 && total <= most
}

// layout is the tensor's, with rows and columns called by the axes of an argument.
func (t tensor) layout(row, col byte) layout.Layout {
	return layout.Layout{
		Axes: []layout.Axis{{Name: row, Extent: t.rows, Padded: t.rows}, {Name: col, Extent: t.cols, Padded: t.padded()}},
		Digits: []layout.Digit{
			{Axis: 1, Size: t.padded() / t.panel, Stride: t.panel},
			{Axis: 0, Size: t.rows, Stride: 1},
			{Axis: 1, Size: t.panel, Stride: 1},
		},
	}
}

// columns is the view of n columns from one on, the first of a panel.
func (t tensor) columns(from, n uint64) (tensor, error) {
	if from == 0 && n == t.cols {
		return t, nil
	}
	if from%t.panel != 0 || from > t.cols || n > t.cols-from {
		return tensor{}, fmt.Errorf("%d columns from %d of %d are no whole panels of %d", n, from, t.cols, t.panel)
	}
	v := t
	v.cols = n
	size := t.rows * uint64(t.format.Size())
	var err error
	v.buffer, err = t.buffer.View(int64(from*size), int64(v.padded()*size))
	return v, err
}

// argument is the tensor as a kernel's argument, with its rows and columns called as the operation calls them.
func (t tensor) argument(name string, role kernel.ArgumentRole, row, col byte) argument {
	return argument{Argument: kernel.Buffer(name, 0, role, t.format, t.layout(row, col)), value: device.Value{Buffer: t.buffer}, operand: none}
}

// setColumn writes one value to every row of a column, and makes the device see it.
func (t tensor) setColumn(c uint64, value float32) error {
	host, err := t.buffer.Host()
	if err != nil {
		return err
	}
	size := uint64(t.format.Size())
	for r := range t.rows {
		at := ((c/t.panel*t.rows+r)*t.panel + c%t.panel) * size
		if err := element.Encode(host[at:at+size], []float32{value}, t.format); err != nil {
			return err
		}
	}
	return t.buffer.ToDevice()
}
