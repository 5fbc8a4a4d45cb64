package report

import (
	_ "embed"
	"encoding/json"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/report/internal/chromium"
)

// browse opens a page in Chromium.
func browse(t *testing.T, page string, options ...string) (document string, console []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds: not with -short")
	}
	return chromium.Browse(t, page, options...)
}

// TestBrowser opens the page as it is: its script runs, nothing is wrong.
func TestBrowser(t *testing.T) {
	t.Parallel()
	document, console := browse(t, samplePage(t))
	if len(console) > 0 {
		t.Errorf("on the console: %s", console)
	}
	for _, want := range []string{`data-script="ran"`, `data-errors=""`, ">17 of 17</output>", `<p id="filter"><label>`} {
		if !strings.Contains(document, want) {
			t.Errorf("no %s in the document", want)
		}
	}
	if n := len(regexp.MustCompile(`<tr id="o[0-9]+"`).FindAllString(document, -1)); n != 17 {
		t.Errorf("%d rows of operands, want 17", n)
	}
	if n := strings.Count(document, "<button"); n != 9 {
		t.Errorf("%d columns to sort by, want 9", n)
	}
}

// TestBrowserPolicy puts a script of another's into the page, as a name that is not escaped would: it does not run. That also shows
// that what goes wrong is seen on the console.
func TestBrowserPolicy(t *testing.T) {
	t.Parallel()
	const foreign = `<script>document.documentElement.dataset.foreign = "ran"</script><img src="https://example.invalid/x.png">`
	document, console := browse(t, strings.Replace(samplePage(t), "<main>", "<main>"+foreign, 1))
	if strings.Contains(document, `data-foreign="ran"`) {
		t.Error("a script of another's has run")
	}
	if all := strings.Join(console, ""); !strings.Contains(all, "script-src") || !strings.Contains(all, "img-src") && !strings.Contains(all, "default-src") {
		t.Errorf("on the console: %q; refusals of the script and of the picture were expected", all)
	}
	if !strings.Contains(document, `data-script="ran"`) {
		t.Error("the page's own script has not run")
	}
}

//go:embed testdata/drive.js
var drive string

// driven is what testdata/drive.js finds.
type driven struct {
	Width, Overflow    int
	Dark               bool
	Pictures, Unseen   int // SVGs; those that take no room
	Faint              []string
	Down, Up           []string // cells of relative L2, sorted
	Groups             []int    // tbodies: at first, sorted, and at last
	Prefixed           []bool   // is the layer in a name shown? at first, sorted, and at last
	Filtered, Headings int
	Counted, Unfound   string
	Tip                bool // is shown of the block that has the focus
	Colours            int  // of the cells of the heat map
}

// TestBrowserDriven uses the page as a person does: sorts, filters, goes through blocks by keyboard; and measures whether everything
// has room and contrast, light and dark, wide and narrow.
func TestBrowserDriven(t *testing.T) {
	t.Parallel()
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)
	page := policy.ReplaceAllString(samplePage(t), "")
	page = strings.Replace(page, "</body>", "<script>"+drive+"</script></body>", 1)
	// A window has 500 pixels at least; a frame can be as narrow as a telephone.
	narrow := `<!DOCTYPE html><meta name="color-scheme" content="light dark"><iframe style="width:420px;height:800px;border:0" srcdoc="` + html.EscapeString(page) + `"></iframe>`
	for name, of := range map[string]struct{ page, scheme string }{
		"wide and light": {page, "1"}, "narrow and dark": {narrow, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document, console := browse(t, of.page, "--window-size=1280,1000", "--blink-settings=preferredColorScheme="+of.scheme)
			found := regexp.MustCompile(`data-driven="([^"]*)"`).FindStringSubmatch(document)
			if len(console) > 0 || found == nil {
				t.Fatalf("on the console: %q; result: %q", console, found)
			}
			var d driven
			if err := json.Unmarshal([]byte(html.UnescapeString(found[1])), &d); err != nil {
				t.Fatal(err)
			}
			checkDriven(t, &d, of.page == narrow)
		})
	}
}

func checkDriven(t *testing.T, d *driven, dark bool) {
	if width := map[bool]int{false: 1280, true: 420}[dark]; d.Dark != dark || d.Width != width {
		t.Errorf("dark is %t at a width of %d, want %t and %d", d.Dark, d.Width, dark, width)
	}
	if d.Overflow > 0 {
		t.Errorf("the page is %d pixels wider than its window of %d", d.Overflow, d.Width)
	}
	if d.Pictures < 6 || d.Unseen > 0 {
		t.Errorf("%d pictures, of which %d take no room", d.Pictures, d.Unseen)
	}
	if len(d.Faint) > 0 {
		t.Errorf("too faint: %q", d.Faint)
	}
	if first, last := "∞", "0"; len(d.Down) != 17 || d.Down[0] != first || d.Down[1] != "0.112" || d.Down[16] != last || len(d.Up) != 17 || d.Up[0] != last || d.Up[16] != first {
		t.Errorf("sorted by relative L2: %q, then %q", d.Down, d.Up)
	}
	if !slices.Equal(d.Groups, []int{4, 1, 4}) || !slices.Equal(d.Prefixed, []bool{false, true, false}) {
		t.Errorf("layers: %d groups, shown in names %t; want 4, 1 and 4, and in the second alone", d.Groups, d.Prefixed)
	}
	if d.Filtered != 3 || d.Headings != 3 || d.Counted != "3 of 17" || d.Unfound != "0 of 17" {
		t.Errorf("filtered: %d rows, %d headings, %q and %q", d.Filtered, d.Headings, d.Counted, d.Unfound)
	}
	if !d.Tip {
		t.Error("what has the focus shows nothing of itself")
	}
	if d.Colours < 5 {
		t.Errorf("the cells of the heat map have %d colours", d.Colours)
	}
}
