package diff

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"

	"npuw/artifact"
)

// members compares two values of one type member by member, as their JSON has them: what listings come to say is compared too.
func members(a, b any) ([]Field, error) {
	if reflect.DeepEqual(a, b) {
		return nil, nil
	}
	ma, order, err := object(a)
	if err != nil {
		return nil, err
	}
	mb, orderB, err := object(b)
	if err != nil {
		return nil, err
	}
	for _, name := range orderB {
		if _, known := ma[name]; !known {
			order = append(order, name)
		}
	}
	var fields []Field
	for _, name := range order {
		if !bytes.Equal(ma[name], mb[name]) {
			fields = append(fields, Field{name, value(ma[name]), value(mb[name])})
		}
	}
	return fields, nil
}

// object is the JSON of a value by member, and the order in which they stand in it.
func object(v any) (map[string]json.RawMessage, []string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, nil, err
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, nil, err
	}
	var order []string
	d := json.NewDecoder(bytes.NewReader(text))
	_, err = d.Token() // {
	for err == nil && d.More() {
		var name json.Token
		if name, err = d.Token(); err == nil {
			order = append(order, name.(string))
			err = d.Decode(new(json.RawMessage))
		}
	}
	return m, order, err
}

// value is a member that is there, as a number, text, list or object.
func value(text json.RawMessage) any {
	if text == nil {
		return nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return string(text)
	}
	return v
}

// storedAlike says that the same bytes would be the same values in both operands, and the other way round.
func storedAlike(a, b *artifact.Operand) bool {
	storage := func(o *artifact.Operand) artifact.Operand {
		s := *o
		s.Name, s.Segment, s.Offset = "", 0, 0
		s.Placements, s.Fills = nil, nil
		s.Statistics = artifact.Operand{}.Statistics
		return s
	}
	return reflect.DeepEqual(storage(a), storage(b))
}

// inSameBytes says that two parameters lie at the same places of operands that are alike, or are folded into such.
func (c *comparer) inSameBytes(a, b *artifact.ParameterListing) (bool, error) {
	ia, ib := c.a.Parameter(a.Name), c.b.Parameter(b.Name)
	holders := append(slices.Clone(a.Operands), c.foldsA[ia]...)
	if len(holders) == 0 || !slices.Equal(holders, append(slices.Clone(b.Operands), c.foldsB[ib]...)) || !slices.Equal(a.Shape, b.Shape) {
		return false, nil
	}
	for _, name := range holders {
		if !c.alike[name] || !reflect.DeepEqual(placed(c.a.Operand(name), ia), placed(c.b.Operand(name), ib)) {
			return false, nil
		}
	}
	return true, c.ctx.Err()
}

// folds are, for each parameter that was folded into operands, their names.
func folds(x *artifact.Index) map[int][]string {
	names := map[int][]string{}
	for _, n := range x.Notes {
		names[n.Parameter] = append(names[n.Parameter], x.Operands[n.Operand].Name)
	}
	return names
}

// placed are the placements of a parameter in an operand.
func placed(o *artifact.Operand, parameter int) []artifact.Placement {
	var list []artifact.Placement
	for _, p := range o.Placements {
		if p.Parameter == parameter {
			p.Parameter = 0
			list = append(list, p)
		}
	}
	return list
}

// sameBytes compares n bytes of the files.
func (c *comparer) sameBytes(atA, atB, n uint64) (bool, error) {
	const most = 1 << 20
	a, b := make([]byte, min(n, most)), make([]byte, min(n, most))
	for done := uint64(0); done < n; done += most {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		k := min(n-done, most)
		if err := readAll(c.a, a[:k], atA+done); err != nil {
			return false, err
		}
		if err := readAll(c.b, b[:k], atB+done); err != nil {
			return false, err
		}
		if !bytes.Equal(a[:k], b[:k]) {
			return false, nil
		}
	}
	return true, nil
}

func readAll(f *artifact.File, b []byte, at uint64) error {
	n, err := f.ReadAt(b, int64(at))
	if n == len(b) {
		return nil
	}
	fault := &artifact.Error{File: f.Path, Offset: int64(at) + int64(n), Thing: "data", Err: err}
	if err == nil || errors.Is(err, io.EOF) {
		fault.Detail, fault.Err = "the file ends here; it was cut while it was read", artifact.ErrTruncated
	}
	return fault
}
