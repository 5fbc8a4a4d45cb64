package lanes

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/magefile/mage/mg"
)

const (
	leastXRT    = "2.21" // what the tests need
	trixieXRT   = "2.25" // what the prepared folder holds
	softwareNPU = "runtime/xrt/swnpu"
	toolsFile   = "-modfile=magefiles/tools.mod"
)

// Packages with tests that need XRT: the backend, encoders end to end, and the command, where the names of such tests begin with TestXRT.
const (
	xrtBackend  = "./runtime/xrt/..."
	xrtEncoders = "./pipeline/internal/npu"
	xrtCommand  = "./artifact/cmd/npuw"
)

//go:embed trixie.sh
var trixieScript string

//go:embed enter.sh
var enterScript string

// Xrt tests the XRT backend: the real XRT, on the software NPU. It uses XRT 2.21 or later if that is installed, else a Debian folder
// in the user's cache, which it makes at first; that needs root. -run=REGEXP picks tests (default all), -race looks for data races.
func (Test) Xrt(ctx context.Context, run *string, race *bool) error {
	l, err := openXRT(ctx)
	if err != nil {
		return err
	}
	pattern, commandPattern := ".", "^TestXRT"
	if run != nil {
		pattern, commandPattern = *run, *run
	}
	npu, err := os.MkdirTemp(l.scratch, "swnpu-") // of this run: other checkouts have other software NPUs
	if err != nil {
		return err
	}
	defer os.RemoveAll(npu)
	test := func(pattern string, packages ...string) []string {
		return append([]string{
			"go", "test", "-tags=xrt", "-count=1", "-run=" + pattern, fmt.Sprintf("-race=%t", race != nil && *race),
			"-exec=env LD_PRELOAD=" + filepath.Join(npu, "libswnpu.so"),
		}, packages...)
	}
	for _, command := range [][]string{
		{"sh", "-c", `echo "== the real XRT $(pkg-config --modversion xrt) on the software NPU: no result here is one of hardware"`},
		{"sh", softwareNPU + "/build.sh", npu},
		{"go", "vet", "-tags=xrt", xrtBackend, xrtEncoders, xrtCommand},
		{"go", "tool", toolsFile, "staticcheck", "-tags=xrt", xrtBackend, xrtEncoders, xrtCommand},
		test(pattern, xrtBackend, xrtEncoders),
		test(commandPattern, xrtCommand),
	} {
		if err := l.command(ctx, command...); err != nil {
			return fmt.Errorf("test:xrt: %s: %w", command[0], err)
		}
	}
	return nil
}

// xrtLane is where commands find XRT.
type xrtLane struct {
	root    string   // of the project
	scratch string   // a folder to write to
	enter   []string // what a command is put behind; nothing when XRT is installed
}

// openXRT finds XRT, or prepares the folder with it.
func openXRT(ctx context.Context) (*xrtLane, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	var env struct{ GOROOT, GOMODCACHE, GOMOD string }
	out, err := exec.CommandContext(ctx, "go", "env", "-json", "GOROOT", "GOMODCACHE", "GOMOD").Output()
	if err == nil {
		err = json.Unmarshal(out, &env)
	}
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	l := &xrtLane{root: filepath.Dir(env.GOMOD), scratch: filepath.Join(cache, "npuw", "xrt-scratch")}
	if err := os.MkdirAll(l.scratch, 0o777); err != nil {
		return nil, err
	}
	if exec.CommandContext(ctx, "pkg-config", "--atleast-version="+leastXRT, "xrt").Run() == nil {
		return l, nil
	}
	if err := canPrepare(); err != nil {
		return nil, err
	}
	// A checkout whose script differs has a folder of its own: another one may be at work in this.
	recipe := sha256.Sum256([]byte(trixieScript))
	folder := filepath.Join(cache, "npuw", fmt.Sprintf("trixie-xrt-%s-%x", trixieXRT, recipe[:4]))
	if err := quietly(ctx, privateMounts(trixieScript, folder, trixieXRT)); err != nil {
		return nil, fmt.Errorf("test:xrt cannot prepare %s: %w", folder, err)
	}
	// Inside, no module can be fetched.
	for _, file := range []string{"-modfile=go.mod", toolsFile} {
		if err := l.command(ctx, "go", "mod", "download", file); err != nil {
			return nil, fmt.Errorf("go mod download %s: %w", file, err)
		}
	}
	shown := append([]string{folder, l.scratch, env.GOROOT, env.GOMODCACHE, l.root}, modelFolders(l.root)...)
	l.enter = append(privateMounts(enterScript, shown...), "--")
	return l, nil
}

// modelFolders are the folders in which tests find models that are not the project's own: see whisperonnx.BaseModel.
func modelFolders(root string) []string {
	var folders []string
	for _, path := range []string{filepath.Join(filepath.Dir(root), "shared", "fixtures"), filepath.Dir(os.Getenv("NPUW_BASE_MODEL"))} {
		if info, err := os.Stat(path); err == nil && info.IsDir() && filepath.IsAbs(path) {
			folders = append(folders, path)
		}
	}
	return folders
}

// canPrepare says what is missing to make a folder with XRT.
func canPrepare() error {
	var missing []string
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		missing = append(missing, "Linux on amd64")
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, program := range []string{"debootstrap", "unshare", "flock"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("test:xrt needs XRT %s or later with its NPU library (Debian 13: apt-get install g++ pkg-config uuid-dev libdrm-dev; "+
		"apt-get install -t trixie-backports libxrt-dev libxrt-npu2); to prepare a Debian folder that has it, missing are: %s (apt-get "+
		"install debootstrap util-linux)", leastXRT, strings.Join(missing, ", "))
}

// privateMounts is the command that runs a script with mounts of its own, which end with it.
func privateMounts(script string, args ...string) []string {
	return append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"}, args...)
}

// command runs a command at the root of the project.
func (l *xrtLane) command(ctx context.Context, args ...string) error {
	if mg.Verbose() {
		fmt.Fprintln(os.Stderr, "+", args)
	}
	cmd := command(ctx, slices.Concat(l.enter, args))
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.root, os.Stdout, os.Stderr
	return cmd.Run()
}

// quietly runs a command whose output only matters when it fails.
func quietly(ctx context.Context, args []string) error {
	var out bytes.Buffer
	cmd := command(ctx, args)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	return nil
}

// command makes a command that ends in an orderly way when ctx does.
func command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
