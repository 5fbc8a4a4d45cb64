package report

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// large gives an index with as many operands as an artifact may have, of which each name, format and layout is made by do.
func large(n int, do func(i int, o *artifact.Operand)) *artifact.Index {
	axes := []layout.Axis{{Name: 'N', Extent: 1, Padded: 1}}
	x := &artifact.Index{Segments: []artifact.Segment{{Name: "all", Offset: 4096, Bytes: uint64(n) * 256}}}
	x.Operands = make([]artifact.Operand, n)
	for i := range x.Operands {
		o := &x.Operands[i]
		*o = artifact.Operand{Offset: uint64(i) * 256, Bytes: 4, Format: element.F32, Layout: layout.Layout{Axes: axes}, Statistics: element.Stats{Elements: 1, SumXX: 1, SumDD: 1e-6}}
		do(i, o)
	}
	return x
}

// length counts what is written.
type length int

func (l *length) Write(b []byte) (int, error) {
	*l += length(len(b))
	return len(b), nil
}

// most is how much memory is in use at most while work is done, beside what is in use before: with garbage of a tenth of it.
func most(work func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	runtime.GC()
	before := inUse()
	peak := before
	done, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				peak = max(peak, inUse())
			}
		}
	}()
	work()
	close(done)
	<-stopped
	return max(peak, inUse()) - before
}

// TestBounds: whatever an index holds, the page is of a size that browsers take, and making it takes little memory beside the index. It
// runs alone: it measures what the program has in use.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const all, many = 1 << 20, 1 << 14 // what an artifact may have; what is enough to pass every limit
	wide := strings.Repeat("<", 900)
	digits := func(i int) []layout.Digit { return []layout.Digit{{Size: 1, Stride: uint64(i) + 1}} }
	for name, of := range map[string]struct {
		n    int
		make func(i int, o *artifact.Operand)
	}{
		"many layers":     {all, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("encoder.layers.%d.w", i) }},
		"layers and gaps": {many, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("encoder.layers.%d.w", 2*i) }},
		"many stacks":     {many, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("s%d.0.w", i) }},
		"many kinds":      {many, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("encoder.%d.w%d", i%100, i) }},
		"long names":      {many, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("%d%s", i, wide) }},
		"long layers":     {many, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("%s.%d.%s%d", wide[:500], i%100, wide[:400], i) }},
		"many layouts":    {many, func(i int, o *artifact.Operand) { o.Name, o.Layout.Digits = fmt.Sprintf("e.%d.w", i), digits(i) }},
		"many formats": {many, func(i int, o *artifact.Operand) {
			o.Name, o.Format, o.Encoding = fmt.Sprintf("e.%d.w", i), element.Format(i), plane.Encoding(i%3)
			o.Layout.Digits = digits(i)
		}},
	} {
		x := large(of.n, of.make)
		h := artifact.Header{FileBytes: 1 << 40, PageBytes: 4096, IndexOffset: 1 << 39, IndexBytes: 1 << 20}
		began, page := time.Now(), length(0)
		used := most(func() {
			if err := Write(&page, "large.npuw", h, x); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: a page of %d bytes, %d more in use, %v", name, page, used, time.Since(began))
		if page > 16<<20 {
			t.Errorf("%s: a page of %d bytes", name, page)
		}
		if limit := int64(64<<20 + 64*of.n); used > limit {
			t.Errorf("%s: %d bytes in use beside the index, want at most %d", name, used, limit)
		}
		runtime.KeepAlive(x)
	}
}

// TestLeftOut: what is not drawn is counted.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	x := large(5000, func(i int, o *artifact.Operand) { o.Name = fmt.Sprintf("encoder.layers.%d.w", i) })
	for i := range 2000 {
		x.Segments = append(x.Segments, artifact.Segment{Name: fmt.Sprintf("s%d", i), Offset: 1 << 30, Bytes: 4096})
		x.Model.Attributes = append(x.Model.Attributes, artifact.Attribute{Name: fmt.Sprintf("a%d", i)})
		x.Contracts = append(x.Contracts, artifact.Contract{Name: fmt.Sprintf("c%d", i), Xclbin: artifact.None, Instructions: artifact.None})
		x.Xclbins = append(x.Xclbins, artifact.Xclbin{Name: fmt.Sprintf("x%d", i)})
		x.Parameters = append(x.Parameters, artifact.Parameter{Name: fmt.Sprintf("p%d", i)})
		x.Notes = append(x.Notes, artifact.Note{Kind: artifact.Folded, Parameter: i, Operand: i})
		x.Bindings = append(x.Bindings, artifact.Binding{Operand: i, Argument: 1})
	}
	x.Contracts[0].Arguments = make([]artifact.Argument, 40)
	page := write(t, "large.npuw", artifact.Header{FileBytes: 1 << 40, PageBytes: 4096, IndexOffset: 1 << 39}, x)
	checkMarkup(t, page)
	text := words(page)
	for _, want := range []string{
		"1,968 more attributes left out here", "4,744 more operands left out here", "1,873 more segments left out here; npuw inspect lists all", "4,872 more operands left out here; npuw inspect",
		"904 more operands left out here; npuw inspect", "1,936 more contracts left out here", "1,936 more xclbins left out here", "8 more arguments left out here", "1,936 more notes left out here",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
