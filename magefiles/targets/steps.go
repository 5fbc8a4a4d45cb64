package targets

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// step is one check of several that are reported together.
type step struct {
	name string
	run  func(context.Context) error
}

// runSteps runs every step, whatever became of those before it, under a heading each and with the time it took, and ends
// with one line of counts. Its error names the steps that failed. A cancelled context ends it before the next step.
func runSteps(ctx context.Context, w io.Writer, steps []step) error {
	var failed []string
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before %s: %w", s.name, err)
		}
		fmt.Fprintf(w, "\n== %s\n", s.name)
		start := time.Now()
		err := s.run(ctx)
		verdict := "ok"
		if err != nil {
			failed = append(failed, s.name)
			verdict = "FAILED: " + err.Error()
		}
		fmt.Fprintf(w, "-- %s (%.1f s): %s\n", s.name, time.Since(start).Seconds(), verdict)
	}
	fmt.Fprintf(w, "\nsteps: %d passed, %d failed\n", len(steps)-len(failed), len(failed))
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}
