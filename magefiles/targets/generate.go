package targets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// compiler is a schema compiler. Both versions are pinned: they leave their mark in the code they write, which is compared
// byte for byte.
type compiler struct {
	name, version, debian string
}

var (
	flatc  = compiler{"flatc", "flatc version 2.0.8", "flatbuffers-compiler"}
	protoc = compiler{"protoc", "libprotoc 3.21.12", "protobuf-compiler"}
)

// generatedDirs are the packages made from schemas, below the root.
var generatedDirs = []string{"schema/npuwfb", "schema/onnxpb", "schema/releasepb"}

// generate makes the generated files of the tree what the schemas say: it writes those that differ and removes those that
// no schema makes any more.
func (p *project) generate(ctx context.Context) error {
	want, have, err := p.generated(ctx)
	if err != nil {
		return err
	}
	for _, name := range differing(want, have) {
		path := filepath.Join(p.root, filepath.FromSlash(name))
		text, made := want[name]
		if !made {
			err = os.Remove(path)
		} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, text, 0o644)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, name)
	}
	return nil
}

// checkGenerated fails if generate would change anything.
func (p *project) checkGenerated(ctx context.Context) error {
	want, have, err := p.generated(ctx)
	if err != nil {
		return err
	}
	if names := differing(want, have); len(names) > 0 {
		return fmt.Errorf("not what the schemas make: %s: run `go tool mage generate`", strings.Join(names, ", "))
	}
	return nil
}

// generated returns the files that the schemas make and the generated files of the tree, both by slash-separated path from
// the root.
func (p *project) generated(ctx context.Context) (want, have map[string][]byte, err error) {
	tmp, err := os.MkdirTemp("", "npuw-generate-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(tmp)
	if err := p.runCompilers(ctx, tmp); err != nil {
		return nil, nil, err
	}
	if want, err = generatedFiles(tmp); err != nil {
		return nil, nil, err
	}
	for _, dir := range generatedDirs {
		made := func(name string) bool { return strings.HasPrefix(name, dir+"/") }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), made) {
			return nil, nil, fmt.Errorf("no schema makes %s: is its go_package or namespace right?", dir)
		}
	}
	have, err = generatedFiles(p.root)
	return want, have, err
}

// runCompilers compiles the schemas into packages below dir, as they lie below the root.
func (p *project) runCompilers(ctx context.Context, dir string) error {
	for _, c := range []compiler{flatc, protoc} {
		if err := p.checkVersion(ctx, c); err != nil {
			return err
		}
	}
	err := p.run(ctx, nil, flatc.name, "--go", "--gen-onefile", "--go-namespace", "npuwfb",
		"-o", filepath.Join(dir, "schema", "npuwfb"), filepath.Join("schema", "npuw.fbs"))
	if err != nil {
		return err
	}
	plugin := filepath.Join(dir, "protoc-gen-go")
	err = p.run(ctx, nil, "go", "build", "-C", filepath.Join("schema", "_gen"), "-o", plugin,
		"google.golang.org/protobuf/cmd/protoc-gen-go")
	if err != nil {
		return err
	}
	// A program may hold one .proto file of a name: the path from the module's name on keeps ours apart from others.
	return p.run(ctx, nil, protoc.name, "--plugin=protoc-gen-go="+plugin, "-Inpuw/schema=schema",
		"--go_out="+dir, "--go_opt=module=npuw", "npuw/schema/onnx.proto", "npuw/schema/release.proto")
}

// checkVersion fails unless the compiler is there in the version whose output is committed.
func (p *project) checkVersion(ctx context.Context, c compiler) error {
	out, err := p.output(ctx, nil, c.name, "--version")
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s not found: install %s (Debian 12: package %s)", c.name, c.version, c.debian)
	}
	if err != nil {
		return err
	}
	if have := string(bytes.TrimSpace(out)); have != c.version {
		return fmt.Errorf("%s is %q: want %q (Debian 12: package %s)", c.name, have, c.version, c.debian)
	}
	return nil
}

// generatedMark marks generated Go code, as the go command defines it; packageClause ends where the mark may stand.
var (
	generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	packageClause = regexp.MustCompile(`(?m)^package `)
)

// isGenerated reports whether Go source is marked as generated, before its package clause.
func isGenerated(source []byte) bool {
	if end := packageClause.FindIndex(source); end != nil {
		source = source[:end[0]]
	}
	return generatedMark.Match(source)
}

// generatedFiles reads the generated Go files of the generated packages below root, by slash-separated path from there.
func generatedFiles(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, dir := range generatedDirs {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), "*.go"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			if isGenerated(text) {
				files[dir+"/"+filepath.Base(name)] = text
			}
		}
	}
	return files, nil
}

// readTree reads every file below root, by slash-separated path from there.
func readTree(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[name], err = os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		return err
	})
	return files, err
}

// differing returns, in order, the names of the files that are not the same on both sides.
func differing(a, b map[string][]byte) []string {
	names := map[string]bool{}
	for name, text := range a {
		if other, ok := b[name]; !ok || !bytes.Equal(text, other) {
			names[name] = true
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
