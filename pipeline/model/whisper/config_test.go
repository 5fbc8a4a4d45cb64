package whisper_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/fifo"
	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	const all = `{"model_type": "whisper", "encoder_layers": 2, "d_model": 64, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "num_mel_bins": 16, "max_source_positions": 50, "begin_suppress_tokens": [220, 50257]}`
	for name, x := range map[string]struct {
		config string
		want   error
		part   string
	}{
		"agrees":       {all, nil, ""},
		"says nothing": {`{}`, nil, ""},
		"null":         {`{"d_model": null}`, nil, ""},
		"layers":       {strings.Replace(all, `layers": 2`, `layers": 3`, 1), source.ErrMismatch, "encoder_layers: says 3, model.onnx has 2"},
		"d_model":      {strings.Replace(all, `64`, `-64`, 1), source.ErrMismatch, "d_model: says -64"},
		"heads":        {strings.Replace(all, `heads": 4`, `heads": 8`, 1), source.ErrMismatch, "encoder_attention_heads"},
		"ffn":          {strings.Replace(all, `128`, `129`, 1), source.ErrMismatch, "encoder_ffn_dim"},
		"mels":         {strings.Replace(all, `bins": 16`, `bins": 80`, 1), source.ErrMismatch, "num_mel_bins"},
		"positions":    {strings.Replace(all, `50`, `1500`, 1), source.ErrMismatch, "max_source_positions"},
		"no JSON":      {`d_model: 64`, source.ErrCorrupt, "config.json"},
		"empty":        {``, source.ErrCorrupt, "config.json"},
		"a list":       {`[64]`, source.ErrCorrupt, "config.json"},
		"a text":       {`{"d_model": "64"}`, source.ErrCorrupt, "d_model"},
		"past int64":   {`{"d_model": 9223372036854775872}`, source.ErrCorrupt, "d_model"},
		"very deep":    {strings.Repeat("[", 100000), source.ErrCorrupt, "config.json"},
		"too long":     {all + strings.Repeat(" ", 1<<20), source.ErrLimit, "limit 1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := edited(t, func(*pb.GraphProto) {})
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), "config.json"), []byte(x.config), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := recognise(t, path)
			if !errors.Is(err, x.want) {
				t.Fatalf("%v, expected %v", err, x.want)
			}
			if err != nil && !strings.Contains(err.Error(), x.part) {
				t.Errorf("%v, expected %q in it", err, x.part)
			}
		})
	}
	t.Run("a FIFO", func(t *testing.T) {
		t.Parallel()
		path := edited(t, func(*pb.GraphProto) {})
		if err := fifo.Make(filepath.Join(filepath.Dir(path), "config.json")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := recognise(t, path); !errors.Is(err, source.ErrUnsafePath) {
			t.Errorf("%v, expected ErrUnsafePath", err)
		}
	})
}
