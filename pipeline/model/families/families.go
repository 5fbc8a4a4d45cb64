// Package families opens a model file of any kind that npuw reads and recognises any family of models that it knows.
package families

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/model/whisper"
	"npuw/pipeline/source"
)

// Open opens the model file at path and gives the models in it: a checkpoint of an encoder and a decoder is a model of each family,
// and one of the family of both. The first is the one to take when nobody asks for another. A file that belongs to no known family is
// one of generic.Family; there is none if it holds no weights. A file that belongs to a family and does not fit it is an error. The
// catalogue is the caller's to close.
func Open(path string) (*source.Catalogue, []*model.Model, error) { return OpenAs(path, "") }

// OpenAs is Open for whoever wants models of one family: as generic.Family every file is taken, of a known family or not; of any other
// family there is no model in a file that is not recognised. Without a family it is Open.
func OpenAs(path, family string) (*source.Catalogue, []*model.Model, error) {
	c, recognise, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	models, err := recognise(family)
	if err != nil && !errors.Is(err, source.ErrNotRecognised) {
		c.Close()
		return nil, nil, err
	}
	return c, models, nil
}

// OpenAll opens a model whose parts stand in files of their own, as an encoder and its decoder do, or in one file or folder, as OpenAny
// does. Of several it gives the model that they are together, alone: nothing of them is left out. The catalogue is the caller's to close.
func OpenAll(paths []string, want Want) (*source.Catalogue, []*model.Model, *Folder, error) {
	if len(paths) == 1 {
		return OpenAny(paths[0], want)
	}
	c, whole, err := openParts(paths)
	if err != nil {
		return nil, nil, nil, err
	}
	return c, []*model.Model{whole}, nil, nil
}

// openParts opens the files of an encoder and of a decoder.
func openParts(paths []string) (*source.Catalogue, *model.Model, error) {
	if len(paths) != 2 {
		return nil, nil, &source.Error{
			File: strings.Join(paths, " + "), Offset: -1, Problem: fmt.Sprintf("%d files; a model is one, or two: its encoder and its decoder", len(paths)),
			Next: "give those two", Err: source.ErrMisuse,
		}
	}
	var parts [2]*model.Model
	var catalogues []*source.Catalogue
	fail := func(err error) (*source.Catalogue, *model.Model, error) {
		for _, c := range catalogues {
			c.Close()
		}
		return nil, nil, err
	}
	for i, path := range paths {
		c, models, err := Open(path)
		if err != nil {
			return fail(err)
		}
		catalogues = append(catalogues, c)
		if len(models) != 1 {
			return fail(noPart(path, models))
		}
		parts[i] = models[0]
	}
	joined := source.Join(catalogues)
	whole, err := whisper.Join(parts, [2]string(paths), joined.Tensor)
	if err != nil {
		return fail(err)
	}
	return joined.Catalogue, whole, nil
}

// noPart is the error for a file beside another one that holds no model, or several.
func noPart(path string, models []*model.Model) error {
	e := &source.Error{
		File: path, Offset: -1, Problem: "no family of models that npuw knows", Next: "give the file of an encoder and that of its decoder", Err: source.ErrNotRecognised,
	}
	if len(models) > 0 {
		e.Problem, e.Next, e.Err = "holds encoder and decoder", "give it alone", source.ErrMismatch
	}
	return e
}

// OpenCatalogue opens the model file at path and does not ask which models are in it. The catalogue is the caller's to close.
func OpenCatalogue(path string) (*source.Catalogue, error) {
	c, _, err := open(path)
	return c, err
}

// OpenRecogniser opens the model file at path and gives what recognises the models in it, as OpenAs does: each time that it is called, from
// what the files of the catalogue hold then. Its error wraps source.ErrNotRecognised if there is none. The catalogue is the caller's to
// close.
func OpenRecogniser(path string) (c *source.Catalogue, recognise func(family string) ([]*model.Model, error), err error) {
	return open(path)
}

// open opens a file of any kind. The function it gives recognises the models in it.
func open(path string) (*source.Catalogue, recogniser, error) {
	k, err := kindOf(path)
	if err != nil {
		return nil, nil, err
	}
	return k.open(path)
}

// prefixBytes are what a kind of file is recognised by.
const prefixBytes = 512

// kindOf looks at the first bytes of a file.
func kindOf(path string) (*kind, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var prefix [prefixBytes]byte
	n, err := f.ReadAt(prefix[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &source.Error{File: path, Offset: 0, Problem: "cannot be read: " + err.Error(), Next: "check the disk, or copy the file elsewhere", Err: err}
	}
	var names []string
	for i := range kinds {
		if kinds[i].recognise(prefix[:n]) {
			return &kinds[i], nil
		}
		names = append(names, kinds[i].name)
	}
	return nil, &source.Error{
		File: path, Offset: 0, Problem: "not a kind of model file that is read", Next: "give one of these: " + strings.Join(names, ", "), Err: source.ErrNotRecognised,
	}
}
