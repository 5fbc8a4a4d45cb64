package targets

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestRunSteps(t *testing.T) {
	t.Parallel()
	pass := func(context.Context) error { return nil }
	fail := func(context.Context) error { return errors.New("bad luck") }
	tests := []struct {
		name    string
		steps   []step
		summary string
		err     string
	}{
		{"all pass", []step{{"a", pass}, {"b", pass}}, "steps: 2 passed, 0 failed", ""},
		{"a failure does not hide the next", []step{{"a", fail}, {"b", pass}, {"c", fail}}, "steps: 1 passed, 2 failed", "failed: a, c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := runSteps(t.Context(), &out, test.steps)
			if got := errorText(err); got != test.err {
				t.Errorf("error %q, want %q", got, test.err)
			}
			if !strings.HasSuffix(out.String(), "\n"+test.summary+"\n") {
				t.Errorf("output does not end with the line %q:\n%s", test.summary, &out)
			}
			for _, s := range test.steps {
				if !regexp.MustCompile(`(?m)^== ` + s.name + `\n-- ` + s.name + ` \([0-9.]+ s\): (ok|FAILED: bad luck)$`).Match(out.Bytes()) {
					t.Errorf("no heading and verdict of step %s:\n%s", s.name, &out)
				}
			}
		})
	}
}

func TestRunStepsStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	ran := 0
	steps := []step{
		{"first", func(context.Context) error { ran++; cancel(); return nil }},
		{"second", func(context.Context) error { ran++; return nil }},
	}
	var out bytes.Buffer
	err := runSteps(ctx, &out, steps)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "second") || ran != 1 {
		t.Errorf("ran %d steps, error %v: want 1, and the cancellation naming the second", ran, err)
	}
	if strings.Contains(out.String(), "passed") {
		t.Errorf("counts printed for a run that was stopped:\n%s", &out)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
