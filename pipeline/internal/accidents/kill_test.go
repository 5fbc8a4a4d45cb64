package accidents

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"npuw/pipeline/internal/whisperonnx"
	"npuw/schema/pyreader"
)

// TestKilled kills `npuw pack` at random moments of its run. What was at the path is there as it was, or the whole artifact; and the
// next build that comes to its end leaves nothing else.
func TestKilled(t *testing.T) {
	source, golden := model(t, whisperonnx.Config{DModel: 192, Layers: 8, Heads: 4, FFN: 768, Mels: 80, Positions: 300})
	kills := 250
	if testing.Short() {
		kills = 25
	}
	dir := pyreader.TempDir(t)
	out := filepath.Join(dir, "x.npuw")
	build := func() *exec.Cmd { return exec.CommandContext(t.Context(), npuw, "pack", source, "-q", "-o", out) }
	whole := timeOf(t, build)
	seed := uint64(time.Now().UnixNano())
	t.Logf("a run takes %v; seed %d", whole, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	killed, late, half := 0, 0, 0
	states := map[string]int{}
	for i := 0; killed < kills; i++ {
		want := []string{"nothing", golden.String()}
		if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if i%2 == 1 {
			put(t, out)
			want[0] = "before"
		}
		moment := time.Duration(random.Float64() * float64(whole))
		if !killedAfter(t, build(), moment) {
			late++ // it had come to its end
			if late > 10*kills {
				t.Fatalf("%d runs ended before they were killed, %d were killed", late, killed)
			}
		} else {
			killed++
		}
		got := state(out)
		if !slices.Contains(want, got) {
			t.Errorf("killed after %v: %s, want one of %q", moment, got, want)
		}
		states[map[bool]string{true: "new", false: "old"}[got == golden.String()]]++
		if strings.Contains(names(t, dir), "npuw-tmp") {
			half++
		}
		if i%10 == 9 {
			if output, err := build().CombinedOutput(); err != nil {
				t.Errorf("the next build: %v\n%s", err, output)
			}
			if got := names(t, dir); got != "x.npuw" || state(out) != golden.String() {
				t.Errorf("after the next build: %s, %s", got, state(out))
			}
		}
	}
	t.Logf("%d kills, %d runs that ended before: the path has the old in %d and the new in %d; temporaries were left after %d", killed, late, states["old"], states["new"], half)
	if half < kills/10 {
		t.Errorf("only %d of %d kills came while the file was written", half, killed)
	}
}

// timeOf is how long a command takes, the median of a few runs.
func timeOf(t *testing.T, command func() *exec.Cmd) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 5 {
		start := time.Now()
		if out, err := command().CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// killedAfter starts a command and kills it after a time. It is false if the command had come to its end.
func killedAfter(t *testing.T, cmd *exec.Cmd, moment time.Duration) bool {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(moment)
	_ = cmd.Process.Kill()
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() > 0 {
		t.Fatalf("it failed: %v", err)
	}
	return err != nil
}

// TestTwoAtOnce has programs build by two recipes to one path at once, again and again, some of which are killed: one of them wins,
// whole, and those that were not killed end well.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	source, tiled := model(t, whisperonnx.Tiny)
	exact := goldenOf(t, source, "whisper-encoder/f32")
	dir := pyreader.TempDir(t)
	out := filepath.Join(dir, "x.npuw")
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	wins := map[string]int{}
	for round := range rounds {
		var running []*exec.Cmd
		for _, recipe := range []string{"whisper-encoder/npu1-tiled", "whisper-encoder/f32", "whisper-encoder/npu1-tiled"} {
			cmd := exec.CommandContext(t.Context(), npuw, "pack", source, "-q", "--sync=false", "-r", recipe, "-o", out)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			running = append(running, cmd)
		}
		victim := -1
		if round%3 == 0 {
			victim = round % len(running)
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			_ = running[victim].Process.Kill()
		}
		for i, cmd := range running {
			if err := cmd.Wait(); err != nil && i != victim {
				t.Errorf("round %d, build %d of three: %v", round, i, err)
			}
		}
		got := state(out)
		if got != tiled.String() && got != exact.String() {
			t.Errorf("round %d: %s", round, got)
		}
		wins[got]++
		if victim < 0 && names(t, dir) != "x.npuw" {
			t.Errorf("round %d left %s", round, names(t, dir))
		}
	}
	t.Logf("%d rounds of three builds; won: %v", rounds, fmt.Sprint(wins))
}
