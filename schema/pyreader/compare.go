package pyreader

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Reader is another reader of an artifact; *artifact.File is one.
type Reader[V Writer] interface {
	OperandValues(name string) (V, error)
	ParameterValues(name string) (V, error)
}

// Writer gives the values of an operand or a parameter as Values has them. *artifact.Values is one.
type Writer interface {
	WriteFloat32(w io.Writer) error
	WriteRaw(w io.Writer) error
}

// CompareAnswer fails the test unless what npuw.py says of the artifact at path agrees with another reader of it: on the values of
// every operand and parameter in the answer, byte for byte, and on what the listing says, which is artifact.FileListing or its JSON.
func CompareAnswer[V Writer](t testing.TB, path string, answer *Answer, other Reader[V], listing any) {
	t.Helper()
	for _, d := range differences(answer, other, listing) {
		t.Errorf("%s: %s", path, d)
	}
}

// differences says, in a sentence each, where npuw.py and another reader disagree.
func differences[V Writer](answer *Answer, other Reader[V], listing any) []string {
	python, err := fromPython(answer.Listing)
	if err != nil {
		return []string{fmt.Sprintf("what npuw.py lists cannot be read: %v", err)}
	}
	goes, err := fromGo(listing)
	if err != nil {
		return []string{fmt.Sprintf("what Go lists cannot be read: %v", err)}
	}
	for name, v := range python.Attributes {
		if v == nil && notFinite(goes.Attributes[name]) {
			python.Attributes[name] = goes.Attributes[name]
		}
	}
	var found []string
	if diff := cmp.Diff(python, goes, cmp.Comparer(sameFigure)); diff != "" {
		found = append(found, "listings differ: npuw.py (-), Go (+)\n"+diff)
	}
	for i := range answer.Values {
		v := &answer.Values[i]
		get, what := other.ParameterValues, "parameter "+v.Name
		if v.Operand {
			get, what = other.OperandValues, "operand "+v.Name
		}
		values, err := get(v.Name)
		switch {
		case err == nil:
			found = append(found, differentBytes(what+" as f32", v.Float32, values.WriteFloat32)...)
			found = append(found, differentBytes(what+" raw", v.Raw, values.WriteRaw)...)
		case v.Float32 != nil:
			found = append(found, fmt.Sprintf("%s: npuw.py has its values, Go says: %v", what, err))
		}
	}
	return found
}

// differentBytes says how what write writes differs from what npuw.py has, if it does. Where npuw.py has nothing, write must fail.
func differentBytes(what string, python []byte, write func(io.Writer) error) []string {
	var b bytes.Buffer
	err := write(&b)
	switch {
	case python == nil && err == nil:
		return []string{what + ": npuw.py has no values, Go has"}
	case python != nil && err != nil:
		return []string{fmt.Sprintf("%s: npuw.py has values, Go says: %v", what, err)}
	case python != nil && !bytes.Equal(python, b.Bytes()):
		at := 0
		for at < min(len(python), b.Len()) && python[at] == b.Bytes()[at] {
			at++
		}
		return []string{fmt.Sprintf("%s: npuw.py has %d bytes, Go %d, the same up to byte %d", what, len(python), b.Len(), at)}
	}
	return nil
}

// facts are what both listings say, in one form.
type facts struct {
	Header     header
	Producer   string
	Revision   uint32
	Recipe     string
	Family     string
	Attributes map[string]any
	Segments   []segment
	Operands   []operand
	Parameters []parameter
}

type header struct {
	Version   int
	FileBytes uint64 `json:"file_bytes"`
	PageBytes uint64 `json:"page_bytes"`
	Digest    string `json:"xxh3_128"`
}

type segment struct {
	Name        string
	Offset      uint64
	Bytes       uint64
	MemoryGroup int32  `json:"memory_group"`
	Digest      string `json:"xxh3_128"`
}

type operand struct {
	Name      string
	Segment   string
	Offset    uint64
	Bytes     uint64
	Supported bool
	Format    string // empty if not supported, as the layout is
	Layout    string
	Axes      []axis
	Planes    []plane
	Error     encodingError
}

type plane struct {
	Role           string
	Format         string
	HighFirst      bool `json:"high_half_first"`
	Offset         uint64
	Bytes          uint64
	Pad            uint64 `json:"pad_bits"`
	RecordElements uint64 `json:"record_elements"`
	RecordBytes    uint64 `json:"record_bytes"`
	Block          []uint64
	Layout         string
}

type axis struct {
	Name           string
	Extent, Padded uint64
}

type encodingError struct {
	MaxAbs      *float64 `json:"max_abs"`
	RelativeL2  *float64 `json:"relative_l2"`
	Cosine      *float64
	Elements    uint64
	Inexact     uint64
	Underflowed uint64
	NonFinite   uint64 `json:"non_finite"`
}

type parameter struct {
	Name  string
	Axes  string
	Shape []uint64
}

// sameFigure allows for another order of operations; nil, which npuw.py has for a figure that does not exist, agrees with all.
func sameFigure(a, b *float64) bool {
	return a == nil || b == nil || *a == *b || math.Abs(*a-*b) <= 1e-12*math.Abs(*a)
}

// notFinite says that Go's listing has this for a real that JSON cannot hold, for which npuw.py has null.
func notFinite(v any) bool {
	return v == -1.0 || v == math.MaxFloat64 || v == -math.MaxFloat64
}

// fromGo reads artifact.FileListing.
func fromGo(listing any) (facts, error) {
	var f facts
	b, err := json.Marshal(listing)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	for i := range f.Operands {
		o := &f.Operands[i]
		if !o.Supported {
			o.Format, o.Layout = "", ""
		}
		if o.Planes == nil { // Go leaves out what is empty
			o.Planes = []plane{}
		}
	}
	return f, err
}

// fromPython reads what npuw.py lists.
func fromPython(listing []byte) (facts, error) {
	var l struct {
		Version   int
		FileBytes uint64 `json:"file_bytes"`
		PageBytes uint64 `json:"page_bytes"`
		Digest    string
		Producer  struct {
			Name     string
			Revision uint32
			Recipe   string
		}
		Model struct {
			Family     string
			Attributes map[string]any
		}
		Segments []struct {
			segment
			Digest string
		}
		Operands []struct {
			operand
			Unsupported *string
			Statistics  struct {
				encodingError
				MaxAbs *float64 `json:"max_abs_error"`
			}
		}
		Parameters []parameter
	}
	if err := json.Unmarshal(listing, &l); err != nil {
		return facts{}, err
	}
	f := facts{
		Header:   header{l.Version, l.FileBytes, l.PageBytes, l.Digest},
		Producer: l.Producer.Name, Revision: l.Producer.Revision, Recipe: l.Producer.Recipe,
		Family: l.Model.Family, Attributes: l.Model.Attributes,
		Segments: []segment{}, Operands: []operand{}, Parameters: l.Parameters,
	}
	for _, s := range l.Segments {
		s.segment.Digest = s.Digest
		f.Segments = append(f.Segments, s.segment)
	}
	for _, o := range l.Operands {
		o.operand.Error = o.Statistics.encodingError
		o.operand.Error.MaxAbs = o.Statistics.MaxAbs
		if o.operand.Supported = o.Unsupported == nil; !o.operand.Supported {
			o.operand.Format, o.operand.Layout = "", ""
		}
		f.Operands = append(f.Operands, o.operand)
	}
	return f, nil
}
