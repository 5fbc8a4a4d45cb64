package release

import (
	"os"
	"testing"

	"npuw/artifact"
	"npuw/schema/pyreader"
)

func TestMain(m *testing.M) {
	if call := os.Getenv(killedCall); call != "" {
		os.Exit(buildAndDie(call))
	}
	os.Exit(pyreader.Compared(m, artifact.Open).Run())
}
