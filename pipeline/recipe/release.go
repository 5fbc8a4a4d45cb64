package recipe

import (
	"fmt"
	slashpath "path"
	"path/filepath"
	"strings"

	"npuw/pipeline/internal/portable"
	"npuw/schema/releasepb"
)

// Release is a checked list of artifacts to make.
type Release struct {
	Artifacts []ReleaseArtifact // at least one
}

// ReleaseArtifact is one artifact of a release. Sources, and Recipe where it is a path, are relative to the folder of the file
// that they stand in.
type ReleaseArtifact struct {
	Sources  []string // the model: one file or folder, or the files of its encoder and its decoder
	Recipe   string   // the name of a built-in recipe, a path ending in .txtpb, or empty: the default of the model's family
	Kernels  string   // the path of a file of kernel contracts to bind operands to, or empty
	Compress bool     // also as a .npuwz file
	Output   string   // a clean local path below the output folder, ending in .npuw; no two are equal, in any case of letters
	Line     int      // where the artifact stands, for messages
}

// IsPath reports whether a recipe is named by the path of its file, not by the name of a built-in one.
func IsPath(recipe string) bool { return strings.HasSuffix(recipe, ".txtpb") }

const (
	extension = ".npuw"
	temporary = ".npuw-tmp-" // in names of files that are being written, which builds remove when they find them abandoned
)

// ParseRelease reads and checks a release of at most 1 MiB. The file's name is for messages only; no file named in it is
// looked at. Errors are of type *Error.
func ParseRelease(file string, text []byte) (*Release, error) {
	var m releasepb.Release
	doc, err := unmarshal(file, text, &m)
	if err != nil {
		return nil, err
	}
	blocks := doc.root.all("artifact")
	if len(blocks) != len(m.Artifact) {
		return nil, doc.fault(position{}, "%d artifacts were read but %d were found in the text", len(m.Artifact), len(blocks))
	}
	if len(blocks) == 0 {
		return nil, doc.fault(doc.root.end, "the release has no artifacts; write artifact { source: \"MODEL.onnx\" output: \"NAME.npuw\" }")
	}
	outputs := outputSet{files: map[string]int{}, folders: map[string]int{}}
	release := &Release{}
	for i, a := range m.Artifact {
		block := blocks[i]
		if err := checkSources(doc, block, a.Source); err != nil {
			return nil, err
		}
		if err := checkRecipe(a.Recipe); err != nil {
			return nil, doc.fault(block.where("recipe", 0), "%v", err)
		}
		if err := checkOutput(a.Output); err != nil {
			return nil, doc.fault(block.where("output", 0), "%v", err)
		}
		output := filepath.Clean(a.Output)
		if err := outputs.add(output, block.at.line); err != nil {
			return nil, doc.fault(block.where("output", 0), "%v", err)
		}
		if wrong := checkName(a.Kernels); a.Kernels != "" && wrong != "" {
			return nil, doc.fault(block.where("kernels", 0), "the path of the kernel contracts %s", wrong)
		}
		release.Artifacts = append(release.Artifacts, ReleaseArtifact{a.Source, a.Recipe, a.Kernels, a.Compress, output, block.at.line})
	}
	return release, nil
}

// maxSources is how many files a model may be given in: its encoder and its decoder.
const maxSources = 2

// checkSources refuses what are no paths of a model's files.
func checkSources(doc *document, block *field, sources []string) error {
	if len(sources) == 0 {
		return doc.fault(block.at, "the artifact has no source; write source: \"MODEL.onnx\"")
	}
	if len(sources) > maxSources {
		return doc.fault(block.where("source", maxSources), "%d sources; a model is one file, or two: its encoder and its decoder", len(sources))
	}
	for i, source := range sources {
		if wrong := checkName(source); wrong != "" {
			return doc.fault(block.where("source", i), "the source %s; write source: \"MODEL.onnx\"", wrong)
		}
		if i > 0 && filepath.Clean(source) == filepath.Clean(sources[0]) {
			return doc.fault(block.where("source", i), "the source %q is there already; write the encoder's file and the decoder's", source)
		}
	}
	return nil
}

// checkRecipe refuses what neither is the path of a recipe nor the name of a built-in one.
func checkRecipe(name string) error {
	switch {
	case name == "":
		return nil
	case IsPath(name):
		if wrong := checkName(name); wrong != "" {
			return fmt.Errorf("the recipe %s", wrong)
		}
		return nil
	}
	if _, err := Builtin(name); err != nil {
		return fmt.Errorf("%w; the path of a recipe file ends in .txtpb", err)
	}
	return nil
}

// checkOutput refuses what is not a path below the output folder.
func checkOutput(path string) error {
	if wrong := checkName(path); wrong != "" {
		return fmt.Errorf("the output %s; write output: \"NAME%s\"", wrong, extension)
	}
	if !filepath.IsLocal(path) {
		return fmt.Errorf("the output %q is not a path below the output folder", path)
	}
	if base := filepath.Base(path); filepath.Ext(base) != extension || base == extension || strings.HasSuffix(path, "/") {
		return fmt.Errorf("the output %q is not NAME%s", path, extension)
	}
	if strings.Contains(filepath.Base(path), temporary) {
		return fmt.Errorf("the output %q has %q in its name, as files have that are not finished; give it another", path, temporary)
	}
	if wrong := portable.Check(slashpath.Clean(path)); wrong != nil {
		return fmt.Errorf("the output %q %w; give it a name that every system takes", path, wrong)
	}
	return nil
}

// outputSet has the outputs so far and the folders they need, with the line of the artifact. Names are folded, since file systems exist
// that take a.npuw and A.npuw for one file.
type outputSet struct{ files, folders map[string]int }

// add refuses an output that is one of those before, or is a folder of one, or needs one as a folder.
func (s *outputSet) add(path string, line int) error {
	key := portable.Fold(path)
	if first, taken := s.files[key]; taken {
		return fmt.Errorf("the output %q is that of the artifact in line %d too", path, first)
	}
	if first, taken := s.folders[key]; taken {
		return fmt.Errorf("the output %q is a folder for the artifact in line %d", path, first)
	}
	s.files[key] = line
	for dir := filepath.Dir(key); dir != "."; dir = filepath.Dir(dir) {
		if first, taken := s.files[dir]; taken {
			return fmt.Errorf("the output %q has as a folder the output of the artifact in line %d", path, first)
		}
		if _, known := s.folders[dir]; known {
			break
		}
		s.folders[dir] = line
	}
	return nil
}
