package whisper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"npuw/pipeline/source"
)

// maxConfig bounds config.json, in bytes; real ones have some 2 KB, most of it lists of tokens.
const maxConfig = 1 << 20

// config is what config.json (Hugging Face's WhisperConfig) says of the encoder. What it does not say is nil.
type config struct {
	Layers    *int64 `json:"encoder_layers"`
	DModel    *int64 `json:"d_model"`
	Heads     *int64 `json:"encoder_attention_heads"`
	FFN       *int64 `json:"encoder_ffn_dim"`
	Mels      *int64 `json:"num_mel_bins"`
	Positions *int64 `json:"max_source_positions"`
}

// checkConfig compares the sizes found in the graph with config.json in the model's folder, if there is one.
func (e *encoder) checkConfig() error {
	path := filepath.Join(filepath.Dir(e.m.Path), "config.json")
	c, err := readConfig(path)
	if err != nil || c == nil {
		return err
	}
	for _, s := range []struct {
		field string
		says  *int64
		found uint64
	}{
		{"encoder_layers", c.Layers, uint64(e.layers)},
		{"d_model", c.DModel, e.dModel},
		{"encoder_attention_heads", c.Heads, e.heads},
		{"encoder_ffn_dim", c.FFN, e.ffn},
		{"num_mel_bins", c.Mels, e.mels},
		{"max_source_positions", c.Positions, e.positions},
	} {
		if s.says != nil && *s.says != int64(s.found) {
			return &source.Error{
				File: path, Offset: -1, Thing: s.field, Err: source.ErrMismatch,
				Problem: fmt.Sprintf("says %d, %s has %d", *s.says, filepath.Base(e.m.Path), s.found),
				Next:    "put the config.json of this very model beside it, or remove it",
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
		return &source.Error{File: path, Offset: -1, Problem: problem, Next: "mend it, or remove it: the graph has all sizes", Err: sentinel}
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
