package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
)

func sourcesCommand() *cobra.Command {
	var asJSON bool
	var recipeName string
	c := &cobra.Command{
		Use:   "sources SOURCE [DECODER]",
		Short: "List what a model file or folder holds, with canonical names where its family is known",
		Long: "List the models in a file that are of a known family, and their parameters: canonical name, axes (in PyTorch's order), element\n" +
			"type and the tensor of the file that holds it. Files are recognised by content. In a graph, names are found by the paths of nodes,\n" +
			"the names of tensors and the structure of the graph, which must agree; a name that was found in one way alone says in which.\n" +
			"The parameters of any other model are its constants, under the file's names, with axes from the operators that use them.\n" +
			"Of a model that lacks some of its family list the tensors. --json prints both.\n\n" +
			"SOURCE may be a folder, as downloaded from a model hub: then say which file pack takes for the recipe, and why. With DECODER,\n" +
			"SOURCE is the encoder's file and DECODER the decoder's, and the model is both.\n\n" +
			"Reads no weight, but for what is compared: a second copy of a decoder's weights, biases that should be 0.",
		Example:           "  npuw sources model.onnx\n  npuw sources whisper-base/ --recipe whisper-encoder/npu2-tiled",
		Args:              needsModel,
		ValidArgsFunction: completeSources,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addRecipeFlag(c, &recipeName)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		want, err := wantOf(recipeName)
		if err != nil {
			return err
		}
		catalogue, models, folder, err := families.OpenAll(args, want)
		problem := ""
		if errors.Is(err, source.ErrParameters) && len(args) == 1 {
			problem = err.Error()
			catalogue, err = families.OpenCatalogue(args[0])
		}
		if err != nil {
			return err
		}
		defer catalogue.Close()
		list := listSource(catalogue, ofFirst(models, want.Family)...)
		list.Problem, list.Folder = problem, listFolder(folder)
		if asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		return printSource(cmd.OutOrStdout(), list, models...)
	}
	return c
}

// completeSources completes the names of model files.
func completeSources(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFiles("onnx", "safetensors", "bin", "pt", "json", "gguf", "xml")(cmd, args, toComplete)
}

// ofFirst gives models with that of a family, if there is one, before the others.
func ofFirst(models []*model.Model, family string) []*model.Model {
	i := slices.IndexFunc(models, func(m *model.Model) bool { return m.Family == family })
	if i < 1 {
		return models
	}
	return slices.Concat(models[i:i+1], models[:i], models[i+1:])
}

// sourceListing is what `npuw sources --json` prints. Its JSON is an interface: fields are added, never changed.
type sourceListing struct {
	Path    string            `json:"path"`
	Kind    string            `json:"kind"`
	Files   []fileListing     `json:"files"`
	Tensors []tensorListing   `json:"tensors"`
	Others  map[string]string `json:"others,omitempty"` // tensors without floats: name to type
	Sizes   map[string]int64  `json:"sizes,omitempty"`  // numbers that the file states beside them
	modelListing
	Models  []modelListing `json:"models,omitempty"`  // all models in the file, if there are several; the first is also told above
	Problem string         `json:"problem,omitempty"` // why a model of a known family is not complete
	Folder  *folderListing `json:"folder,omitempty"`  // of which the file was taken
}

// modelListing is one model of a file.
type modelListing struct {
	Family     string             `json:"family"` // empty: none that is known
	Attributes map[string]any     `json:"attributes"`
	Parameters []parameterListing `json:"parameters"`
	Notes      []string           `json:"notes,omitempty"` // on the model as a whole
}

// folderListing says what was taken of a folder, and what was not.
type folderListing struct {
	Taken    string        `json:"taken"`
	Why      string        `json:"why"`
	NotTaken []leftListing `json:"not_taken,omitempty"`
}

type leftListing struct {
	File string `json:"file"`
	Why  string `json:"why"`
}

func listFolder(f *families.Folder) *folderListing {
	if f == nil {
		return nil
	}
	l := &folderListing{Taken: f.Taken, Why: f.Why}
	for _, x := range f.NotTaken {
		l.NotTaken = append(l.NotTaken, leftListing(x))
	}
	return l
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
	// "state" (the tensor's name) where the file has no graph; in a model of no known family "tensor" (its name, whatever it is) or "path".
	NamedBy []string `json:"named_by"`
	Note    string   `json:"note,omitempty"` // on a name in the file that does not count
}

// listSource lists a catalogue and the models in it, the one that counts first.
func listSource(c *source.Catalogue, models ...*model.Model) sourceListing {
	l := sourceListing{Path: c.Path, Kind: c.Kind, Tensors: []tensorListing{}, Others: c.Others, Sizes: c.Sizes, modelListing: listModel(nil)}
	for _, f := range c.Files {
		l.Files = append(l.Files, fileListing{f.Path, f.Size})
	}
	for _, t := range c.Tensors {
		e := tensorListing{t.Name, t.Type.String(), append([]uint64{}, t.Shape...), c.Files[t.Data.File].Path, t.Data.Offset, t.Data.Size}
		switch {
		case t.Data.Inline != nil:
			e.Offset, e.Bytes = -1, int64(len(t.Data.Inline))
		case t.Data.Decoder != nil:
			e.Offset = -1
		}
		l.Tensors = append(l.Tensors, e)
	}
	for i, m := range models {
		if i == 0 {
			l.modelListing = listModel(m)
		}
		if len(models) > 1 {
			l.Models = append(l.Models, listModel(m))
		}
	}
	return l
}

// listModel lists a model; nil is one of no known family.
func listModel(m *model.Model) modelListing {
	l := modelListing{Attributes: map[string]any{}, Parameters: []parameterListing{}}
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

// printSource prints l, and the models in it: all their sizes, and the parameters of that which has the most.
func printSource(w io.Writer, l sourceListing, models ...*model.Model) error {
	if l.Folder != nil {
		printFolder(w, l.Folder)
	}
	fmt.Fprintf(w, "%s: %s, %d tensors\n", l.Path, l.Kind, len(l.Tensors))
	for _, f := range l.Files[1:] {
		fmt.Fprintf(w, "with %s, %d bytes\n", f.Path, f.Bytes)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(models) == 0 {
		return printTensors(w, t, l)
	}
	most := models[0]
	told := map[string]bool{}
	for _, m := range models {
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
			if !told[note] {
				fmt.Fprintf(w, "note      %s\n", note)
			}
			told[note] = true
		}
		if len(m.Parameters) > len(most.Parameters) {
			most = m
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "parameter\tshape\ttype\ttensor and node")
	for _, p := range most.Parameters {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%s\n", p.Name, axesAndSizes(p.Axes, p.Shape), heldAs(&p.Tensor), p.Origin, howNamed(&p))
	}
	return t.Flush()
}

// printFolder says which file of a folder was taken.
func printFolder(w io.Writer, f *folderListing) {
	fmt.Fprintf(w, "taken     %s: %s\n", f.Taken, f.Why)
	for _, x := range f.NotTaken {
		fmt.Fprintf(w, "not taken %s: %s\n", x.File, x.Why)
	}
}

// printTensors lists the tensors of a file in which there is no model.
func printTensors(w io.Writer, t *tabwriter.Writer, l sourceListing) error {
	why := "holds no parameters of a model"
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
	for _, name := range slices.Sorted(maps.Keys(l.Others)) {
		fmt.Fprintf(t, "%s\t%s\t\t\tno floats\n", printable(name), l.Others[name])
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
	if len(p.Ways) == 1 && p.Ways[0] != model.ByState && p.Ways[0] != model.ByTensor {
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
