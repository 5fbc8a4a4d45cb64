package release

import (
	"cmp"
	"fmt"
	"slices"

	"npuw/pipeline/internal/portable"
)

// kernelsFolder is where the files that contracts name are in a set.
const kernelsFolder = "kernels/"

// placeKernels gives each file that contracts name its path in the set, and records it where the contract is. Files with the same
// bytes and name are one. Different ones of one name are told apart by the beginnings of their digests.
func placeKernels(files []kernelSource) (map[string]kernelSource, error) {
	byName := map[string][]kernelSource{}
	for _, f := range files {
		name := portable.Fold(f.name)
		byName[name] = append(byName[name], f)
	}
	placed := map[string]kernelSource{}
	for _, same := range byName {
		// The name of the first is that of all with its bytes, also where others differ in the case of letters.
		slices.SortFunc(same, func(a, b kernelSource) int {
			return cmp.Or(slices.Compare(a.file.SHA256[:], b.file.SHA256[:]), cmp.Compare(a.name, b.name))
		})
		several := same[0].file.SHA256 != same[len(same)-1].file.SHA256
		path := ""
		for i, f := range same {
			if i == 0 || f.file.SHA256 != same[i-1].file.SHA256 {
				path = kernelsFolder + f.name
				if several {
					path = fmt.Sprintf("%s%.16v-%s", kernelsFolder, f.file.SHA256, f.name)
				}
				if err := portable.Check(path); err != nil {
					return nil, fmt.Errorf("%s: in a set its path %q %w; rename it", f.path, path, err)
				}
				placed[path] = f
			}
			f.file.Path = path
		}
	}
	return placed, nil
}

// assemble makes the listing of a set.
func assemble(list []Artifact, kernels map[string]kernelSource, p Producer) *Listing {
	l := &Listing{Format: format, Version: formatVersion, Producer: p, Artifacts: slices.Clone(list), Kernels: []File{}}
	for path, k := range kernels {
		l.Kernels = append(l.Kernels, File{path, k.size, k.file.SHA256})
	}
	slices.SortFunc(l.Artifacts, func(a, b Artifact) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(l.Kernels, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return l
}
