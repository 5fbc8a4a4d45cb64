package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a long piece of work is: a bar on a terminal, a line for each tenth in a log.
type progress struct {
	bar *progressbar.ProgressBar

	mu         sync.Mutex
	log        io.Writer
	what       string
	bytes, all int64
	tenths     int64
}

func newProgress(w io.Writer, what string, all int64, quiet bool) *progress {
	p := &progress{what: what, all: all}
	if f, ok := w.(*os.File); quiet {
		return p
	} else if ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(all, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(50_000_000))
		return p
	}
	p.log = w
	return p
}

// add counts n more bytes, from any goroutine.
func (p *progress) add(n int64) {
	if p.bar != nil {
		_ = p.bar.Add64(n)
	}
	if p.log == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
	if tenths := 10 * p.bytes / max(p.all, 1); tenths > p.tenths {
		p.tenths = tenths
		fmt.Fprintf(p.log, "%s: %d%%\n", p.what, 10*tenths)
	}
}

func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
