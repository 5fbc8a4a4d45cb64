package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"npuw/pipeline"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
)

func packCommand() *cobra.Command {
	var recipeName, output string
	var jobs int
	var quiet, sync bool
	c := &cobra.Command{
		Use:   "pack SOURCE -o OUT.npuw",
		Short: "Pack a model into an artifact",
		Long: "Pack the weights of the model SOURCE as a recipe says, and verify the artifact. Without --recipe it is the default for the\n" +
			"model's family; `npuw recipes` lists what is built in.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles("onnx"),
	}
	f := c.Flags()
	f.StringVarP(&recipeName, "recipe", "r", "", "a built-in recipe's name, or a file (.txtpb)")
	f.StringVarP(&output, "output", "o", "", "the artifact to write")
	f.IntVarP(&jobs, "jobs", "j", 0, "workers (0: one a processor); the bytes do not depend on it")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress, no report")
	f.BoolVar(&sync, "sync", true, "return when the file is on the disk; false for scratch work")
	_ = c.MarkFlagRequired("output")
	_ = c.RegisterFlagCompletionFunc("recipe", completeRecipes)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := pipeline.Prepare(args[0], recipeName)
		if err != nil {
			return err
		}
		defer b.Close()
		p := newProgress(cmd.ErrOrStderr(), output, b.Plan.OperandBytes(), quiet)
		err = b.Pack(cmd.Context(), output, pack.Options{Jobs: jobs, NoSync: !sync, Progress: p.add})
		p.done()
		if err != nil {
			return err
		}
		if err := pipeline.Verify(output); err != nil {
			return fmt.Errorf("the artifact just written does not verify: %w", err)
		}
		if !quiet {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d operands in %d segments, %d bytes of data, verified (%s)\n",
				output, len(b.Plan.Operands), len(b.Plan.Index.Segments), b.Plan.DataBytes(), b.Recipe.Name)
		}
		return nil
	}
	return c
}

func completeRecipes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, r := range recipe.Builtins() {
		names = append(names, cobra.CompletionWithDesc(r.Name, r.Description))
	}
	return names, cobra.ShellCompDirectiveDefault
}

func planCommand() *cobra.Command {
	var recipeName string
	var asJSON bool
	c := &cobra.Command{
		Use:               "plan SOURCE",
		Short:             "Show the artifact that pack would write",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles("onnx"),
	}
	c.Flags().StringVarP(&recipeName, "recipe", "r", "", "a built-in recipe's name, or a file (.txtpb)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.RegisterFlagCompletionFunc("recipe", completeRecipes)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := pipeline.Prepare(args[0], recipeName)
		if err != nil {
			return err
		}
		defer b.Close()
		if asJSON {
			return printJSON(cmd.OutOrStdout(), b.Plan.Index.List(false))
		}
		return b.Plan.Print(cmd.OutOrStdout())
	}
	return c
}

func sourcesCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "sources FILE",
		Short:             "List what a model file holds, with canonical names where its family is known",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles("onnx"),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		catalogue, m, err := families.Open(args[0])
		if err != nil {
			return err
		}
		defer catalogue.Close()
		if asJSON {
			return printJSON(cmd.OutOrStdout(), listSource(catalogue, m))
		}
		return printSource(cmd.OutOrStdout(), catalogue, m)
	}
	return c
}

// sourceListing is what `npuw sources --json` prints.
type sourceListing struct {
	Path       string             `json:"path"`
	Kind       string             `json:"kind"`
	Family     string             `json:"family,omitempty"`
	Attributes map[string]any     `json:"attributes,omitempty"`
	Tensors    []tensorListing    `json:"tensors"`
	Parameters []parameterListing `json:"parameters,omitempty"`
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
	Perm   []int    `json:"perm"`
	Origin string   `json:"origin"`
}

func listSource(c *source.Catalogue, m *model.Model) sourceListing {
	l := sourceListing{Path: c.Path, Kind: c.Kind, Tensors: []tensorListing{}}
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
	l.Family, l.Attributes = m.Family, map[string]any{}
	for _, a := range m.Attributes {
		l.Attributes[a.Name] = attributeValue(a)
	}
	for _, p := range m.Parameters {
		l.Parameters = append(l.Parameters, parameterListing{p.Name, p.Axes, p.Shape, p.Tensor.Name, p.Perm, p.Origin})
	}
	return l
}

func attributeValue(a model.Attribute) any {
	if a.IsReal {
		return a.Real
	}
	return a.Int
}

func printSource(w io.Writer, c *source.Catalogue, m *model.Model) error {
	fmt.Fprintf(w, "%s: %s, %d tensors\n", c.Path, c.Kind, len(c.Tensors))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if m == nil {
		fmt.Fprintln(w, "no family of models that npuw knows")
		for _, x := range listSource(c, nil).Tensors {
			fmt.Fprintf(t, "%s\t%s\t%v\t%d bytes at %d of %s\n", x.Name, x.Type, x.Shape, x.Bytes, x.Offset, x.File)
		}
		return t.Flush()
	}
	fmt.Fprintf(w, "%s:", m.Family)
	for _, a := range m.Attributes {
		fmt.Fprintf(w, " %s=%v", a.Name, attributeValue(a))
	}
	fmt.Fprintln(w)
	for _, p := range m.Parameters {
		fmt.Fprintf(t, "%s\t%s %v\t%v\t%s %v\t%s\n", p.Name, p.Axes, p.Shape, p.Tensor.Type, p.Tensor.Name, p.Tensor.Shape, p.Origin)
	}
	return t.Flush()
}

func recipesCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "recipes",
		Short: "List the built-in recipes, or print one to begin your own from",
		Args:  cobra.NoArgs,
	}
	c.Flags().StringVar(&name, "print", "", "print the text of this recipe")
	_ = c.RegisterFlagCompletionFunc("print", completeRecipes)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if name != "" {
			text, err := recipe.BuiltinText(name)
			if err == nil {
				_, err = cmd.OutOrStdout().Write(text)
			}
			return err
		}
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, r := range recipe.Builtins() {
			fmt.Fprintf(t, "%s\t%s\n", r.Name, r.Description)
		}
		return t.Flush()
	}
	return c
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
