package targets

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/magefile/mage/mg"

	"npuw/magefiles/internal/call"
)

// defaultModels is not the folder of a set, which holds nothing else.
const defaultModels = "models"

// Testdata makes files to try npuw on.
type Testdata mg.Namespace

// Model writes a Whisper with random weights as an ONNX file. -size=NAME is tiny, base (default), small, medium, large-v3 or another,
// -part=NAME encoder (default), decoder, decoder_merged or decoder_with_past, -out=PATH the file (default in models), -form=NAMES how to
// write it, such as gemm,stripped. A wrong name lists those there are.
func (Testdata) Model(ctx context.Context, size, part, out, form *string) error {
	p, err := openProject()
	if err != nil {
		return err
	}
	args, err := modelArgs(p, call.Given(size, "base"), call.Given(part, "encoder"), out, call.Given(form, ""))
	if err != nil {
		return err
	}
	return p.run(ctx, nil, "go", args...)
}

// modelArgs is the go command that writes a model. Its paths do not depend on the current folder.
func modelArgs(p *project, size, part string, out *string, form string) ([]string, error) {
	path, err := filepath.Abs(call.Given(out, p.path(filepath.Join(defaultModels, fmt.Sprintf("whisper-%s-%s.onnx", size, part)))))
	if err != nil {
		return nil, err
	}
	return []string{"run", "./pipeline/internal/whisperonnx/cmd/whispermodel", "-size", size, "-part", part, "-out", path, "-form", form}, nil
}
