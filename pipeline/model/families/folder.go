package families

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/model/generic"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
	"npuw/pipeline/source/shards"
)

// Bounds on a folder.
const (
	maxListed     = 4096 // files and folders in it that are looked at
	maxCandidates = 128  // model files among them
)

// subfolders are those in which exporters put files of their kind beside a checkpoint.
var subfolders = []string{"onnx", "openvino"}

// familyOrder is which family to take when nobody asks for one, and a folder has several.
var familyOrder = []string{whisper.Family, whisper.FamilyDecoder, whisper.FamilyPast, whisper.FamilyWhole}

// Folder says what was taken of a folder, and what was not.
type Folder struct {
	Taken    string // path of a file
	Why      string
	NotTaken []Left // in the order of preference, then those that do not fit
}

// Left is a file of a folder that was not taken.
type Left struct{ File, Why string }

// precision is how the weights of a model are held: the less the better.
type precision int

const (
	floats32 precision = iota // or more bits
	floats16                  // or fewer, some of them
	computed                  // of codes and scales: quantized
)

func (p precision) String() string {
	return [...]string{"float32", "16-bit floats", "codes with scales"}[p]
}

// kindOrder are the kinds of catalogues, the best first: what holds the values as they were trained, and by name, before what was made
// of it.
var kindOrder = []string{"safetensors", "torch", "onnx", "openvino", "gguf", "ggml"}

// noKnown is why a file with some model is not taken.
const noKnown = "no family of models that npuw knows"

// candidate is a model file of a folder.
type candidate struct {
	path    string
	kind    string           // of its catalogue
	files   int              // it consists of
	models  map[string]merit // by family
	problem string           // why there are none
}

// merit is what speaks for a candidate's model.
type merit struct {
	precision precision
	codes     bool // that an operand can keep
	guessed   bool
}

// Want is what a folder is looked through for.
type Want struct {
	Family string // "" for the first of familyOrder that the folder has
	Codes  bool   // codes with scales are wanted as they are
}

// rank is how good m is for w: the less the better.
func (w Want) rank(m merit) precision {
	if w.Codes && m.codes {
		return -1
	}
	return m.precision
}

// kindRank is the place of x's kind in kindOrder, behind all if it has none.
func (x *candidate) kindRank() int {
	if i := slices.Index(kindOrder, x.kind); i >= 0 {
		return i
	}
	return len(kindOrder)
}

// OpenAny opens a file, as OpenAs does, or the best file of a folder, as OpenFolder does. It gives no Folder for a file.
func OpenAny(path string, want Want) (*source.Catalogue, []*model.Model, *Folder, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return OpenFolder(path, want)
	}
	c, models, err := OpenAs(path, want.Family)
	return c, models, nil, err
}

// OpenFolder opens the file of a folder, as it comes from a model hub, that is the best for what is wanted. Files are recognised by
// content. Float32 is better than 16-bit floats, those are better than quantized weights, but where codes are wanted a file that has
// them is the best; then a file that tells all sizes is better than one that does not; then kinds are as in kindOrder; then one
// file is better than several. There must be one best.
func OpenFolder(dir string, want Want) (*source.Catalogue, []*model.Model, *Folder, error) {
	list, err := candidates(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range list {
		list[i].look(want.Family)
	}
	if want.Family == "" {
		want.Family = firstFamily(list)
	}
	f, err := choose(dir, want, list)
	if err != nil {
		return nil, nil, nil, err
	}
	c, models, err := OpenAs(f.Taken, want.Family)
	return c, models, f, err
}

// firstFamily is the first of familyOrder that a file of list has; the first of all if none has any. A file of no known family is what
// the folder is for only if no other file might be it.
func firstFamily(list []candidate) string {
	for _, family := range familyOrder {
		for _, x := range list {
			if _, ok := x.models[family]; ok {
				return family
			}
		}
	}
	if len(list) > 0 && !slices.ContainsFunc(list, func(x candidate) bool { return x.problem != "" }) {
		return generic.Family
	}
	return familyOrder[0]
}

// candidates lists the model files in dir.
func candidates(dir string) ([]candidate, error) {
	var list []candidate
	listed := 0
	for _, folder := range append([]string{"."}, subfolders...) {
		names, err := readFolder(filepath.Join(dir, folder), maxListed-listed)
		if folder != "." && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &source.Error{File: filepath.Join(dir, folder), Offset: -1, Problem: "cannot be read: " + err.Error(), Next: "give the model's file itself", Err: err}
		}
		if listed += len(names); listed > maxListed {
			return nil, &source.Error{
				File: dir, Offset: -1, Problem: fmt.Sprintf("more than %d files", maxListed), Next: "give the model's file itself", Err: source.ErrLimit,
			}
		}
		for _, name := range names {
			x, ok := newCandidate(filepath.Join(dir, folder, name))
			if !ok {
				continue
			}
			if list = append(list, x); len(list) > maxCandidates {
				return nil, &source.Error{
					File: dir, Offset: -1, Problem: fmt.Sprintf("more than %d model files", maxCandidates), Next: "give the model's file itself", Err: source.ErrLimit,
				}
			}
		}
	}
	return list, nil
}

// readFolder gives the names in a folder, sorted: all of them, or more than most.
func readFolder(dir string, most int) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(most + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// newCandidate reports whether a file is a candidate: of a kind that is read, and not a part of a model whose index is there. JSON is an
// index by its name, since a model's other files are JSON too.
func newCandidate(path string) (candidate, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return candidate{}, false
	}
	if strings.HasSuffix(path, ".json") && !shards.IsIndex(filepath.Base(path)) {
		return candidate{}, false
	}
	if _, part := shards.IndexOf(path); part {
		return candidate{}, false
	}
	_, err = kindOf(path)
	return candidate{path: path}, err == nil
}

// look finds out which models are in the file, for whoever wants those of family.
func (x *candidate) look(family string) {
	c, models, err := OpenAs(x.path, family)
	if err != nil {
		x.problem = strings.TrimPrefix(err.Error(), x.path+": ")
		return
	}
	defer c.Close()
	if len(models) == 0 {
		x.problem = noKnown
		return
	}
	x.kind, x.files, x.models = c.Kind, len(c.Files), make(map[string]merit, len(models))
	for _, m := range models {
		x.models[m.Family] = merit{
			precisionOf(m), slices.ContainsFunc(m.Parameters, func(p model.Parameter) bool { return p.Tensor.Codes != nil }), m.Guessed,
		}
	}
}

// precisionOf is that of the least exact weights of m.
func precisionOf(m *model.Model) precision {
	worst := floats32
	for i := range m.Parameters {
		t := &m.Parameters[i].Tensor
		switch {
		case t.Codes != nil || t.Stored != "":
			worst = max(worst, computed)
		case t.Type.Size() < 4:
			worst = max(worst, floats16)
		}
	}
	return worst
}

// worse tells why x is worse than best: "" where it is not.
func (x *candidate) worse(best *candidate, want Want) string {
	a, b := x.models[want.Family], best.models[want.Family]
	switch {
	case want.rank(b) < 0 && want.rank(a) >= 0:
		return "the recipe keeps codes, and it has none that can be kept"
	case want.rank(a) != want.rank(b):
		return "less exact"
	case a.guessed != b.guessed:
		return "as exact, but nothing tells all of its sizes"
	case x.kindRank() != best.kindRank():
		return fmt.Sprintf("as exact, but %s comes before %s", best.kind, x.kind)
	case x.files != best.files:
		return "as exact, but in more files"
	}
	return ""
}

// choose takes the best file for what is wanted, of a family.
func choose(dir string, want Want, list []candidate) (*Folder, error) {
	family := want.Family
	var fit []candidate
	f := &Folder{}
	for _, x := range list {
		if _, ok := x.models[family]; ok {
			fit = append(fit, x)
		}
	}
	slices.SortStableFunc(fit, func(x, y candidate) int {
		a, b := x.models[family], y.models[family]
		guessed := map[bool]int{true: 1}
		return cmp.Or(cmp.Compare(want.rank(a), want.rank(b)), guessed[a.guessed]-guessed[b.guessed], x.kindRank()-y.kindRank(), x.files-y.files)
	})
	for i := range fit {
		x := &fit[i]
		what := fmt.Sprintf("a %s in %s (%s)", family, x.models[family].precision, x.kind)
		if i == 0 {
			f.Taken, f.Why = x.path, what
			continue
		}
		why := x.worse(&fit[0], want)
		if why == "" {
			return nil, &source.Error{
				File: dir, Offset: -1, Err: source.ErrMismatch, Next: "give the one that you mean instead of the folder",
				Problem: fmt.Sprintf("%s and %s are equally good: %s", relative(dir, fit[0].path), relative(dir, x.path), what),
			}
		}
		f.NotTaken = append(f.NotTaken, Left{x.path, what + ": " + why})
	}
	for i := range list {
		if _, ok := list[i].models[family]; !ok {
			f.NotTaken = append(f.NotTaken, Left{list[i].path, list[i].unfit(family)})
		}
	}
	if f.Taken == "" {
		return nil, nothing(dir, family, f)
	}
	return f, nil
}

// unfit tells why there is no model of family in the file.
func (x *candidate) unfit(family string) string {
	if x.problem != "" {
		return x.problem
	}
	if _, ok := x.models[generic.Family]; ok {
		return noKnown
	}
	var has []string
	for _, other := range familyOrder {
		if _, ok := x.models[other]; ok {
			has = append(has, other)
		}
	}
	return fmt.Sprintf("holds no %s but %s", family, strings.Join(has, ", "))
}

// nothing is the error for a folder in which no file fits.
func nothing(dir, family string, f *Folder) error {
	if len(f.NotTaken) == 0 {
		var names []string
		for i := range kinds {
			names = append(names, kinds[i].name)
		}
		return &source.Error{
			File: dir, Offset: -1, Problem: "holds no model file", Next: "these are read: " + strings.Join(names, ", "), Err: source.ErrNotRecognised,
		}
	}
	var all []string
	for _, x := range f.NotTaken {
		all = append(all, fmt.Sprintf("%s: %s", relative(dir, x.File), x.Why))
	}
	next := "give another folder, or a recipe for what it holds"
	if family == whisper.FamilyWhole {
		next = "give the files of an encoder and of its decoder in place of the folder"
	}
	return &source.Error{
		File: dir, Offset: -1, Problem: fmt.Sprintf("no file for a %s: %s", family, strings.Join(all, "; ")), Next: next, Err: source.ErrNotRecognised,
	}
}

// relative is path seen from dir, for messages.
func relative(dir, path string) string {
	if short, err := filepath.Rel(dir, path); err == nil {
		return short
	}
	return path
}
