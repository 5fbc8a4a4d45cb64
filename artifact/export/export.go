// Package export writes the parameters of an artifact as files that other programs read: safetensors, and NumPy's npz. Each has its
// name and shape as the model's state dict has them, and its values as float32: padding, tiles, scales and codes are undone.
//
//	artifact ── Recover ──> parameters ──┬── WriteSafetensors ──> one file of named tensors
//	                                     └── WriteNPZ ──────────> a zip of arrays
//
// What is written is a function of the artifact and the prefix alone, and is streamed: memory does not grow with the parameters.
package export

import (
	"errors"
	"fmt"

	"npuw/artifact"
)

// Set is the parameters of an artifact, in the order of its index.
type Set struct {
	File       *artifact.File
	Parameters []*artifact.Values
	Missing    []Missing // those whose values are not in the artifact any more
}

// Missing is a parameter that cannot be recovered, and why.
type Missing struct {
	Name string
	Err  error
}

// Recover finds where the parameters of an artifact are. It reads no value, and does not ask whether those are what they were: Verify
// does. What is wrong with a file is an error; a parameter that was
// folded into an operand, or lies in one of a later version, is Missing.
func Recover(a *artifact.File) (*Set, error) {
	s := &Set{File: a}
	for i := range a.Index.Parameters {
		name := a.Index.Parameters[i].Name
		v, err := a.ParameterValues(name)
		switch {
		case err == nil:
			s.Parameters = append(s.Parameters, v)
		case errors.Is(err, artifact.ErrUnsupported):
			s.Missing = append(s.Missing, Missing{name, err})
		default:
			return nil, err
		}
	}
	return s, nil
}

// Bytes is the size of all values that are written.
func (s *Set) Bytes() int64 {
	var n int64
	for _, v := range s.Parameters {
		n += bytesOf(v)
	}
	return n
}

// Rounded names the parameters for which a scale is undone that is no power of two: what is written is not exactly what was packed.
func (s *Set) Rounded() []string {
	var names []string
	for _, v := range s.Parameters {
		if !v.Exact {
			names = append(names, v.Name)
		}
	}
	return names
}

// bytesOf is the size of values as float32. An artifact that verifies has at most two values for each byte of its file.
func bytesOf(v *artifact.Values) int64 {
	n := uint64(4)
	for _, s := range v.Shape {
		n *= s
	}
	return int64(n)
}

// fail says that a parameter cannot be written.
func (s *Set) fail(v *artifact.Values, format string, args ...any) error {
	return &artifact.Error{
		File: s.File.Path, Offset: -1, Thing: fmt.Sprintf("parameter %q", v.Name), Detail: fmt.Sprintf(format, args...), Err: artifact.ErrUnsupported,
	}
}
