package pipeline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/xclbin"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
)

// maxStream bounds an instruction stream. Real ones have some hundred KiB at most.
const maxStream = 64 << 20

// BindKernels binds the artifact's operands to the kernel contracts in the file at path. Contracts are checked against the xclbins
// that they name, whose identity is recorded; instruction streams become segments.
func (b *Build) BindKernels(path string) error {
	text, err := ReadText(path)
	if err != nil {
		return err
	}
	k, err := recipe.ParseKernels(path, text)
	if err != nil {
		return err
	}
	b.inputs = append(b.inputs, path)
	b.Kernels, b.Instructions, b.Xclbins = k, make([]string, len(k.Contracts)), nil
	a := attacher{Build: b, kernels: k, dir: filepath.Dir(path), opened: map[string]int{}}
	for i := range k.Contracts {
		if err := a.attach(i); err != nil {
			return err
		}
	}
	return k.Bind(b.Plan.Index)
}

// attacher attaches the files that contracts name.
type attacher struct {
	*Build
	kernels *recipe.Kernels
	dir     string
	opened  map[string]int // position in Index.Xclbins, by path
	files   []*xclbin.File // of Index.Xclbins
}

func (a *attacher) attach(i int) error {
	c, files := &a.kernels.Contracts[i], a.kernels.Files[i]
	if files.Instructions != "" {
		path := filepath.Join(a.dir, filepath.FromSlash(files.Instructions))
		a.inputs = append(a.inputs, path)
		a.Instructions[i] = path
		stream, err := readStream(path)
		if err != nil {
			return a.kernels.Fault(i, -1, "instructions", "%v%s", err, fromFolder(err, a.dir))
		}
		c.Instructions = a.Plan.AddStream("instructions."+c.Name, stream)
		told := false // of the stream's length, which its segment, padded to whole pages, does not tell
		for j := range c.Arguments {
			if c.Arguments[j].Role == kernel.Instructions {
				c.Arguments[j].Bytes, told = uint64(len(stream)), true
			}
		}
		if !told {
			return a.kernels.Fault(i, -1, "instructions", "no argument of contract %q takes them; write argument { name: \"instr\" index: 1 role: INSTRUCTIONS }, with the index of the kernel's signature", c.Name)
		}
	}
	if files.Xclbin == "" {
		return nil
	}
	x, err := a.open(filepath.Join(a.dir, filepath.FromSlash(files.Xclbin)))
	if err != nil {
		return a.kernels.Fault(i, -1, "xclbin", "%v%s", err, fromFolder(err, a.dir))
	}
	c.Xclbin = x
	return a.check(i, c, a.files[x])
}

// fromFolder tells, of a file that is not there, from which folder its path was taken.
func fromFolder(err error, dir string) string {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf(" (paths in a file of contracts are taken from its folder, %s)", dir)
	}
	return ""
}

// open opens an xclbin, once, and records it in the index.
func (a *attacher) open(path string) (int, error) {
	if i, known := a.opened[path]; known {
		return i, nil
	}
	f, err := xclbin.Open(path)
	if err != nil {
		return 0, err
	}
	i := len(a.files)
	a.opened[path] = i
	a.inputs = append(a.inputs, path)
	a.Xclbins = append(a.Xclbins, path)
	a.files = append(a.files, f)
	a.Plan.Index.Xclbins = append(a.Plan.Index.Xclbins, artifact.Xclbin{
		Name: filepath.Base(path), UUID: f.UUID, Bytes: uint64(f.Size), Digest: f.Digest,
	})
	return i, nil
}

// check compares a contract with the kernel of the xclbin, and takes memory groups from it where the contract states none.
func (a *attacher) check(i int, c *kernel.Contract, f *xclbin.File) error {
	k := f.Kernel(c.Kernel)
	if k == nil || !k.DPU() {
		return a.kernels.Fault(i, -1, "kernel", "%s has no kernel %q for the NPU; it has %s", f.Path, c.Kernel, kernelNames(f))
	}
	for j := range c.Arguments {
		arg := &c.Arguments[j]
		if err := fitsXclbin(arg, k, f.Path); err != nil {
			return a.kernels.Fault(i, j, "name", "%v", err)
		}
		if arg.Kind == kernel.BufferArgument {
			arg.MemoryGroup = k.ArgumentAt(int(arg.Index)).MemoryGroup
		}
	}
	return nil
}

// kernelNames lists the kernels for the NPU in an xclbin.
func kernelNames(f *xclbin.File) string {
	var names []string
	for i := range f.Kernels {
		if k := &f.Kernels[i]; k.DPU() {
			names = append(names, strconv.Quote(k.Name))
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// fitsXclbin says why an argument of a contract is not that of a kernel in an xclbin; both sides are shown.
func fitsXclbin(arg *kernel.Argument, k *xclbin.Kernel, path string) error {
	there := k.ArgumentAt(int(arg.Index))
	switch {
	case there == nil:
		return fmt.Errorf("argument %q has index %d; kernel %q of %s has no such argument", arg.Name, arg.Index, k.Name, path)
	case there.Buffer() != (arg.Kind == kernel.BufferArgument):
		return fmt.Errorf("argument %q is a %s, argument %d (%q) of kernel %q of %s a %s",
			arg.Name, kindText(arg.Kind == kernel.BufferArgument), arg.Index, there.Name, k.Name, path, kindText(there.Buffer()))
	case arg.Kind == kernel.BufferArgument && there.MemoryGroup == xclbin.NoGroup:
		return fmt.Errorf("argument %q is a buffer; argument %d (%q) of kernel %q of %s reaches no memory", arg.Name, arg.Index, there.Name, k.Name, path)
	case arg.Kind == kernel.BufferArgument && arg.MemoryGroup != kernel.NoGroup && arg.MemoryGroup != there.MemoryGroup:
		return fmt.Errorf("argument %q is in memory group %d, argument %d (%q) of kernel %q of %s in group %d",
			arg.Name, arg.MemoryGroup, arg.Index, there.Name, k.Name, path, there.MemoryGroup)
	}
	return nil
}

func kindText(buffer bool) string {
	if buffer {
		return "buffer"
	}
	return "scalar"
}

// readStream reads an instruction stream: words of four bytes, at least one.
func readStream(path string) ([]byte, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size == 0 || f.Size%4 != 0 || f.Size > maxStream {
		return nil, fmt.Errorf("%s: %d bytes; an instruction stream is a whole number of 4-byte words, at least one and at most %d bytes", path, f.Size, maxStream)
	}
	stream := make([]byte, f.Size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, f.Size), stream); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return stream, nil
}

// VerifyKernels checks the contracts of the artifact at path again, against xclbins among the files given: each is found by its
// digest, under whatever name.
func VerifyKernels(path string, files []string) error {
	a, err := artifact.Open(path)
	if err != nil {
		return err
	}
	defer a.Close()
	byDigest := map[artifact.Digest]*xclbin.File{}
	for _, name := range files {
		f, err := xclbin.Open(name)
		if errors.Is(err, xclbin.ErrNotXclbin) {
			continue
		}
		if err != nil {
			return err
		}
		byDigest[f.Digest] = f
	}
	for i := range a.Index.Contracts {
		c := &a.Index.Contracts[i]
		if c.Xclbin == kernel.None {
			continue
		}
		x := &a.Index.Xclbins[c.Xclbin]
		f := byDigest[x.Digest]
		if f == nil || f.UUID != x.UUID || uint64(f.Size) != x.Bytes {
			return fmt.Errorf("%s: contract %q: no xclbin with digest %v (%s when it was built) is there; ship the one it was built with, or build again", path, c.Name, x.Digest, x.Name)
		}
		k := f.Kernel(c.Kernel)
		if k == nil || !k.DPU() {
			return fmt.Errorf("%s: contract %q: %s has no kernel %q for the NPU", path, c.Name, f.Path, c.Kernel)
		}
		for j := range c.Arguments {
			if err := fitsXclbin(&c.Arguments[j], k, f.Path); err != nil {
				return fmt.Errorf("%s: contract %q: %w", path, c.Name, err)
			}
		}
	}
	return nil
}
