// Package pipeline is the build side of npuw: from a model file and a recipe to a verified artifact.
//
//	source file -> catalogue -> parameters -> operands -> plan -> artifact
//	              (source)     (model)       (recipe)    (plan)  (pack)
package pipeline

import (
	"context"
	"fmt"
	"io"
	"slices"

	"npuw/artifact"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/model/generic"
	genericrecipes "npuw/pipeline/model/generic/recipes"
	"npuw/pipeline/pack"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
)

// Build is an open model with the plan of its artifact. No weight has been read.
type Build struct {
	Catalogue *source.Catalogue
	Model     *model.Model
	Recipe    *recipe.Recipe
	Plan      *plan.Plan
	Folder    *families.Folder // of which the model's file was taken; nil where that was given itself

	// What BindKernels read: the contracts, the path of each one's instruction stream ("" for none), and the paths of the xclbins, in the
	// order of Plan.Index.Xclbins.
	Kernels      *recipe.Kernels
	Instructions []string
	Xclbins      []string

	inputs []string // files that were read beside the model's
}

// Prepare opens the model at path and plans its artifact by a recipe: the name of a built-in one, the path of a file (it ends in
// .txtpb), or empty for the default of the model's family. Of a folder it takes the file that is the best for the recipe, as
// families.OpenFolder does. The Build must be closed.
func Prepare(path, recipeName string) (*Build, error) {
	return PrepareFiles([]string{path}, recipeName)
}

// PrepareFiles is Prepare for a model whose encoder and decoder may stand in files of their own.
func PrepareFiles(paths []string, recipeName string) (*Build, error) {
	b := &Build{}
	var want families.Want
	if recipeName != "" {
		var err error
		if b.Recipe, err = FindRecipe(recipeName); err != nil {
			return nil, err
		}
		want = families.Want{Family: b.Recipe.Family, Codes: b.Recipe.KeepsSource()}
	}
	c, models, folder, err := families.OpenAll(paths, want)
	if err != nil {
		return nil, err
	}
	b.Catalogue, b.Folder = c, folder
	if err := b.plan(models); err != nil {
		c.Close()
		return nil, err
	}
	if recipe.IsPath(recipeName) {
		b.inputs = append(b.inputs, recipeName)
	}
	return b, nil
}

// plan plans the artifact of the model that the recipe is for, or else of the first, which the recipe will refuse. Where there is no
// recipe it is the first model's default.
func (b *Build) plan(models []*model.Model) error {
	if len(models) == 0 {
		return b.noModel()
	}
	var err error
	if b.Recipe == nil {
		if b.Recipe, err = recipe.Default(models[0].Family); err != nil {
			return err
		}
	}
	b.Model = models[0]
	for _, m := range models {
		if m.Family == b.Recipe.Family {
			b.Model = m
		}
	}
	b.Plan, err = plan.New(b.Model, b.Recipe)
	return err
}

// noModel is the error for a file in which no model is found.
func (b *Build) noModel() error {
	e := &source.Error{
		File: b.Catalogue.Path, Offset: -1, Problem: "holds no parameters of a model", Next: "`npuw sources` lists what the file holds", Err: source.ErrNotRecognised,
	}
	if r := b.Recipe; r != nil && r.Family != generic.Family {
		e.Problem = fmt.Sprintf("no model of a family that npuw knows, and recipe %s is for %s", r.Name, r.Family)
		e.Next = "a recipe of " + generic.Family + " takes any model: --recipe " + genericrecipes.Default
	}
	return e
}

// FindRecipe gives the recipe that a person named: a built-in one, or that of a file whose name ends in .txtpb.
func FindRecipe(name string) (*recipe.Recipe, error) {
	if !recipe.IsPath(name) {
		return recipe.Builtin(name)
	}
	text, err := ReadText(name)
	if err != nil {
		return nil, err
	}
	return recipe.Parse(name, text)
}

// maxText is more than a recipe or a release manifest may have.
const maxText = 2 << 20

// ReadText reads a recipe or a release manifest. What is longer than either may be is cut, and left to the parser to refuse.
func ReadText(path string) ([]byte, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, min(f.Size, maxText)))
}

// Pack writes the artifact to path, when it has been read back and every byte of it verified, and then opts.Check has had its say. It
// returns the index, with what was measured. A path at which something would be lost, such as a file that the build reads, is refused.
func (b *Build) Pack(ctx context.Context, path string, opts pack.Options) (*artifact.Index, error) {
	inputs := slices.Clone(b.inputs)
	for _, f := range b.Catalogue.Files {
		inputs = append(inputs, f.Path)
	}
	if err := artifact.CheckOutput(path, inputs...); err != nil {
		return nil, err
	}
	var index *artifact.Index
	further := opts.Check
	opts.Check = func(f *artifact.File) error {
		index = f.Index
		if err := f.Verify(); err != nil {
			return fmt.Errorf("the artifact just written does not verify: %w", err)
		}
		if further != nil {
			return further(f)
		}
		return nil
	}
	if err := pack.Run(ctx, b.Catalogue, b.Plan, path, opts); err != nil {
		return nil, err
	}
	return index, nil
}

// Close closes the model's files.
func (b *Build) Close() error { return b.Catalogue.Close() }

// Verify opens the artifact at path and checks every byte of it.
func Verify(path string) error {
	f, err := artifact.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Verify()
}
