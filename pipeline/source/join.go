package source

import (
	"fmt"
	"strings"

	"npuw/artifact/element"
)

// Joined is a catalogue of several: that of a model whose parts are in files of their own.
type Joined struct {
	*Catalogue
	parts []*Catalogue
	first []int // the position in Files of each part's first
}

// Join puts catalogues together. Tensors and files are those of all, in order; a tensor whose name one before it has gets another one.
// What a file states beside its tensors belongs to its own part alone. Close closes all.
func Join(parts []*Catalogue) *Joined {
	j := &Joined{Catalogue: &Catalogue{}, parts: parts}
	var kinds, paths []string
	taken := map[string]bool{}
	for i, c := range parts {
		kinds, paths = append(kinds, c.Kind), append(paths, c.Path)
		j.first = append(j.first, len(j.Files))
		j.Files = append(j.Files, c.Files...)
		for _, t := range c.Tensors {
			t = j.Tensor(i, t)
			name := t.Name
			for n := 2; taken[t.Name]; n++ {
				t.Name = fmt.Sprintf("%s (%d)", name, n)
			}
			taken[t.Name] = true
			j.Tensors = append(j.Tensors, t)
		}
	}
	j.Kind, j.Path = kinds[0], strings.Join(paths, " + ")
	for _, kind := range kinds {
		if kind != j.Kind {
			j.Kind = strings.Join(kinds, " + ")
		}
	}
	return j
}

// Tensor gives a tensor of a part, or a part of one, as one of the joined catalogue. Its name stays.
func (j *Joined) Tensor(part int, t Tensor) Tensor {
	t.Data.File += j.first[part]
	if t.Data.Decoder != nil {
		t.Data.Decoder = decoderOf{j.parts[part], t.Data.Decoder}
	}
	if t.Codes != nil {
		codes := *t.Codes
		codes.Blocks = blocksOf{j.parts[part], codes.Blocks}
		t.Codes = &codes
	}
	return t
}

// decoderOf decodes from the catalogue that it belongs to.
type decoderOf struct {
	c  *Catalogue
	of Decoder
}

func (d decoderOf) Decode(_ *Catalogue, dst []byte, offset int64) error {
	return d.of.Decode(d.c, dst, offset)
}

// blocksOf reads blocks from the catalogue that they belong to.
type blocksOf struct {
	c  *Catalogue
	of BlockReader
}

func (b blocksOf) ReadBlocks(_ *Catalogue, dst []element.Block, first, count []uint64) error {
	return b.of.ReadBlocks(b.c, dst, first, count)
}
