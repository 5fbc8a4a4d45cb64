package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
)

func sourcesCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "sources SOURCE",
		Short: "List what a model file holds, with canonical names where its family is known",
		Long: "List the parameters of a model whose family is known: canonical name, axes (in PyTorch's order), element type and the tensor\n" +
			"of the file that holds it. Names are found by the paths of nodes, the names of tensors and the structure of the graph, which must\n" +
			"agree; a name that was found in one way alone says in which. Of any other model, and of one that lacks some of its family, list the tensors. --json prints both. Reads no weight.",
		Example:           "  npuw sources model.onnx",
		Args:              needs("SOURCE"),
		ValidArgsFunction: completeFiles("onnx"),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		catalogue, models, err := families.Open(args[0])
		problem := ""
		if errors.Is(err, source.ErrParameters) {
			problem = err.Error()
			catalogue, err = families.OpenCatalogue(args[0])
		}
		if err != nil {
			return err
		}
		defer catalogue.Close()
		var m *model.Model
		if len(models) > 0 {
			m = models[0]
		}
		list := listSource(catalogue, m)
		list.Problem = problem
		if asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		return printSource(cmd.OutOrStdout(), list, m)
	}
	return c
}

// sourceListing is what `npuw sources --json` prints. Its JSON is an interface: fields are added, never changed.
type sourceListing struct {
	Path       string             `json:"path"`
	Kind       string             `json:"kind"`
	Files      []fileListing      `json:"files"`
	Tensors    []tensorListing    `json:"tensors"`
	Family     string             `json:"family"` // empty: none that is known
	Attributes map[string]any     `json:"attributes"`
	Parameters []parameterListing `json:"parameters"`
	Notes      []string           `json:"notes,omitempty"`   // on the model as a whole
	Problem    string             `json:"problem,omitempty"` // why a model of a known family is not complete
}

type fileListing struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

type tensorListing struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Shape  []uint64 `json:"shape"`
	File   string   `json:"file"`
	Offset int64    `json:"offset"` // -1: decoded, not in the file as such
	Bytes  int64    `json:"bytes"`
}

type parameterListing struct {
	Name   string   `json:"name"`
	Axes   string   `json:"axes"`
	Shape  []uint64 `json:"shape"`
	Tensor string   `json:"tensor"`
	Perm   []int    `json:"perm"`           // axis i of the parameter is axis perm[i] of the tensor
	Part   string   `json:"part,omitempty"` // of the tensor, which holds other parameters too
	Origin string   `json:"origin"`
	Stored string   `json:"stored,omitempty"` // how the file holds values that are computed as they are read
	Codes  string   `json:"codes,omitempty"`  // the formats of codes, scales and zeros that an operand can keep as they are: "u4*f32-zero"
	// NamedBy has each way in which the name was found: "path" of the node, "value" (the tensor's name), "structure" of the graph;
	// "state" (the tensor's name) where the file has no graph.
	NamedBy []string `json:"named_by"`
	Note    string   `json:"note,omitempty"` // on a name in the file that does not count
}

func listSource(c *source.Catalogue, m *model.Model) sourceListing {
	l := sourceListing{Path: c.Path, Kind: c.Kind, Tensors: []tensorListing{}, Attributes: map[string]any{}, Parameters: []parameterListing{}}
	for _, f := range c.Files {
		l.Files = append(l.Files, fileListing{f.Path, f.Size})
	}
	for _, t := range c.Tensors {
		e := tensorListing{t.Name, t.Type.String(), append([]uint64{}, t.Shape...), c.Files[t.Data.File].Path, t.Data.Offset, t.Data.Size}
		if t.Data.Inline != nil {
			e.Offset, e.Bytes = -1, int64(len(t.Data.Inline))
		}
		l.Tensors = append(l.Tensors, e)
	}
	if m == nil {
		return l
	}
	l.Family, l.Notes = m.Family, m.Notes
	for _, a := range m.Attributes {
		l.Attributes[a.Name] = attributeValue(a)
	}
	for _, p := range m.Parameters {
		e := parameterListing{Name: p.Name, Axes: p.Axes, Shape: p.Shape, Tensor: p.Tensor.Name, Perm: p.Perm, Part: p.Part, Origin: p.Origin, Note: p.Note, Stored: p.Tensor.Stored}
		if p.Tensor.Codes != nil {
			e.Codes = p.Tensor.Codes.Scheme.String()
		}
		for _, way := range p.Ways {
			e.NamedBy = append(e.NamedBy, string(way))
		}
		l.Parameters = append(l.Parameters, e)
	}
	return l
}

func attributeValue(a model.Attribute) any {
	if a.IsReal {
		return a.Real
	}
	return a.Int
}

func printSource(w io.Writer, l sourceListing, m *model.Model) error {
	fmt.Fprintf(w, "%s: %s, %d tensors\n", l.Path, l.Kind, len(l.Tensors))
	for _, f := range l.Files[1:] {
		fmt.Fprintf(w, "with %s, %d bytes\n", f.Path, f.Bytes)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if m == nil {
		why := "of no family of models that npuw knows"
		if l.Problem != "" {
			why = "cannot be packed: " + l.Problem
		}
		fmt.Fprintf(w, "%s\n\n", why)
		fmt.Fprintln(t, "tensor\ttype\tshape\tbytes\tplace")
		for _, x := range l.Tensors {
			place := fmt.Sprintf("at %d of %s", x.Offset, x.File)
			if x.Offset < 0 {
				place = "decoded, of " + x.File
			}
			fmt.Fprintf(t, "%s\t%s\t%v\t%d\t%s\n", printable(x.Name), x.Type, x.Shape, x.Bytes, place)
		}
		return t.Flush()
	}
	fmt.Fprintf(w, "model     %s", m.Family)
	for _, a := range m.Attributes {
		if a.IsReal {
			fmt.Fprintf(w, " %s=%.6g", a.Name, a.Real)
			continue
		}
		fmt.Fprintf(w, " %s=%d", a.Name, a.Int)
	}
	fmt.Fprintln(w)
	for _, note := range m.Notes {
		fmt.Fprintf(w, "note      %s\n", note)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "parameter\tshape\ttype\ttensor and node")
	for _, p := range m.Parameters {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%s\n", p.Name, axesAndSizes(p.Axes, p.Shape), heldAs(&p.Tensor), p.Origin, howNamed(&p))
	}
	return t.Flush()
}

// heldAs tells in which format values are read and, where they are computed, of what: of codes that an operand can keep, by their
// formats.
func heldAs(t *source.Tensor) string {
	switch {
	case t.Codes != nil:
		return fmt.Sprintf("%v of %v", t.Type, t.Codes.Scheme)
	case t.Stored != "":
		return fmt.Sprintf("%v of %s", t.Type, printable(t.Stored))
	}
	return t.Type.String()
}

// howNamed tells how a parameter got its name where that was in one way alone, or another name does not count; "" elsewhere.
func howNamed(p *model.Parameter) string {
	how := ""
	if len(p.Ways) == 1 && p.Ways[0] != model.ByState {
		how = fmt.Sprintf(" (named by %s alone)", p.Ways[0])
	}
	if p.Note != "" {
		how += " (" + p.Note + ")"
	}
	return how
}

// axesAndSizes prints "N=512 K=256".
func axesAndSizes(axes string, shape []uint64) string {
	var b strings.Builder
	for i, size := range shape {
		fmt.Fprintf(&b, " %c=%d", axes[i], size)
	}
	return strings.TrimPrefix(b.String(), " ")
}

// printable quotes a name that would disturb a table or a terminal.
func printable(name string) string {
	if quoted := fmt.Sprintf("%q", name); name == "" || quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}
