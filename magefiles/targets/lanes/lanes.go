// Package lanes holds the mage targets that run tests against other people's programs: each installs what it needs once, or says
// what it cannot get. Their names begin with test:.
package lanes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/magefile/mage/mg"
	"github.com/magefile/mage/sh"
)

// Test is the namespace of the targets.
type Test mg.Namespace

// ortVersion is the version of ONNX Runtime that outputs are compared with.
const ortVersion = "1.30.0"

// Parity compares what npuw reads of models, and computes from artifacts, with ONNX Runtime, on models of random sizes. It needs node and npm.
func (Test) Parity(_ context.Context) error {
	dir, err := installORT()
	if err != nil {
		return err
	}
	return sh.RunWithV(map[string]string{"NPUW_ORT": dir}, "go", "test", "-count=1", "-v", "-run", "Parity", "./pipeline/internal/parity")
}

// installORT installs npm's onnxruntime-node into the user's cache, where it stays.
func installORT() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("test:parity needs %s, which is not here: install Node.js 18 or later, with npm", program)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "npuw", "onnxruntime-node-"+ortVersion)
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	// Without scripts nothing is downloaded but what the registry serves: the package holds the CPU build.
	err = sh.RunV("npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "onnxruntime-node@"+ortVersion)
	if err != nil {
		return "", fmt.Errorf("test:parity cannot install onnxruntime-node %s from the npm registry: %w", ortVersion, err)
	}
	return dir, os.WriteFile(filepath.Join(dir, "installed"), nil, 0o666)
}
