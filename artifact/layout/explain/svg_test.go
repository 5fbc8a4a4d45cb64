package explain

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"npuw/artifact/layout"
)

// checkSVG wants well-formed XML with one root, in a picture that asks for nothing from elsewhere and runs nothing.
func checkSVG(t testing.TB, svg []byte) (cells, numbers int) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "svg", "title", "style", "circle", "path":
		case "rect", "text":
			for _, a := range e.Attr {
				if a.Name.Local == "class" && strings.HasPrefix(a.Value, "cell ") {
					cells++
				}
				if a.Name.Local == "text-anchor" && a.Value == "middle" {
					numbers++
				}
			}
		default:
			t.Fatalf("<%s> in the picture", e.Name.Local)
		}
		for _, a := range e.Attr {
			if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
				t.Fatalf("%s=%q in the picture", a.Name.Local, a.Value)
			}
		}
	}
	for _, outside := range []string{"url(", "@import", "://"} {
		if n := bytes.Count(svg, []byte(outside)); n > 0 && outside != "://" || n > 1 { // one: the name space
			t.Fatalf("%q in the picture", outside)
		}
	}
	return cells, numbers
}

func TestSVG(t *testing.T) {
	t.Parallel()
	x := explained(t, request(t, "N* K* K8 N8 K8 N4", "K=512,N=2048", "", "", "bf16"))
	var b bytes.Buffer
	if err := x.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	cells, numbers := checkSVG(t, b.Bytes())
	if cells != 2*16*16 || numbers != 2*(16*16+16) {
		t.Errorf("%d cells and %d numbers", cells, numbers)
	}
	for _, want := range []string{"prefers-color-scheme: dark", ">N64 K8 K8 N8 K8 N4 for K=512 N=2048<", "n/32*16384 + k/64*2048", "grey"} {
		if strings.Contains(b.String(), want) == (want == "grey") {
			t.Errorf("%q: wrongly there or missing", want)
		}
	}
	// Every class of the style sheet is in use somewhere, and none is without a style.
	padded := explained(t, request(t, "N* K* K4 N4", "K=9,N=9", "", "", "bf16"))
	if err := padded.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	for _, class := range []string{"title", "small", "paper", "cell", "tile", "path", "jump", "start", "t0", "t5", "pad", "padded"} {
		if !strings.Contains(Style, ".layout ."+class+" ") || !strings.Contains(b.String(), `class="`+class) && !strings.Contains(b.String(), " "+class+`"`) {
			t.Errorf("class %s is not both styled and used", class)
		}
	}
}

// TestGridSVG: a grid by itself has the cells of one in the picture, and no style that would reach what is around it.
func TestGridSVG(t *testing.T) {
	t.Parallel()
	for _, notation := range []string{"N* K* K8 N8 K8 N4", "K* N*"} {
		spec, err := layout.Parse(notation)
		if err != nil {
			t.Fatal(err)
		}
		l, err := spec.Resolve([]layout.Axis{{Name: 'K', Extent: 100}, {Name: 'N', Extent: 70}})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range Grids(l) {
			var b bytes.Buffer
			if err := g.WriteSVG(&b); err != nil {
				t.Fatal(err)
			}
			cells, numbers := checkSVG(t, b.Bytes())
			if want := len(g.Values) * len(g.Values[0]); cells != want || numbers != want+len(g.Values[0]) {
				t.Errorf("%s: %d cells and %d numbers", notation, cells, numbers)
			}
			if strings.Contains(b.String(), "<style") || !strings.Contains(b.String(), `class="layout"`) {
				t.Errorf("%s: no picture for a page: %.200s", notation, b.Bytes())
			}
		}
	}
	for line := range strings.Lines(Style) {
		for rule := range strings.SplitAfterSeq(strings.TrimSpace(line), "} ") {
			if !strings.HasPrefix(rule, ".layout ") && rule != "" && rule != "}" && !strings.HasPrefix(rule, "@media") {
				t.Errorf("%q is about more than layouts", rule)
			}
		}
	}
}

// TestWritersStop: what cannot be written is an error, from text and from picture.
func TestWritersStop(t *testing.T) {
	t.Parallel()
	x := explained(t, request(t, "N* K* K4 N4", "K=9,N=9", "", "K=1,N=1", "bf16"))
	full := errors.New("full")
	for _, write := range []func(io.Writer) error{x.WriteText, x.WriteSVG} {
		for left := range 5 {
			if err := write(&limited{left, full}); !errors.Is(err, full) {
				t.Errorf("after %d writes: %v", left, err)
			}
		}
	}
}

// limited fails after some writes.
type limited struct {
	left int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left--; l.left < 0 {
		return 0, l.err
	}
	return len(b), nil
}
