package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// killedCall is the environment variable by which a test has this program build, and be killed.
const killedCall = "NPUW_RELEASE_TEST_KILLED"

// killed says what such a program does: it builds, and is killed at the At-th point of the build.
type killed struct {
	Options Options
	InTwo   bool
	At      int
}

// buildAndDie is that program.
func buildAndDie(call string) int {
	var k killed
	if err := json.Unmarshal([]byte(call), &k); err != nil {
		panic(err)
	}
	k.Options.inTwo = k.InTwo
	k.Options.at = func(point string) {
		if k.At--; k.At == 0 {
			fmt.Println(point)
			p, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = p.Kill()
			}
			if err != nil {
				panic(err)
			}
			select {}
		}
	}
	if err := Build(context.Background(), k.Options); err != nil {
		panic(err)
	}
	return 0
}

// A build that is killed, at any point of it, leaves the last set or the next, whole; the next try takes over what was finished, and leaves
// nothing else.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, inTwo := range []bool{false, true} {
		t.Run(fmt.Sprintf("in two: %t", inTwo), func(t *testing.T) {
			t.Parallel()
			if testing.Short() && inTwo {
				t.Skip("it takes seconds")
			}
			testKilled(t, inTwo)
		})
	}
}

func testKilled(t *testing.T, inTwo bool) {
	dir := pyreader.TempDir(t)
	var release [2]Options
	for i := range release {
		release[i] = Options{Manifest: filepath.Join(dir, fmt.Sprintf("r%d.txtpb", i)), Out: filepath.Join(dir, "dist")}
		text := ""
		for j := range 3 {
			c := little
			c.Seed = uint64(10*i + j)
			name := fmt.Sprintf("%d-%d.onnx", i, j)
			must(t, whisperonnx.Write(filepath.Join(dir, name), c))
			text += fmt.Sprintf("artifact { source: %q output: \"%d.npuw\" compress: %t }\n", name, j, j == 1)
		}
		write(t, release[i].Manifest, text)
	}
	before, after := release[0], release[1]
	mustBuild(t, after)
	next := snapshot(t, after.Out)
	var points []string
	for n := 1; ; n++ {
		mustBuild(t, before)
		last := snapshot(t, before.Out)
		point, ended := buildKilled(t, killed{after, inTwo, n})
		if ended {
			break
		}
		points = append(points, point)
		if point == "moved away" { // as systems without an exchange of folders leave it for a moment
			if _, err := os.Lstat(after.Out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: there is something (%v)", point, err)
			}
		} else if got := snapshot(t, after.Out); got != last && (got != next || point != "exchanged") {
			t.Errorf("killed at %q: it is neither the last set nor the next", point)
		}
		packed, err := build(t, after)
		must(t, err)
		finished := 0
		for _, p := range points {
			if strings.HasPrefix(p, "packed ") {
				finished++
			}
		}
		if len(packed) != 3-finished {
			t.Errorf("killed at %q: the next try packed %v", point, packed)
		}
		if snapshot(t, after.Out) != next || len(files(t, WorkFolder(after.Out))) > 0 {
			t.Errorf("killed at %q: the next try did not make the set", point)
		}
		must(t, Verify(t.Context(), after.Out))
	}
	how := "exchanged"
	if inTwo {
		how = "moved away"
	}
	if got := strings.Join(points, ", "); got != "made 0.npuw, packed 0.npuw, made 1.npuw, packed 1.npuw, compressed 1.npuw, made 2.npuw, packed 2.npuw, staged, written release.json, written SHA256SUMS, synced, "+how {
		t.Errorf("killed at %s", got)
	}
}

// buildKilled has a program build and be killed; ended says that it came to its end before that.
func buildKilled(t *testing.T, k killed) (point string, ended bool) {
	t.Helper()
	call, err := json.Marshal(k)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), killedCall+"="+string(call))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		return "", true
	}
	if cmd.ProcessState.ExitCode() > 0 {
		t.Fatalf("it failed: %v", err)
	}
	return strings.TrimSpace(string(out)), false
}
