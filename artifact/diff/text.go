package diff

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Worst is how many entries of a kind a print has that is not to have all: those that differ most.
const Worst = 10

// Print writes the report for people: a summary, then of parameters, and of what only one has, those that differ most. With all it lists
// everything that differs, with all that is said of it.
func (r *Report) Print(w io.Writer, all bool) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "A  %s\nB  %s\n%s\n", r.A, r.B, r.verdict())
	if len(r.File) > 0 {
		rows := [][]string{{"", "A", "B"}}
		for _, f := range r.File {
			rows = append(rows, []string{f.Name, text(f.A), text(f.B)})
		}
		table(out, rows)
	}
	if !r.Same {
		fmt.Fprintln(out)
	}
	for _, k := range r.kinds() {
		if len(k.Differs) > 0 {
			k.summarize(out)
		}
	}
	for _, k := range r.kinds() {
		if all {
			k.list(out, math.MaxInt, func(*Entry) bool { return true })
		} else {
			k.list(out, Worst, func(e *Entry) bool { return r.worthTelling(k.name, e) })
		}
	}
	return out.Flush()
}

// worthTelling says what is listed where not all is: parameters with other values say more than the operands that they are in.
func (r *Report) worthTelling(kind string, e *Entry) bool {
	return e.In != Both || e.rank() > 0 && (kind != operands || r.SameValues)
}

// table writes rows in columns, after an empty line.
func table(w io.Writer, rows [][]string) {
	widths := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintln(w)
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// kind is a list of entries with what they are.
type kind struct {
	name string // in the plural
	Entries
}

const operands = "operands"

func (r *Report) kinds() []kind {
	return []kind{{"segments", r.Segments}, {operands, r.Operands}, {"parameters", r.Parameters}, {"xclbins", r.Xclbins}, {"contracts", r.Contracts}}
}

// verdict is the answer in a line.
func (r *Report) verdict() string {
	others := 0
	for _, e := range r.Parameters.Differs {
		if e.In == Both && e.Values != nil && !e.Values.Same {
			others++
		}
	}
	switch {
	case r.Same:
		return fmt.Sprintf("the same: %d operands, %d parameters", r.Operands.Both, r.Parameters.Both)
	case r.SameValues && len(r.Operands.Differs) > 0:
		return fmt.Sprintf("the same values of all %d parameters, stored in another way", r.Parameters.Both)
	case r.SameValues:
		return fmt.Sprintf("the same values of all %d parameters, stored in the same way; what is said of them differs", r.Parameters.Both)
	default:
		return fmt.Sprintf("different: of %d parameters in both, %d have other values", r.Parameters.Both, others)
	}
}

// summarize writes how many there are, and what is different in how many of them.
func (k kind) summarize(w io.Writer) {
	var only, same, others, unknown int
	for _, e := range k.Differs {
		switch v := e.Values; {
		case e.In != Both:
			only++
		case v == nil:
		case v.Same:
			same++
		case v.Why != "":
			unknown++
		default:
			others++
		}
	}
	fmt.Fprintf(w, "%s: %d in both, of which %d differ", k.name, k.Both, len(k.Differs)-only)
	if same+others+unknown > 0 {
		fmt.Fprintf(w, ": %d have the same values, %d others", same, others)
	}
	if unknown > 0 {
		fmt.Fprintf(w, ", %d were not compared (%s)", unknown, k.why())
	}
	for _, side := range []Side{OnlyA, OnlyB} {
		n := 0
		for _, e := range k.Differs {
			if e.In == side {
				n++
			}
		}
		if n > 0 {
			fmt.Fprintf(w, "; %d %v", n, side)
		}
	}
	fmt.Fprintln(w)
	for _, line := range k.changes() {
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// why says why values were not compared, of the first that were not.
func (k kind) why() string {
	for _, e := range k.Differs {
		if e.Values != nil && e.Values.Why != "" {
			return e.Values.Why
		}
	}
	return ""
}

// changes says which members differ: with what they are where that is the same for many, else in how many entries.
func (k kind) changes() []string {
	const mostWays = 4
	var order []string
	ways, count := map[string][]string{}, map[string]int{}
	for _, e := range k.Differs {
		for _, f := range e.Fields {
			way := fmt.Sprintf("%s  %s -> %s", f.Name, text(f.A), text(f.B))
			if count[f.Name] == 0 {
				order = append(order, f.Name)
			}
			if count[way] == 0 {
				ways[f.Name] = append(ways[f.Name], way)
			}
			count[f.Name]++
			count[way]++
		}
	}
	var lines []string
	for _, name := range order {
		long := slices.ContainsFunc(ways[name], func(way string) bool { return strings.Contains(way, long) })
		if long || len(ways[name]) > mostWays || len(ways[name]) > 1 && len(ways[name]) == count[name] {
			lines = append(lines, fmt.Sprintf("%s  in %d", name, count[name]))
			continue
		}
		for _, way := range ways[name] {
			lines = append(lines, fmt.Sprintf("%s  in %d", way, count[way]))
		}
	}
	return lines
}

// list writes a table of at most so many of the entries to be told, the worst first.
func (k kind) list(w io.Writer, most int, told func(*Entry) bool) {
	shown := slices.DeleteFunc(slices.Clone(k.Differs), func(e Entry) bool { return !told(&e) })
	if len(shown) == 0 {
		return
	}
	slices.SortStableFunc(shown, func(a, b Entry) int { return cmp.Compare(b.rank(), a.rank()) })
	rows := [][]string{{k.name, "different", "max |A-B|", "rel. L2", "cosine"}}
	if shown[0].Values == nil && shown[0].In == Both {
		rows[0] = rows[0][:1]
	}
	for _, e := range shown[:min(len(shown), most)] {
		row := append([]string{e.Name}, e.figures()...)
		if most > Worst {
			row = append(row, e.changes())
		}
		rows = append(rows, row)
	}
	table(w, rows)
	if left := len(shown) - most; left > 0 {
		fmt.Fprintf(w, "and %d more; --all shows them\n", left)
	}
}

// rank is higher for what differs more; 0 where the values do not.
func (e *Entry) rank() float64 {
	const one, infinite = 1e300, 1e100
	switch v := e.Values; {
	case e.In != Both:
		return one
	case v == nil || v.Same || v.Why != "":
		return 0
	case v.RelativeL2 < 0 || v.NotFinite > 0:
		return infinite
	default:
		return max(v.RelativeL2, 1e-300)
	}
}

// figures are the cells of a table that say how much values differ.
func (e *Entry) figures() []string {
	switch v := e.Values; {
	case e.In != Both:
		return []string{e.In.String()}
	case v == nil:
		return nil
	case v.Why != "":
		return []string{"?", "", "", ""}
	case v.Same:
		return []string{"same", "0", "0", "1"}
	default:
		different := fmt.Sprintf("%d of %d", v.Different, v.Elements)
		if v.NotFinite > 0 {
			different += fmt.Sprintf(", %d not finite", v.NotFinite)
		}
		relative := fmt.Sprintf("%.3g", v.RelativeL2)
		if v.RelativeL2 < 0 {
			relative = "A is 0"
		}
		return []string{different, fmt.Sprintf("%.3g", v.MaxAbs), relative, fmt.Sprintf("%.8f", v.Cosine)}
	}
}

// changes says what else differs.
func (e *Entry) changes() string {
	var list []string
	if e.Values != nil && e.Values.Why != "" {
		list = append(list, "not compared: "+e.Values.Why)
	}
	for _, f := range e.Fields {
		list = append(list, fmt.Sprintf("%s %s -> %s", f.Name, text(f.A), text(f.B)))
	}
	return strings.Join(list, "; ")
}

// long stands for what only --json has.
const long = "..."

// text is a member in few words.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		if v == "" {
			return "none"
		}
		return v
	case []any:
		if s, ok := axes(v); ok {
			return s
		}
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil || len(b) > 60 {
		return long
	}
	return string(b)
}

// axes is a list of axes as "K=512 N=2048(2112)", with the padded sizes where they are others.
func axes(list []any) (string, bool) {
	var words []string
	for _, x := range list {
		a, _ := x.(map[string]any)
		extent, padded := a["extent"], a["padded"]
		if extent == nil || padded == nil {
			return "", false
		}
		word := fmt.Sprintf("%v=%v", a["name"], extent)
		if padded != extent {
			word += fmt.Sprintf("(%v)", padded)
		}
		words = append(words, word)
	}
	return strings.Join(words, " "), len(words) > 0
}
