package artifact

import (
	"os"
	"testing"

	"npuw/schema/pyreader"
)

func TestMain(m *testing.M) { os.Exit(pyreader.Compared(m, Open).Run()) }
