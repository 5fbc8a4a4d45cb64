package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressInALog(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		steps int // of equal size
		step  time.Duration
		want  string
	}{
		{"quick", 100, time.Millisecond, ""},
		{"a line a tenth", 20, time.Second, "w: 10%\nw: 20%\nw: 30%\nw: 40%\nw: 50%\nw: 60%\nw: 70%\nw: 80%\nw: 90%\nw: 100%\n"},
		{"at most one a second", 10, 600 * time.Millisecond, "w: 20%\nw: 40%\nw: 60%\nw: 80%\nw: 100%\n"},
		{"nothing new to say", 3, time.Second, "w: 30%\nw: 60%\nw: 100%\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				p := newProgress(&log, "w", int64(test.steps)*1000)
				for range test.steps {
					time.Sleep(test.step)
					p.add(1000)
				}
				p.done()
				if log.String() != test.want {
					t.Errorf("log:\n%swant:\n%s", log.String(), test.want)
				}
			})
		})
	}
}

func TestProgressOfNothing(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	p := newProgress(&log, "w", 0)
	p.add(0)
	p.done()
	quiet := &progress{}
	quiet.add(1)
	quiet.done()
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
}
