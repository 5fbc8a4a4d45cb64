package npuwz

import (
	"os"
	"testing"

	"npuw/artifact"
	"npuw/schema/pyreader"
)

func TestMain(m *testing.M) { os.Exit(pyreader.Compared(m, artifact.Open).Run()) }
