// Package refill writes a copy of an ONNX model that has the values of an artifact in place of its weights, so that any program that
// runs the model measures what packing cost.
//
//	model.onnx ──── copied byte for byte ───────────────┐
//	model.npuw ──── parameters ── permuted, in the ──── patched in place ──> copy.onnx
//	                              tensor's own type
//
// Each tensor keeps its type, axes and place: nothing else of the files changes, and no length. Data in files beside the model is copied
// and patched likewise, and stays under the names that the model gives. The copy is read back before it gets its name.
package refill

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/export"
	"npuw/pipeline/model"
	"npuw/pipeline/model/families"
	"npuw/pipeline/source"
)

// Model is an open ONNX model with the values that are to be its weights. No value has been read.
type Model struct {
	source    *source.Catalogue
	recognise func(family string) ([]*model.Model, error) // the models in source, as its files are
	set       *export.Set
	weights   []weight
}

// weight is a parameter of the source, and its values in the order of the axes of its tensor.
type weight struct {
	parameter *model.Parameter
	values    *artifact.Values
}

// Open opens the ONNX model at path, to be given the parameters of an artifact: all of them must be in the set, and the model must be one
// of the artifact's family, of the same sizes, with weights that the file holds as plain floats. Whether the artifact is sound is for its
// Verify to say. It must be closed.
func Open(path string, set *export.Set) (*Model, error) {
	c, recognise, err := families.OpenRecogniser(path)
	if err != nil {
		return nil, err
	}
	r := &Model{source: c, recognise: recognise, set: set}
	if err := r.match(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return r, nil
}

// Close closes the model's files.
func (r *Model) Close() error { return r.source.Close() }

// match finds for each parameter of the model its values.
func (r *Model) match() error {
	if r.source.Kind != "onnx" {
		return &source.Error{
			File: r.source.Path, Offset: -1, Problem: "is a model in " + r.source.Kind, Next: "give an .onnx file, which says what is computed with the weights",
			Err: source.ErrUnsupported,
		}
	}
	models, err := r.recognise(r.set.File.Index.Model.Family)
	if err != nil && !errors.Is(err, source.ErrNotRecognised) {
		return err
	}
	m, err := r.family(models)
	if err != nil {
		return err
	}
	if err := r.sameSizes(m); err != nil {
		return err
	}
	values := map[string]*artifact.Values{}
	for _, v := range r.set.Parameters {
		values[v.Name] = v
	}
	for i := range m.Parameters {
		p := &m.Parameters[i]
		v := values[p.Name]
		delete(values, p.Name)
		w, err := r.weight(p, v)
		if err != nil {
			return err
		}
		r.weights = append(r.weights, w)
		for _, c := range p.Copies {
			same := *p
			same.Tensor, same.Perm = c.Tensor, c.Perm
			if w, err = r.weight(&same, v); err != nil {
				return err
			}
			r.weights = append(r.weights, w)
		}
	}
	for _, v := range r.set.Parameters { // the first left over, whatever order the map has
		if values[v.Name] != nil {
			return r.mismatch(v.Name, "%s has it, of shape %v, the model has not", r.set.File.Path, v.Shape)
		}
	}
	return r.apart()
}

// family gives the one of the models in the source that the artifact is of.
func (r *Model) family(models []*model.Model) (*model.Model, error) {
	want := r.set.File.Index.Model.Family
	var found []string
	for _, m := range models {
		if m.Family == want {
			return m, nil
		}
		found = append(found, m.Family)
	}
	problem := "it is of no family of models that npuw knows"
	if len(found) > 0 {
		problem = "it is of the family " + strings.Join(found, ", ")
	}
	return nil, r.mismatch("", "%s, %s of %q", problem, r.set.File.Path, want)
}

// sameSizes compares the sizes that both files state.
func (r *Model) sameSizes(m *model.Model) error {
	for _, a := range m.Attributes {
		for _, b := range r.set.File.Index.Model.Attributes {
			if a.Name == b.Name && !a.IsReal && b.Kind == artifact.Integer && a.Int != b.Integer {
				return r.mismatch("", "%s is %d; in %s it is %d", a.Name, a.Int, r.set.File.Path, b.Integer)
			}
		}
	}
	return nil
}

// weight puts a parameter of the source and its values together. There may be none.
func (r *Model) weight(p *model.Parameter, v *artifact.Values) (weight, error) {
	if v == nil {
		return weight{}, r.mismatch(p.Name, "the model has it, of shape %v; in %s there is nothing to put in its place", p.Shape, r.set.File.Path)
	}
	if !slices.Equal(v.Shape, p.Shape) {
		return weight{}, r.mismatch(p.Name, "of shape %v; in %s it has shape %v", p.Shape, r.set.File.Path, v.Shape)
	}
	data, file := &p.Tensor.Data, r.source.Path
	if data.File < len(r.source.Files) {
		file = r.source.Files[data.File].Path
	}
	if data.Decoder != nil || data.Inline != nil {
		return weight{}, &source.Error{
			File: file, Offset: data.Offset, Thing: fmt.Sprintf("tensor %.200q", p.Tensor.Name), Problem: "is not stored as plain floats that could be replaced where they are",
			Next: "give the float model that it was made from, saved with raw_data", Err: source.ErrUnsupported,
		}
	}
	order := make([]int, len(p.Perm))
	for axis, at := range p.Perm {
		order[at] = axis
	}
	v, err := v.Permuted(order...)
	return weight{p, v}, err
}

// apart checks that no other tensor shares bytes with one that is written to: it would change too.
func (r *Model) apart() error {
	written := map[string]bool{}
	for _, w := range r.weights {
		written[w.parameter.Tensor.Name] = true
	}
	var all []*source.Tensor
	for i := range r.source.Tensors {
		if t := &r.source.Tensors[i]; t.Data.Inline == nil && t.Data.Decoder == nil && t.Data.Size > 0 {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b *source.Tensor) int {
		if a.Data.File != b.Data.File {
			return a.Data.File - b.Data.File
		}
		return cmp.Compare(a.Data.Offset, b.Data.Offset)
	})
	var last [2]*source.Tensor // of those that are not written to, and those that are, the one that ends last
	for _, t := range all {
		own := 0
		if written[t.Name] {
			own = 1
		}
		other := last[1-own]
		if other != nil && other.Data.File == t.Data.File && other.Data.Offset+other.Data.Size > t.Data.Offset {
			return &source.Error{
				File: r.source.Files[t.Data.File].Path, Offset: t.Data.Offset, Thing: fmt.Sprintf("tensor %.200q", t.Name),
				Problem: fmt.Sprintf("shares bytes with the tensor %.200q, and one of the two is to be replaced", other.Name),
				Next:    "export the model again", Err: source.ErrUnsupported,
			}
		}
		if l := last[own]; l == nil || l.Data.File != t.Data.File || t.Data.Offset+t.Data.Size > l.Data.Offset+l.Data.Size {
			last[own] = t
		}
	}
	return nil
}

// mismatch says that model and artifact do not fit each other.
func (r *Model) mismatch(parameter, format string, args ...any) error {
	thing := ""
	if parameter != "" {
		thing = fmt.Sprintf("parameter %.200q", parameter)
	}
	return &source.Error{
		File: r.source.Path, Offset: -1, Thing: thing, Problem: fmt.Sprintf(format, args...),
		Next: "give the model that the artifact was packed from", Err: source.ErrMismatch,
	}
}

// Bytes is how many bytes Write copies, writes and reads back.
func (r *Model) Bytes() int64 {
	var n int64
	for _, f := range r.source.Files {
		n += f.Size
	}
	for _, w := range r.weights {
		n += 2 * w.parameter.Tensor.Data.Size
	}
	return n
}

// paths are those of the files to be written for a model at path: the model's own, then those of its data beside it.
func (r *Model) paths(path string) ([]string, error) {
	paths := []string{path}
	from, to := filepath.Dir(r.source.Path), filepath.Dir(path)
	for _, f := range r.source.Files[1:] {
		name, err := filepath.Rel(from, f.Path)
		if err != nil {
			return nil, &source.Error{File: f.Path, Offset: -1, Problem: err.Error(), Next: "keep data files in the model's folder", Err: source.ErrUnsafePath}
		}
		beside := filepath.Join(to, name)
		if slices.Contains(paths, beside) || beside == filepath.Clean(path) {
			return nil, &source.Error{
				File: path, Offset: -1, Problem: "has the name under which the model looks for its data", Next: "give the output another name", Err: source.ErrMismatch,
			}
		}
		paths = append(paths, beside)
	}
	return paths, nil
}

// inputs are the files that are read.
func (r *Model) inputs() []string {
	inputs := []string{r.set.File.Path}
	for _, f := range r.source.Files {
		inputs = append(inputs, f.Path)
	}
	return inputs
}

// tied names the other parameters that lie where w does.
func (r *Model) tied(w *weight) []string {
	var names []string
	for i := range r.weights {
		if p := r.weights[i].parameter; p != w.parameter && overlap(&p.Tensor, &w.parameter.Tensor) {
			names = append(names, p.Name)
		}
	}
	return names
}

// overlap reports whether parameters are the same part of one tensor, or lie in two tensors that share bytes.
func overlap(a, b *source.Tensor) bool {
	x, y := &a.Data, &b.Data
	if a.Name == b.Name {
		return x.Offset == y.Offset
	}
	return x.File == y.File && x.Offset < y.Offset+y.Size && y.Offset < x.Offset+x.Size
}

// convert gives values, little-endian float32, in the format of a tensor, and how many of them that rounds.
func convert(dst, values []byte, f element.Format) (rounded int, err error) {
	if f == element.F32 {
		copy(dst, values)
		return 0, nil
	}
	const most = 1 << 10
	var wide, back [most]float32
	for n := 0; len(values) > 0; values, dst = values[4*n:], dst[n*f.Size():] {
		n = min(len(values)/4, most)
		if err := element.ToFloat32(wide[:n], values[:4*n], element.F32); err != nil {
			return 0, err
		}
		if f == element.F64 {
			encode64(dst, wide[:n])
			continue
		}
		if err := element.Encode(dst[:n*f.Size()], wide[:n], f); err != nil {
			return 0, err
		}
		if err := element.ToFloat32(back[:n], dst[:n*f.Size()], f); err != nil {
			return 0, err
		}
		for i, x := range wide[:n] {
			switch y := back[i]; {
			case x == y || x != x && y != y:
			case y-y != 0: // infinite
				return 0, fmt.Errorf("the value %v is beyond the range of %v", x, f)
			default:
				rounded++
			}
		}
	}
	return rounded, nil
}
