package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// place is where an operand stands in its model, as its name says: "encoder.layers.3.fc1.weight" is the one of kind "fc1.weight" in
// layer 3 of the stack "encoder.layers". What has no number in its name is in no stack, and its kind is all of the name.
type place struct {
	stack string
	layer int // -1 in no stack
	kind  string
}

func placeOf(name string) place {
	const most = 9 // digits of a number
	from := strings.IndexByte(name, '.') + 1
	for from > 0 {
		n := strings.IndexByte(name[from:], '.')
		if n < 0 {
			break
		}
		if layer, err := strconv.ParseUint(name[from:from+n], 10, 32); err == nil && n <= most {
			if text := strconv.FormatUint(layer, 10); text == name[from:from+n] { // "01" is a name, not a number
				return place{name[:from-1], int(layer), name[from+n+1:]}
			}
		}
		from += n + 1
	}
	return place{"", -1, name}
}

// prefix is what the name of an operand has before its kind.
func (p place) prefix() string {
	if p.layer < 0 {
		return ""
	}
	return fmt.Sprintf("%s.%d.", p.stack, p.layer)
}

// shortKinds gives each kind the last two words of its name, where that still tells it from the others.
func shortKinds(kinds []string) []string {
	short := func(kind string) string {
		if i := strings.LastIndexByte(kind, '.'); i > 0 {
			if j := strings.LastIndexByte(kind[:i], '.'); j >= 0 {
				return kind[j+1:]
			}
		}
		return kind
	}
	times := map[string]int{}
	for _, k := range kinds {
		times[short(k)]++
	}
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = short(k)
		if times[list[i]] > 1 {
			list[i] = k
		}
	}
	return list
}

// families are names of operands, with those of one kind in several layers as one: "encoder.layers.{0–5}.fc1.weight".
type families struct {
	list []family
	more int // operands of families beyond the limit
}

type family struct {
	stack, kind string
	layers      []int // empty: in no stack
}

func (f *families) add(name string) {
	p := placeOf(name)
	for i := range f.list {
		if e := &f.list[i]; e.stack == p.stack && e.kind == p.kind && p.layer >= 0 {
			e.layers = append(e.layers, p.layer)
			return
		}
	}
	if len(f.list) == maxFamilies {
		f.more++
		return
	}
	e := family{stack: p.stack, kind: p.kind}
	if p.layer >= 0 {
		e.layers = []int{p.layer}
	}
	f.list = append(f.list, e)
}

// texts writes the families, each with a limit, and how many operands are left out.
func (f *families) texts() []string {
	var list []string
	for _, e := range f.list {
		switch len(e.layers) {
		case 0:
			list = append(list, clean(e.kind))
		case 1:
			list = append(list, clean(fmt.Sprintf("%s.%d.%s", e.stack, e.layers[0], e.kind)))
		default:
			list = append(list, clean(e.stack)+".{"+ranges(e.layers)+"}."+clean(e.kind))
		}
	}
	if f.more > 0 {
		list = append(list, plural(f.more, "more operand"))
	}
	return list
}

// ranges writes numbers, those that follow each other by the first and the last: "0–5, 8".
func ranges(numbers []int) string {
	const most = 8
	numbers = slices.Clone(numbers)
	slices.SortFunc(numbers, cmp.Compare[int])
	var parts []string
	for i := 0; i < len(numbers); {
		if len(parts) == most {
			parts = append(parts, fmt.Sprintf("%d more", len(numbers)-i))
			break
		}
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		text := strconv.Itoa(numbers[i])
		if j > i {
			text += "–" + strconv.Itoa(numbers[j])
		}
		parts, i = append(parts, text), j+1
	}
	return strings.Join(parts, ", ")
}
