package release

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"npuw/artifact/kernel"
	"npuw/pipeline"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
)

// manifest is a release manifest that has been read.
type manifest struct {
	*recipe.Release
	path string
}

func readManifest(path string) (*manifest, error) {
	text, err := pipeline.ReadText(path)
	if err != nil {
		return nil, err
	}
	r, err := recipe.ParseRelease(path, text)
	if err != nil {
		return nil, err
	}
	return &manifest{r, path}, nil
}

// outputs are the paths of the artifacts, slash-separated.
func (m *manifest) outputs() []string {
	var list []string
	for _, a := range m.Artifacts {
		list = append(list, filepath.ToSlash(a.Output))
	}
	return list
}

// beside is a path that the manifest names.
func (m *manifest) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(m.path), path)
}

// prepare opens the model of an artifact and plans it.
func (m *manifest) prepare(a *recipe.ReleaseArtifact) (*pipeline.Build, error) {
	name := a.Recipe
	if recipe.IsPath(name) {
		name = m.beside(name)
	}
	sources := make([]string, len(a.Sources))
	for i, source := range a.Sources {
		sources[i] = m.beside(source)
	}
	b, err := pipeline.PrepareFiles(sources, name)
	if err != nil || a.Kernels == "" {
		return b, err
	}
	if err := b.BindKernels(m.beside(a.Kernels)); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// fault names the artifact in an error.
func (m *manifest) fault(a *recipe.ReleaseArtifact, err error) error {
	return fmt.Errorf("%s:%d: %s: %w", m.path, a.Line, a.Output, err)
}

// kernelSource is a file that contracts name: it goes into the set.
type kernelSource struct {
	file *KernelFile // where its path in the set is to be recorded
	path string
	name string // the last part of its path
	size int64
}

// describeBuild says of an artifact that is to be made all but its size, its digest and those of its values and what follows from them.
// The paths of kernels' files in the set are not known yet.
func describeBuild(ctx context.Context, c *cache, b *pipeline.Build, output string) (Artifact, []kernelSource, error) {
	a, err := describe(b.Plan.Index, b.Plan.PageBytes)
	if err != nil {
		return a, nil, err
	}
	a.Path, a.Recipe.SHA256 = filepath.ToSlash(output), b.Recipe.Digest
	for i := range a.Parameters {
		a.Parameters[i].Type = b.Model.Parameters[i].Tensor.Type.String()
	}
	if b.Kernels == nil {
		return a, nil, nil
	}
	a.Contracts = b.Kernels.Digest
	var files []kernelSource
	for i := range a.Kernels {
		k, contract := &a.Kernels[i], &b.Plan.Index.Contracts[i]
		if k.Xclbin != nil {
			path := b.Xclbins[contract.Xclbin]
			f, err := c.fileDigest(ctx, path)
			if err != nil {
				return a, nil, err
			}
			k.Xclbin.SHA256 = f.SHA256
			files = append(files, kernelSource{k.Xclbin, path, b.Plan.Index.Xclbins[contract.Xclbin].Name, f.Bytes})
		}
		if contract.Instructions != kernel.None {
			stream := b.Plan.Streams[contract.Instructions]
			k.Instructions.SHA256 = sha256.Sum256(stream)
			files = append(files, kernelSource{k.Instructions, b.Instructions[i], filepath.Base(b.Instructions[i]), int64(len(stream))})
		}
	}
	return a, files, nil
}

// setValues adds the digests of the parameters' values, and with them the key.
func (a *Artifact) setValues(digests []Digest) {
	for i := range a.Parameters {
		a.Parameters[i].SHA256 = digests[i]
	}
	a.Source = a.sourceDigest()
	a.Key = a.key(producer(plan.Revision))
}
