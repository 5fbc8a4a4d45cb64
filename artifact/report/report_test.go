package report

import (
	"os"
	"testing"
)

func TestPage(t *testing.T) {
	t.Parallel()
	page := samplePage(t)
	os.WriteFile("/tmp/rep/sample.html", []byte(page), 0o666)
}
