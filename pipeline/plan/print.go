package plan

import (
	"fmt"
	"io"
)

// Print writes the plan as a table: an operand a line, by segment.
func (p *Plan) Print(w io.Writer) error {
	p.Index.PrintModel(w)
	if err := p.Index.PrintOperands(w, false); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, p.Totals())
	if kept := len(p.Kept()); kept > 0 && err == nil {
		_, err = fmt.Fprintf(w, "kept as the source has them: codes and scales of %d operands\n", kept)
	}
	return err
}

// Totals says in words how many operands and segments there are, and how many bytes the segments have.
func (p *Plan) Totals() string {
	return fmt.Sprintf("%s in %s, %d bytes of data", counted(len(p.Index.Operands), "operand"), counted(len(p.Index.Segments), "segment"), p.DataBytes())
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Kept are the names of operands that hold the source's codes as they are.
func (p *Plan) Kept() []string {
	var names []string
	for i := range p.Operands {
		if p.Operands[i].Kept {
			names = append(names, p.Operands[i].Name)
		}
	}
	return names
}
