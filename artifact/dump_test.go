package artifact

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"npuw/schema/pyreader"
)

var update = flag.Bool("update", false, "rewrite the dump in schema/FORMAT.md")

const (
	dumpBegin = "<!-- dump: kept by `go test ./artifact -run Dump -update` -->\n```text\n"
	dumpEnd   = "```\n<!-- end of the dump -->"
)

// TestDumpInFormat keeps the example in FORMAT.md true.
func TestDumpInFormat(t *testing.T) {
	t.Parallel()
	path := filepath.Join(pyreader.TempDir(t), "small.npuw")
	newSmallSample().write(t, path)
	var b bytes.Buffer
	if err := Dump(&b, path); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > 120 {
		t.Errorf("the dump has %d lines", n)
	}
	const name = "../schema/FORMAT.md"
	text := readText(t, name)
	have := section(t, text, dumpBegin, dumpEnd)
	if have == b.String() {
		return
	}
	if !*update {
		t.Fatalf("the dump in FORMAT.md is not that of the small sample; run `go test ./artifact -run Dump -update`:\n%s", b.String())
	}
	if err := os.WriteFile(name, []byte(strings.Replace(text, dumpBegin+have+dumpEnd, dumpBegin+b.String()+dumpEnd, 1)), 0o666); err != nil {
		t.Fatal(err)
	}
}

var dumpLine = regexp.MustCompile(`^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?)+)`)

// TestDump checks that what is drawn is what the file holds, each byte once and in order, and nothing of header and index but
// zeros is left out.
func TestDump(t *testing.T) {
	t.Parallel()
	for _, s := range []*sample{newSmallSample(), newSample(4096)} {
		path := filepath.Join(pyreader.TempDir(t), "a.npuw")
		s.write(t, path)
		whole := readFile(t, path)
		var b bytes.Buffer
		if err := Dump(&b, path); err != nil {
			t.Fatal(err)
		}
		drawn := make([]bool, len(whole))
		end := uint64(0)
		for line := range strings.Lines(b.String()) {
			m := dumpLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			place, err := hex.DecodeString(m[1])
			if err != nil {
				t.Fatal(err)
			}
			at := uint64(binary.BigEndian.Uint32(place))
			got, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
			if err != nil || !bytes.HasPrefix(whole[at:], got) || at < end {
				t.Errorf("drawn wrongly or out of order: %s (%v)", line, err)
			}
			end = at + uint64(len(got))
			for i := range got {
				drawn[at+uint64(i)] = true
			}
		}
		index := s.index.Segments[len(s.index.Segments)-1]
		for i, v := range whole {
			if !drawn[i] && v != 0 && (i < HeaderBytes || i >= int(index.Offset+index.Bytes)) {
				t.Errorf("byte %#x is %#02x and not drawn", i, v)
			}
		}
		for _, o := range s.index.Operands {
			if !strings.Contains(b.String(), o.Name) {
				t.Errorf("operand %q is not named", o.Name)
			}
		}
	}
}

// faultyReader fails at one of its reads.
type faultyReader struct {
	r  io.ReaderAt
	at int // the number of that read; 0: none
	n  int // reads so far
}

var errFaulty = errors.New("faulty")

func (f *faultyReader) ReadAt(b []byte, off int64) (int, error) {
	if f.n++; f.n == f.at {
		return 0, errFaulty
	}
	return f.r.ReadAt(b, off)
}

// TestDumpReadFails has each read fail in turn: a file can go away while it is drawn.
func TestDumpReadFails(t *testing.T) {
	t.Parallel()
	b := newSample(4096).damaged().bytes()
	all := &faultyReader{r: bytes.NewReader(b)}
	if err := dump(io.Discard, all, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= all.n; n++ {
		if err := dump(io.Discard, &faultyReader{r: bytes.NewReader(b), at: n}, int64(len(b))); !errors.Is(err, errFaulty) {
			t.Errorf("read %d of %d fails: %v", n, all.n, err)
		}
	}
}

// TestDumpUnsupported draws an operand of which only the bytes are known.
func TestDumpUnsupported(t *testing.T) {
	t.Parallel()
	d := newSmallSample().damaged()
	operand(0, func(o *Operand) { o.Encoding = 200 })(d)
	b := d.bytes()
	var text bytes.Buffer
	if err := dump(&text, bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if want := "  operand \"fc.weight\", unsupported\n"; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, text.String())
	}
}

// TestDumpGaps draws an index as other writers may leave it, with bytes that nothing refers to, and refuses one that is wrong.
func TestDumpGaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		behind []byte
		want   string
	}{
		{make([]byte, 16), "  ...                                              zeros\n"},
		{bytes.Repeat([]byte{7}, 16), "  ...                                              16 bytes that nothing refers to\n"},
	} {
		d := newSmallSample().damaged()
		d.seal()
		d.raw = append(encodeIndex(d.index), c.behind...)
		b := d.bytes()
		var text bytes.Buffer
		if err := dump(&text, bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(text.String(), c.want) {
			t.Errorf("no %q at the end of\n%s", c.want, text.String())
		}
	}
	d := newSmallSample().damaged()
	operand(0, func(o *Operand) { o.Bytes++ })(d)
	b := d.bytes()
	wantFault(t, dump(io.Discard, bytes.NewReader(b), int64(len(b))), ErrCorrupt, "an operand of other bytes")
}
