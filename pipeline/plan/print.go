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
	_, err := fmt.Fprintf(w, "%d operands in %d segments, %d bytes of data\n", len(p.Index.Operands), len(p.Index.Segments), p.DataBytes())
	if kept := len(p.Kept()); kept > 0 && err == nil {
		_, err = fmt.Fprintf(w, "kept as the source has them: codes and scales of %d operands\n", kept)
	}
	return err
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
