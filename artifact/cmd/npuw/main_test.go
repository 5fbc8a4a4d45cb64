package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"npuw/pipeline/release"
	"npuw/runtime/xrt"
	"npuw/schema/onnxpb"
	"npuw/schema/pyreader"
)

func TestMain(m *testing.M) {
	testscript.Main(pyreader.Compared(m, openWithCommand), map[string]func(){"npuw": main, "interrupt": interruptMain})
}

// TestScripts runs the command line as people do. $MODELS is the folder of the models in testdata, $README the page. The condition
// xrt holds in a build with XRT, mmap in one that maps files.
func TestScripts(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs(testdata)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		WorkdirRoot:         pyreader.TempDir(t),
		Setup: func(e *testscript.Env) error {
			e.Setenv("MODELS", folder)
			e.Setenv("README", filepath.Join(folder, "..", "..", "README.md"))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // under -race every program would sleep a second before it ends
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "xrt":
				_, err := xrt.List()
				return err == nil || !strings.Contains(err.Error(), "built without XRT"), nil
			case "mmap":
				return mapsFiles, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status, "release": makeSet, "damage": damage, "cut": cut, "size": size, "holds": holds, "keys": keys, "unknown": unknown, "mobile": mobile, "lose": lose, "recode": recode, "operator": operator, "example": example,
		},
	})
}

// release MANIFEST DIR makes the set of a release.
func makeSet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: release MANIFEST DIR")
	}
	ts.Check(release.Build(context.Background(), release.Options{Manifest: ts.MkAbs(args[0]), Out: ts.MkAbs(args[1])}))
}

// example FILE HEADING OUT writes the example under a heading of FILE, a text in Markdown, to OUT: its indented lines, 20 at most.
func example(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: example FILE HEADING OUT")
	}
	text, err := os.ReadFile(args[0])
	ts.Check(err)
	_, section, found := strings.Cut(string(text), "\n## "+args[1]+"\n")
	if !found {
		ts.Fatalf("%s has no heading %q", args[0], args[1])
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var lines []string
	for line := range strings.Lines(section) {
		if code, indented := strings.CutPrefix(line, "    "); indented {
			lines = append(lines, code)
		}
	}
	if len(lines) == 0 || len(lines) > 20 {
		ts.Fatalf("the example under %q has %d lines, 1 to 20 were expected", args[1], len(lines))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Join(lines, "")), 0o666))
}

// status N COMMAND ARGS... runs a command and wants exit status N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: status N COMMAND ARGS...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// damage FILE OFFSET [HEX] flips a bit of the byte at an offset of a file, counted from its end where it is negative, or puts the
// given bytes there.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	pyreader.Damage(ts, ts.MkAbs(args[0]))
	b, at := fileAndNumber(ts, args)
	if at < 0 {
		at += len(b)
	}
	if len(args) > 2 {
		with, err := hex.DecodeString(args[2])
		ts.Check(err)
		copy(b[at:], with)
	} else {
		b[at] ^= 4
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o666))
}

// cut FILE N leaves the first N bytes of a file, or all but the last -N.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	pyreader.Damage(ts, ts.MkAbs(args[0]))
	b, n := fileAndNumber(ts, args)
	if n < 0 {
		n += len(b)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b[:n], 0o666))
}

// size FILE N wants a file of N bytes.
func size(ts *testscript.TestScript, _ bool, args []string) {
	if b, n := fileAndNumber(ts, args); len(b) != n {
		ts.Fatalf("%s has %d bytes, want %d", args[0], len(b), n)
	}
}

func fileAndNumber(ts *testscript.TestScript, args []string) ([]byte, int) {
	if len(args) < 2 {
		ts.Fatalf("usage: COMMAND FILE NUMBER")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	return b, n
}

// holds FOLDER NAMES... wants a folder to hold files of these names and nothing else, hidden or not.
func holds(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := slices.Sorted(slices.Values(args[1:])); !slices.Equal(names, want) {
		ts.Fatalf("%s holds %q, want %q", args[0], names, want)
	}
}

// keys FILE prints the paths of all members of the JSON in a file ("operands[].axes[].name"), sorted.
func keys(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	paths := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, member := range v {
				walk(strings.TrimPrefix(path+"."+key, "."), member)
			}
		case []any:
			for _, element := range v {
				walk(path+"[]", element)
			}
		default:
			paths[path] = true
		}
	}
	walk("", v)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		fmt.Fprintln(ts.Stdout(), path)
	}
}

// lose FILE NAME takes an initializer from an ONNX model.
func lose(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args[0], func(g *onnxpb.GraphProto) {
		g.Initializer = slices.DeleteFunc(g.Initializer, func(t *onnxpb.TensorProto) bool { return t.GetName() == args[1] })
	})
}

// operator FILE FROM TO makes nodes of one operator nodes of another.
func operator(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args[0], func(g *onnxpb.GraphProto) {
		for _, n := range g.Node {
			if n.GetOpType() == args[1] {
				n.OpType = &args[2]
			}
		}
	})
}

// edit changes the graph of an ONNX model.
func edit(ts *testscript.TestScript, file string, change func(*onnxpb.GraphProto)) {
	b, err := os.ReadFile(ts.MkAbs(file))
	ts.Check(err)
	var m onnxpb.ModelProto
	ts.Check(proto.Unmarshal(b, &m))
	change(m.Graph)
	b, err = proto.Marshal(&m)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(file), b, 0o666))
}

// unknown FILE writes an ONNX model that is of no known family: y = x + w.
func unknown(ts *testscript.TestScript, _ bool, args []string) {
	number := func(field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
	}
	text := func(field protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), v)
	}
	message := func(field protowire.Number, parts ...[]byte) []byte {
		return text(field, string(slices.Concat(parts...)))
	}
	model := slices.Concat(
		number(1, 8), // ir_version
		message(7, // graph
			message(1, text(1, "x"), text(1, "w"), text(2, "y"), text(4, "Add")),
			message(5, number(1, 2), number(2, 1), text(8, "w\x1b[31m"), text(9, "\x00\x00\x80\x3f\x00\x00\x00\x40")),
			message(5, number(1, 3), number(1, 1), number(2, 10), text(8, "half"), number(5, 0x3c00), number(5, 0x4000), number(5, 0x4200)),
			message(11, text(1, "x")),
			message(12, text(1, "y"))),
		message(8, number(2, 17))) // opset_import
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), model, 0o666))
}
