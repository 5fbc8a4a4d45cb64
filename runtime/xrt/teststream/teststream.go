// Package teststream writes the instruction streams that the software NPU executes: in the place of a real NPU's instructions, they say
// what to compute, from a kernel contract. swnpu/src/stream.h defines them.
package teststream

import (
	"encoding/binary"
	"fmt"
	"math"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
)

const (
	magic      = 0x5755504e // "NPUW" in memory
	version    = 1
	gemm       = 1
	noEpilogue = 0
)

// roles are the numbers of a GEMM's buffers, by argument name.
var roles = map[string]uint32{"a": 0, "b": 1, "bias": 2, "c": 3}

// formats are the numbers of element formats.
var formats = map[element.Format]uint32{element.F32: 1, element.F16: 2, element.BF16: 3}

// Encode gives the stream of a GEMM without an epilogue: little-endian 32-bit words. What only the kernel's signature needs is left out:
// instructions, and scalars, of which a GEMM has none. The software NPU executes it with the bits of the reference device.
func Encode(c *kernel.Contract) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	fail := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("contract %q: no test instructions: %s", c.Name, fmt.Sprintf(format, args...))
	}
	if c.Operation != kernel.GEMM || c.Epilogue != kernel.NoEpilogue {
		return fail("%s with epilogue %q; a GEMM without one was expected", c.Operation, c.Epilogue)
	}
	var w words
	w.put(magic, version, gemm, noEpilogue, 0)
	buffers := uint32(0)
	for i := range c.Arguments {
		a := &c.Arguments[i]
		role, known := roles[a.Name]
		if a.Role == kernel.Instructions || a.Kind == kernel.ScalarArgument && !known {
			continue
		}
		format := formats[a.Format]
		if !known || format == 0 || a.Kind != kernel.BufferArgument {
			return fail("argument %q in %v; buffers a, b, bias and c in f32, f16 or bf16 were expected", a.Name, a.Format)
		}
		w.put(uint64(role), uint64(a.Index), uint64(format))
		w.layout(a)
		buffers++
	}
	if w.tooLarge {
		return fail("sizes above 32 bits")
	}
	binary.LittleEndian.PutUint32(w.bytes[4*4:], buffers)
	return w.bytes, nil
}

// words are written one after the other.
type words struct {
	bytes    []byte
	tooLarge bool // a number was
}

func (w *words) put(numbers ...uint64) {
	for _, n := range numbers {
		w.tooLarge = w.tooLarge || n > math.MaxUint32
		w.bytes = binary.LittleEndian.AppendUint32(w.bytes, uint32(n))
	}
}

// layout writes axes and digits.
func (w *words) layout(a *kernel.Argument) {
	w.put(uint64(len(a.Layout.Axes)), uint64(len(a.Layout.Digits)))
	for _, axis := range a.Layout.Axes {
		w.put(uint64(axis.Name), axis.Extent, axis.Padded)
	}
	for _, d := range a.Layout.Digits {
		w.put(uint64(d.Axis), d.Size, d.Stride)
	}
}
