package whisper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"npuw/pipeline/source"
)

// maxConfig bounds config.json, in bytes; real ones have some 2 KB, most of it lists of tokens.
const maxConfig = 1 << 20

// config is what config.json (Hugging Face's WhisperConfig) says of a model. What it does not say is nil.
type config struct {
	DModel *int64 `json:"d_model"`

	Layers    *int64 `json:"encoder_layers"`
	Heads     *int64 `json:"encoder_attention_heads"`
	FFN       *int64 `json:"encoder_ffn_dim"`
	Mels      *int64 `json:"num_mel_bins"`
	Positions *int64 `json:"max_source_positions"`

	DecoderLayers    *int64 `json:"decoder_layers"`
	DecoderHeads     *int64 `json:"decoder_attention_heads"`
	DecoderFFN       *int64 `json:"decoder_ffn_dim"`
	DecoderPositions *int64 `json:"max_target_positions"`
	Vocab            *int64 `json:"vocab_size"`
}

// statement is a size that stands somewhere, and where that of the model is.
type statement struct {
	field string
	says  *int64 // nil: it does not stand there
	size  *uint64
}

func (c *config) ofEncoder(s *sizes) []statement {
	return []statement{
		{"encoder_layers", c.Layers, &s.layers},
		{"d_model", c.DModel, &s.dModel},
		{"encoder_attention_heads", c.Heads, &s.heads},
		{"encoder_ffn_dim", c.FFN, &s.ffn},
		{"num_mel_bins", c.Mels, &s.mels},
		{"max_source_positions", c.Positions, &s.positions},
	}
}

func (c *config) ofDecoder(s *sizes) []statement {
	return []statement{
		{"decoder_layers", c.DecoderLayers, &s.layers},
		{"d_model", c.DModel, &s.dModel},
		{"decoder_attention_heads", c.DecoderHeads, &s.heads},
		{"decoder_ffn_dim", c.DecoderFFN, &s.ffn},
		{"max_target_positions", c.DecoderPositions, &s.positions},
		{"vocab_size", c.Vocab, &s.vocab},
	}
}

// statedOfEncoder gives what a file says beside its tensors, in the names of OpenAI's ModelDimensions: those of a checkpoint's "dims" and
// of whisper.cpp's hyperparameters.
func statedOfEncoder(c *source.Catalogue, s *sizes) []statement {
	return stated(c, []statement{
		{field: "n_audio_layer", size: &s.layers},
		{field: "n_audio_state", size: &s.dModel},
		{field: "n_audio_head", size: &s.heads},
		{field: "n_mels", size: &s.mels},
		{field: "n_audio_ctx", size: &s.positions},
	})
}

func statedOfDecoder(c *source.Catalogue, s *sizes) []statement {
	return stated(c, []statement{
		{field: "n_text_layer", size: &s.layers},
		{field: "n_text_state", size: &s.dModel},
		{field: "n_text_head", size: &s.heads},
		{field: "n_text_ctx", size: &s.positions},
		{field: "n_vocab", size: &s.vocab},
	})
}

// stated looks up what c states of each field, whatever stands before the last dot of its name.
func stated(c *source.Catalogue, list []statement) []statement {
	var found []statement
	for _, x := range list {
		for _, name := range slices.Sorted(maps.Keys(c.Sizes)) {
			if name == x.field || strings.HasSuffix(name, "."+x.field) {
				says := c.Sizes[name]
				found = append(found, statement{name, &says, x.size})
			}
		}
	}
	return found
}

// checkConfig compares the sizes found in the graph with config.json in the model's folder, if there is one.
func (e *exported) checkConfig() error {
	path := configBeside(e.m.Path)
	c, err := readConfig(path)
	if err != nil || c == nil {
		return err
	}
	return agree(e.config(c, &e.sizes), path, e.m.Path, "put the config.json of this very model beside it, or remove it")
}

// configBeside is the path that config.json has, if it stands in the folder of the model at path.
func configBeside(path string) string { return filepath.Join(filepath.Dir(path), "config.json") }

// agree compares what the file at path says with the sizes of a model.
func agree(statements []statement, path, model, next string) error {
	for _, s := range statements {
		if s.says != nil && *s.says != int64(*s.size) {
			return &source.Error{
				File: path, Offset: -1, Thing: s.field, Err: source.ErrMismatch, Next: next,
				Problem: fmt.Sprintf("says %d, %s has %d", *s.says, filepath.Base(model), *s.size),
			}
		}
	}
	return nil
}

// readConfig gives nil if there is no file at path.
func readConfig(path string) (*config, error) {
	f, err := source.OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fail := func(sentinel error, problem string) error {
		return &source.Error{File: path, Offset: -1, Problem: problem, Next: "mend it, or remove it", Err: sentinel}
	}
	if f.Size > maxConfig {
		return nil, fail(source.ErrLimit, fmt.Sprintf("%d bytes, limit %d", f.Size, maxConfig))
	}
	b := make([]byte, f.Size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fail(err, fmt.Sprintf("cannot be read: %v", err))
	}
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fail(source.ErrCorrupt, fmt.Sprintf("no config of a model: %.200v", err))
	}
	return &c, nil
}
