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
	return err
}
