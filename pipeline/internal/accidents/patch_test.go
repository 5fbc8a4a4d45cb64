package accidents

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// TestKilledPatch kills `npuw patch` at random moments while it replaces the artifact that the delta leads from, as a device's update does.
// The artifact before is there, or the next, each whole.
func TestKilledPatch(t *testing.T) {
	source, before := model(t, whisperonnx.Config{DModel: 192, Layers: 8, Heads: 4, FFN: 768, Mels: 80, Positions: 300})
	after := goldenOf(t, source, "whisper-encoder/f32")
	folder, dir := pyreader.TempDir(t), pyreader.TempDir(t)
	old, next, delta, path := filepath.Join(folder, "old.npuw"), filepath.Join(folder, "next.npuw"), filepath.Join(folder, "d.npuwd"), filepath.Join(dir, "x.npuw")
	for _, args := range [][]string{
		{"pack", source, "-q", "--sync=false", "-o", old},
		{"pack", source, "-q", "--sync=false", "-r", "whisper-encoder/f32", "-o", next},
		{"diff", "--delta", delta, old, next},
	} {
		if out, err := exec.CommandContext(t.Context(), npuw, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	content, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	patch := func() *exec.Cmd {
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		return exec.CommandContext(t.Context(), npuw, "patch", path, delta, "-q", "--sync=false", "-o", path)
	}
	whole := timeOf(t, patch)
	kills := 100
	if testing.Short() {
		kills = 15
	}
	states, killed, runs := map[string]int{}, 0, 0
	for ; killed < kills; runs++ {
		if runs == 10*kills {
			t.Fatalf("%d of %d runs were killed, the others ended before", killed, runs)
		}
		if killedAfter(t, patch(), time.Duration(rand.Float64()*float64(whole))) {
			killed++
		}
		got := state(path)
		if got != before.String() && got != after.String() {
			t.Fatalf("%s; want %v or %v", got, before, after)
		}
		states[got]++
	}
	t.Logf("%d of %d runs were killed; afterwards there was %v", killed, runs, states)
	if states[before.String()] == 0 {
		t.Error("not once was the artifact before there")
	}
	if out, err := patch().CombinedOutput(); err != nil || state(path) != after.String() || names(t, dir) != "x.npuw" {
		t.Errorf("the last patch: %v, %s, and in the folder %s\n%s", err, state(path), names(t, dir), out)
	}
}
