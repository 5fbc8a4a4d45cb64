// Package diff says how two artifacts differ: by name, and by how much.
//
//	r, err := diff.Compare(ctx, a, b)
//	r.Same                  // nothing differs
//	r.SameValues            // the parameters are the same, however they are stored
//	r.Operands[0].Fields    // [{layout "K* N*" "N* K* K8 N8 K8 N4"}]
//	r.Parameters[0].Values  // {Different: 4080, MaxAbs: 0.00097, RelativeL2: 0.0016, Cosine: 0.999998}
//	err = r.Print(os.Stdout, false)
//
// What the artifacts say of themselves is compared as artifact.Listing has it, member by member. Data is read and compared, not trusted
// to be what the digests say: bytes where they are stored alike, values otherwise, in bounded memory.
package diff

import (
	"context"
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/artifact/layout"
)

// Report is what differs. A is the first artifact and B the second; lists have only what is not the same in both, in the order of A,
// then what only B has. Its JSON is an interface: members are added, never changed.
type Report struct {
	A          string  `json:"a"` // paths
	B          string  `json:"b"`
	Same       bool    `json:"same"`
	SameValues bool    `json:"same_values"` // both have the same parameters, with the same values
	File       []Field `json:"file"`        // header, producer, recipe and model
	Segments   Entries `json:"segments"`
	Operands   Entries `json:"operands"`
	Parameters Entries `json:"parameters"`
	Xclbins    Entries `json:"xclbins"`
	Contracts  Entries `json:"contracts"`
}

// Entries are the entries of one kind that differ.
type Entries struct {
	Both    int     `json:"in_both"` // how many have a namesake, those that are the same among them
	Differs []Entry `json:"differ"`
}

// Entry is something that has a name.
type Entry struct {
	Name   string  `json:"name"`
	In     Side    `json:"in"`
	Fields []Field `json:"fields"`           // what it says of itself, where that differs
	Values *Values `json:"values,omitempty"` // of operands and parameters that are in both
}

// Side says which artifacts have an entry.
type Side string

// The sides.
const (
	Both  Side = "both"
	OnlyA Side = "a"
	OnlyB Side = "b"
)

// Field is a member of a listing that differs. A or B is nil where one has no such member.
type Field struct {
	Name string `json:"name"`
	A    any    `json:"a"`
	B    any    `json:"b"`
}

// Compare compares two artifacts, until ctx ends. What cannot be read is an error; values that this version cannot decode are not.
func Compare(ctx context.Context, a, b *artifact.File) (*Report, error) {
	c := comparer{ctx: ctx, a: a, b: b, alike: map[string]bool{}, listA: a.List(), listB: b.List(), foldsA: folds(a.Index), foldsB: folds(b.Index)}
	r := &Report{A: a.Path, B: b.Path}
	var err error
	if r.File, err = c.file(); err != nil {
		return nil, err
	}
	if r.Segments, err = compareAll(c.listA.Segments, c.listB.Segments, func(s *artifact.SegmentListing) string { return s.Name }, c.segment); err != nil {
		return nil, err
	}
	if r.Operands, err = compareAll(c.listA.Operands, c.listB.Operands, func(o *artifact.OperandListing) string { return o.Name }, c.operand); err != nil {
		return nil, err
	}
	if r.Parameters, err = compareAll(c.listA.Parameters, c.listB.Parameters, func(p *artifact.ParameterListing) string { return p.Name }, c.parameter); err != nil {
		return nil, err
	}
	if r.Xclbins, err = compareAll(c.listA.Xclbins, c.listB.Xclbins, func(x *artifact.XclbinListing) string { return x.Name }, nil); err != nil {
		return nil, err
	}
	if r.Contracts, err = compareAll(c.listA.Contracts, c.listB.Contracts, func(x *artifact.ContractListing) string { return x.Name }, nil); err != nil {
		return nil, err
	}
	r.SameValues = true
	for _, e := range r.Parameters.Differs {
		r.SameValues = r.SameValues && e.Values != nil && e.Values.Same
	}
	r.Same = len(r.File) == 0
	for _, l := range []Entries{r.Segments, r.Operands, r.Parameters, r.Xclbins, r.Contracts} {
		r.Same = r.Same && len(l.Differs) == 0
	}
	return r, nil
}

// compareAll compares the entries of one kind by name. beyond, where it is not nil, compares data, and what is said of two of one name.
func compareAll[T any](a, b []T, name func(*T) string, beyond func(e *Entry, a, b *T) error) (Entries, error) {
	l := Entries{Differs: []Entry{}}
	inB := make(map[string]*T, len(b))
	for i := range b {
		inB[name(&b[i])] = &b[i]
	}
	for i := range a {
		e := Entry{Name: name(&a[i]), In: Both, Fields: []Field{}}
		other := inB[e.Name]
		if other == nil {
			e.In = OnlyA
			l.Differs = append(l.Differs, e)
			continue
		}
		delete(inB, e.Name)
		l.Both++
		fields, err := members(&a[i], other)
		if err != nil {
			return l, err
		}
		e.Fields = append(e.Fields, fields...)
		if beyond != nil {
			if err := beyond(&e, &a[i], other); err != nil {
				return l, err
			}
		}
		if len(e.Fields) > 0 || e.Values != nil && !e.Values.Same {
			l.Differs = append(l.Differs, e)
		}
	}
	for i := range b {
		if n := name(&b[i]); inB[n] != nil {
			l.Differs = append(l.Differs, Entry{Name: n, In: OnlyB, Fields: []Field{}})
		}
	}
	return l, nil
}

// comparer compares two artifacts.
type comparer struct {
	ctx          context.Context
	a, b         *artifact.File
	listA, listB artifact.FileListing
	// alike are the operands that both store in the same way, with the same bytes.
	alike map[string]bool
	// foldsA and foldsB are the operands of each file that absorbed parameters, by number.
	foldsA, foldsB map[int][]string
}

// file compares what is said of the whole.
func (c *comparer) file() ([]Field, error) {
	list := []Field{}
	for _, part := range [][2]any{
		{&c.listA.Header, &c.listB.Header},
		{said{c.listA.Producer, c.listA.Revision, c.listA.Recipe, c.listA.Family}, said{c.listB.Producer, c.listB.Revision, c.listB.Recipe, c.listB.Family}},
		{c.listA.Attributes, c.listB.Attributes},
	} {
		fields, err := members(part[0], part[1])
		if err != nil {
			return nil, err
		}
		list = append(list, fields...)
	}
	return list, nil
}

// said is what a listing says of producer and model.
type said struct {
	Producer string `json:"producer"`
	Revision uint32 `json:"revision"`
	Recipe   string `json:"recipe"`
	Family   string `json:"family"`
}

// segment compares the bytes of a segment that has no operands.
func (c *comparer) segment(e *Entry, a, b *artifact.SegmentListing) error {
	if a.Kind != artifact.Instructions.String() || b.Kind != a.Kind || a.Bytes != b.Bytes {
		return nil
	}
	same, err := c.sameBytes(a.Offset, b.Offset, a.Bytes)
	if err == nil && !same {
		e.Fields = append(e.Fields, Field{"data", "other bytes", "other bytes"})
	}
	return err
}

// operand compares the data of two operands.
func (c *comparer) operand(e *Entry, a, b *artifact.OperandListing) error {
	x, y := c.a.Operand(a.Name), c.b.Operand(b.Name)
	if storedAlike(x, y) {
		same, err := c.sameBytes(c.a.Index.Segments[x.Segment].Offset+x.Offset, c.b.Index.Segments[y.Segment].Offset+y.Offset, x.Bytes)
		if err != nil {
			return err
		}
		if same {
			c.alike[a.Name] = true
			e.Values = &Values{Elements: x.Elements(), Same: true, Cosine: 1}
			return nil
		}
	}
	if x.Supported() && y.Supported() && !sameAxes(x.Layout.Axes, y.Layout.Axes) {
		e.Values = &Values{Why: "they have other axes; their parameters tell"}
		return nil
	}
	va, errA := c.a.OperandValues(a.Name)
	vb, errB := c.b.OperandValues(b.Name)
	var err error
	e.Values, err = c.values(va, vb, errA, errB)
	return err
}

// sameAxes says that two operands hold matrices of the same axes in the same order.
func sameAxes(a, b []layout.Axis) bool {
	return slices.EqualFunc(a, b, func(x, y layout.Axis) bool { return x.Name == y.Name && x.Extent == y.Extent })
}

// parameter compares the values of two parameters, unless they are in the same bytes.
func (c *comparer) parameter(e *Entry, a, b *artifact.ParameterListing) error {
	if same, err := c.inSameBytes(a, b); err != nil || same {
		e.Values = &Values{Elements: product(a.Shape), Same: true, Cosine: 1}
		return err
	}
	va, errA := c.a.ParameterValues(a.Name)
	vb, errB := c.b.ParameterValues(b.Name)
	var err error
	e.Values, err = c.values(va, vb, errA, errB)
	return err
}

func product(shape []uint64) uint64 {
	n := uint64(1)
	for _, s := range shape {
		n *= s
	}
	return n
}

// String says which artifacts have an entry.
func (s Side) String() string {
	if s == Both {
		return "in both"
	}
	return fmt.Sprintf("only in %s", map[Side]string{OnlyA: "A", OnlyB: "B"}[s])
}
