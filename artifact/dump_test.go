package artifact

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
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
