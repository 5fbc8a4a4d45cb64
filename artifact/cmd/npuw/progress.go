package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a long piece of work is: a bar on a terminal; in a log a line for each tenth, but none in the first second
// and one a second at most.
type progress struct {
	bar *progressbar.ProgressBar

	mu         sync.Mutex
	log        io.Writer
	what       string
	bytes, all int64
	tenths     int64
	last       time.Time // when the last line was written
}

// newProgress shows the progress of work on all bytes, which is called what. Its zero value shows nothing.
func newProgress(w io.Writer, what string, all int64) *progress {
	if isTerminal(w) {
		return &progress{bar: progressbar.NewOptions64(all, progressbar.OptionSetWriter(unfiltered(w)), progressbar.OptionSetDescription(plainText(what)),
			progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionUseIECUnits(true),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))}
	}
	return &progress{log: w, what: what, all: all, last: time.Now()}
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
	if tenths := 10 * p.bytes / max(p.all, 1); tenths > p.tenths && time.Since(p.last) >= time.Second {
		p.tenths, p.last = tenths, time.Now()
		fmt.Fprintf(p.log, "%s: %d%%\n", p.what, 10*tenths)
	}
}

// done takes a bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
