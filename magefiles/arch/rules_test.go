package arch

// A rule is a sentence about the packages that match one of the patterns in of and none of those in but. It holds if
// everything that they import, directly or through others, matches only (when given) and nothing matches never. Direct rules
// look at import declarations alone. Packages of the standard library are always allowed, and no pattern of never is meant
// for them.
//
// A pattern is an import path, or one that ends in /..., for a package and all below it; "..." anywhere else stands for any
// text.
type rule struct {
	says   string
	of     []string
	but    []string
	only   []string
	never  []string
	direct bool
}

// What lies under a cmd/ is a program or belongs to one.
const commands = "npuw/.../cmd/..."

// What the code that opens artifacts on a device may be made of.
var onDevice = []string{
	"npuw/artifact/...",
	"npuw/schema/npuwfb",
	"github.com/google/flatbuffers/go",
	"github.com/zeebo/xxh3",
	"github.com/klauspost/cpuid/v2", // by which xxh3 finds the vector units
	"github.com/x448/float16",
	"golang.org/x/sys/...",
	"golang.org/x/sync/...",
}

var rules = []rule{
	{
		says:  "schema depends on no other part of npuw",
		of:    []string{"npuw/schema/..."},
		never: []string{"npuw/artifact/...", "npuw/pipeline/...", "npuw/runtime/...", "npuw/magefiles/..."},
	},
	{
		says: "the artifact library depends on its schema and little else",
		of:   []string{"npuw/artifact/..."},
		but:  []string{commands},
		only: onDevice,
	},
	{
		says:  "pipeline depends on artifact and schema, never on the device side or the build scripts",
		of:    []string{"npuw/pipeline/..."},
		but:   []string{commands},
		never: []string{"npuw/runtime/...", "npuw/magefiles/..."},
	},
	{
		says: "runtime never depends on pipeline, nor on what only the build side needs",
		of:   []string{"npuw/runtime/..."},
		but:  []string{commands},
		never: []string{
			"npuw/pipeline/...", "npuw/magefiles/...", "npuw/schema/onnxpb", "npuw/schema/releasepb",
			"google.golang.org/protobuf/...", "github.com/magefile/mage/...", "github.com/klauspost/compress/...",
			"github.com/spf13/cobra/...", "github.com/schollz/progressbar/...",
		},
	},
	{
		says: "what a device program needs depends on artifact and little else",
		of:   []string{"npuw/runtime/device/...", "npuw/runtime/xrt/..."},
		but:  []string{commands},
		only: append([]string{"npuw/runtime/device/...", "npuw/runtime/xrt/..."}, onDevice...),
	},
	{
		says:   "the ONNX message types serve tests and the making of fixtures only",
		of:     []string{"npuw/..."},
		but:    []string{"npuw/pipeline/internal/..."},
		never:  []string{"npuw/schema/onnxpb"},
		direct: true,
	},
	{
		says:   "protobuf text is read by pipeline alone",
		of:     []string{"npuw/..."},
		but:    []string{"npuw/pipeline/..."},
		never:  []string{"npuw/schema/releasepb"},
		direct: true,
	},
	{
		says:   "zstd is read and written by pipeline/npuwz alone",
		of:     []string{"npuw/..."},
		but:    []string{"npuw/pipeline/npuwz/..."},
		never:  []string{"github.com/klauspost/compress/..."},
		direct: true,
	},
}

// topLevel is what may stand at the top of the repository beside dot files and what .gitignore names.
var topLevel = []string{
	"magefiles", "schema", "pipeline", "artifact", "runtime", "testdata",
	"go.mod", "go.sum", "README.md",
}
