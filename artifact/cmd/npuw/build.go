package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"npuw/artifact"
	"npuw/pipeline"
	"npuw/pipeline/model/families"
	"npuw/pipeline/pack"
	"npuw/pipeline/recipe"
)

// maxJobs bounds the workers: each has buffers of its own.
const maxJobs = 1024

// packFlags are the flags of `npuw pack`.
type packFlags struct {
	recipe, kernels, output string
	jobs                    int
	quiet, sync             bool
}

func packCommand() *cobra.Command {
	var f packFlags
	c := &cobra.Command{
		Use:   "pack SOURCE [DECODER] -o OUT.npuw",
		Short: "Pack a model into an artifact",
		Long: "Pack the weights of the model SOURCE as a recipe says, and verify the artifact. Without --recipe\n" +
			"it is the default of the model's family; `npuw recipes` lists those that are built in. SOURCE may be a folder, as downloaded\n" +
			"from a model hub: then it is told which file was taken for the recipe, and why. With DECODER, SOURCE is the encoder's file and\n" +
			"DECODER the decoder's, and both go into one artifact.\n\n" +
			"With --kernels operands are bound to the kernel contracts of a file. They are checked against the xclbins that it\n" +
			"names, and its instruction streams go into the artifact.\n\n" +
			"OUT.npuw appears, or is replaced, when all of it is there and verified. After an error it is as it was. A symbolic\n" +
			"link of that name is replaced itself, not what it leads to.",
		Example: "  npuw pack model.onnx -o model.npuw\n" +
			"  npuw pack encoder_model.onnx decoder_model_merged.onnx -o whisper.npuw\n" +
			"  npuw pack model.onnx --recipe whisper-encoder/f32 -o check.npuw\n" +
			"  npuw pack model.onnx --recipe mine.txtpb --kernels kernels.txtpb -o model.npuw",
		Args:              needsModel,
		ValidArgsFunction: completeSources,
	}
	flags := c.Flags()
	addRecipeFlag(c, &f.recipe)
	addKernelsFlag(c, &f.kernels)
	flags.StringVarP(&f.output, "output", "o", "", "the artifact to write: OUT.npuw")
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "work with N workers (default: one a processor); the bytes do not depend on it")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors")
	flags.BoolVar(&f.sync, "sync", true, "wait until the file is on the disk; --sync=false is for scratch work")
	nameValues(c, map[string]string{"output": "OUT.npuw", "jobs": "N"})
	requireFlag(c, "output", "-o OUT.npuw")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if f.jobs < 0 || f.jobs > maxJobs {
			return callErrorf("--jobs %d: 1 to %d was expected, or 0 for one a processor", f.jobs, maxJobs)
		}
		if f.output == "" {
			return noName("-o")
		}
		if err := checkKernelsFlag(cmd, f.kernels); err != nil {
			return err
		}
		return f.run(cmd, args)
	}
	return c
}

// run packs the model in the files at paths.
func (f *packFlags) run(cmd *cobra.Command, paths []string) error {
	told := cmd.ErrOrStderr()
	if f.quiet {
		told = io.Discard
	}
	b, err := prepare(told, paths, f.recipe, f.kernels)
	if err != nil {
		return err
	}
	defer b.Close()
	p := &progress{}
	if !f.quiet {
		p = newProgress(cmd.ErrOrStderr(), f.output, b.Plan.OperandBytes())
	}
	var index *artifact.Index
	err = interruptible(cmd, "no file was written", func(ctx context.Context) (err error) {
		index, err = b.Pack(ctx, f.output, pack.Options{Jobs: f.jobs, NoSync: !f.sync, Progress: p.add})
		return err
	})
	p.done()
	if err != nil {
		return err
	}
	if !f.quiet {
		report(cmd.OutOrStdout(), f.output, index, b.Plan.DataBytes())
		for _, note := range b.Model.Notes {
			fmt.Fprintln(cmd.OutOrStdout(), "note:", note)
		}
	}
	return nil
}

func addRecipeFlag(c *cobra.Command, name *string) {
	c.Flags().StringVarP(name, "recipe", "r", "", "the RECIPE: a built-in one's name, or a file that ends in .txtpb (default: the family's)")
	nameValues(c, map[string]string{"recipe": "RECIPE"})
	_ = c.RegisterFlagCompletionFunc("recipe", completeRecipes)
}

func completeRecipes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, r := range recipe.Builtins() {
		names = append(names, cobra.CompletionWithDesc(r.Name, r.Description))
	}
	return names, cobra.ShellCompDirectiveDefault
}

// checkRecipe checks that there is the recipe of a name. That there is not a built-in one is an error of the call.
func checkRecipe(name string) error {
	switch {
	case name == "":
	case !recipe.IsPath(name):
		if _, err := recipe.Builtin(name); err != nil {
			if _, missing := os.Stat(name); missing == nil {
				err = fmt.Errorf("%w; if the file is meant, its name must end in .txtpb", err)
			}
			return &callError{err}
		}
	default:
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) { // else there, or the attempt to read will tell
			return fmt.Errorf("%s: there is no such recipe file; check the path, or begin one: npuw recipes --print %s > %s",
				name, recipe.Builtins()[0].Name, name)
		}
	}
	return nil
}

// wantOf gives what a folder is to have for a recipe; no recipe wants anything.
func wantOf(recipeName string) (families.Want, error) {
	if err := checkRecipe(recipeName); err != nil || recipeName == "" {
		return families.Want{}, err
	}
	r, err := pipeline.FindRecipe(recipeName)
	if err != nil {
		return families.Want{}, err
	}
	return families.Want{Family: r.Family, Codes: r.KeepsSource()}, nil
}

// prepare plans the artifact of a model, bound to the contracts in the file kernels if that is named, and tells on w which file of a folder
// the model's is.
func prepare(w io.Writer, paths []string, recipeName, kernels string) (*pipeline.Build, error) {
	if err := checkRecipe(recipeName); err != nil {
		return nil, err
	}
	b, err := pipeline.PrepareFiles(paths, recipeName)
	if err == nil && b.Folder != nil {
		printFolder(w, listFolder(b.Folder))
	}
	if err != nil || kernels == "" {
		return b, err
	}
	if err := b.BindKernels(kernels); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// report says what has been written, and what encoding it cost.
func report(w io.Writer, path string, x *artifact.Index, dataBytes uint64) {
	fmt.Fprintf(w, "%s: %d operands in %d segments, %d bytes of data, verified (%s)\n",
		path, len(x.Operands), len(x.Segments), dataBytes, x.Producer.Recipe)
	var worst *artifact.Operand
	notFinite := uint64(0)
	for i := range x.Operands {
		o := &x.Operands[i]
		if worst == nil || o.Statistics.RelativeL2() > worst.Statistics.RelativeL2() {
			worst = o
		}
		notFinite += o.Statistics.NonFinite
	}
	if len(x.Contracts) > 0 {
		fmt.Fprintf(w, "bindings: %d, to kernel contracts: %d\n", len(x.Bindings), len(x.Contracts))
	}
	if worst != nil && worst.Statistics.RelativeL2() > 0 {
		fmt.Fprintf(w, "largest relative L2 error: %.3g, of %s\n", worst.Statistics.RelativeL2(), worst.Name)
	}
	if notFinite > 0 {
		fmt.Fprintf(w, "%d values are not finite, as the recipe allows\n", notFinite)
	}
}

func planCommand() *cobra.Command {
	var recipeName, kernels string
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan SOURCE [DECODER]",
		Short: "Show the artifact that pack would write",
		Long: "Show the artifact that `npuw pack` would write: every operand's format, layout, place and size. Writes\n" +
			"nothing, and reads no weight but those that a decoder has twice, which are compared. With --kernels also the kernel\n" +
			"contracts of a file, and what is bound to them.",
		Example:           "  npuw plan model.onnx --recipe whisper-encoder/npu1-rowmajor",
		Args:              needsModel,
		ValidArgsFunction: completeSources,
	}
	addRecipeFlag(c, &recipeName)
	addKernelsFlag(c, &kernels)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkKernelsFlag(cmd, kernels); err != nil {
			return err
		}
		b, err := prepare(cmd.ErrOrStderr(), args, recipeName, kernels)
		if err != nil {
			return err
		}
		defer b.Close()
		if asJSON {
			return printJSON(cmd.OutOrStdout(), planListing{b.Catalogue.Path, b.Plan.PageBytes, b.Plan.DataBytes(), b.Plan.Kept(), b.Plan.Index.List(false)})
		}
		if err := b.Plan.Print(cmd.OutOrStdout()); err != nil {
			return err
		}
		return b.Plan.Index.PrintContracts(cmd.OutOrStdout())
	}
	return c
}

// planListing is what `npuw plan --json` prints.
type planListing struct {
	Source    string   `json:"source"`
	PageBytes uint64   `json:"page_bytes"`
	DataBytes uint64   `json:"data_bytes"`     // of all segments
	Kept      []string `json:"kept,omitempty"` // operands that hold the source's codes, scales and zeros as they are
	artifact.Listing
}

func recipesCommand() *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "recipes",
		Short: "List the built-in recipes, or print one to begin your own from",
		Long: "List the built-in recipes, the default of a family of models first. --print prints the text of one, with comments that\n" +
			"explain it: change it, give it another name, and pack with --recipe FILE.txtpb.",
		Example: "  npuw recipes --print whisper-encoder/npu1-tiled > mine.txtpb",
		Args:    needs(),
	}
	c.Flags().StringVar(&name, "print", "", "print the text of the recipe NAME")
	nameValues(c, map[string]string{"print": "NAME"})
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("print", "json")
	_ = c.RegisterFlagCompletionFunc("print", completeRecipes)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("print") {
			text, err := recipe.BuiltinText(name)
			if err != nil {
				return &callError{err}
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		}
		list := listRecipes()
		if asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, r := range list {
			note := ""
			if r.Default {
				note = " (the default)"
			}
			fmt.Fprintf(t, "%s\t%s%s\n", r.Name, r.Description, note)
		}
		return t.Flush()
	}
	return c
}

// recipeListing is a recipe in what `npuw recipes --json` prints.
type recipeListing struct {
	Name        string `json:"name"`
	Family      string `json:"family"`
	Description string `json:"description"`
	PageBytes   uint64 `json:"page_bytes"`
	Default     bool   `json:"default"` // of its family
}

func listRecipes() []recipeListing {
	var list []recipeListing
	for _, r := range recipe.Builtins() {
		d, err := recipe.Default(r.Family)
		list = append(list, recipeListing{r.Name, r.Family, r.Description, r.PageBytes, err == nil && d.Name == r.Name})
	}
	return list
}
