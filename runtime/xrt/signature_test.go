package xrt

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/runtime/device"
)

// kernelEdit changes the kernel of an xclbin.
func kernelEdit(edit func(*xclbintest.Kernel)) func(*xclbinSpec) {
	return func(s *xclbinSpec) { edit(&s.Kernels[0]) }
}

// What a contract does not have, the kernel is given all the same: opcode and number of instruction words. A contract may name them, too.
func TestSignature(t *testing.T) {
	for name, edit := range map[string]func(*kernel.Contract){
		"as tests have it": func(*kernel.Contract) {},
		"with all scalars": func(c *kernel.Contract) {
			c.Arguments = append(c.Arguments, kernel.Scalar("opcode", 0), kernel.Scalar("count", 2))
		},
		"in another order": func(c *kernel.Contract) {
			c.Arguments[1], c.Arguments[3] = c.Arguments[3], c.Arguments[1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, conditions{}, func(t *testing.T, r *rig) {
				f := newEdited(t, edits{contract: edit}, small)
				d := r.device(f)
				s := newSession(t, d, f, 0)
				s.mustRun()
				s.right(r)
				words := s.kernel.Contract().Arguments[0].Bytes / wordBytes
				if name == "as tests have it" && (len(r.numbers) != 2 || r.numbers[0] != opcodeRun || r.numbers[2] != words) {
					t.Errorf("numbers %v; the opcode and %d words were expected", r.numbers, words)
				}
				s.close()
				check(t, d.Close())
				r.hasNone()
			})
		})
	}
}

// arguments are those of the last command in the log of the software NPU, as the kernel's registers hold them.
func (r *rig) arguments() []byte {
	r.t.Helper()
	log := r.log()
	line := log[strings.LastIndex(log, "\narguments: ")+1:]
	line, _, _ = strings.Cut(line, "\n")
	registers, err := hex.DecodeString(line[strings.LastIndex(line, " ")+1:])
	check(r.t, err)
	return registers
}

// Designs of AIR have no opcode, and a count of 64 bits. The software NPU's kernels have an opcode: it ends such a run with an error, but
// shows what it was given.
func TestSignatureOfAIR(t *testing.T) {
	onEach(t, conditions{trace: true}, func(t *testing.T, r *rig) {
		f := newEdited(t, edits{
			contract: func(c *kernel.Contract) {
				for i := range c.Arguments {
					c.Arguments[i].Index--
				}
			},
			xclbin: kernelEdit(func(k *xclbintest.Kernel) {
				k.Arguments = k.Arguments[1:]
				k.Arguments[1] = xclbintest.Scalar("ninstr", "uint64_t", 8)
			}),
		}, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		err := s.run(context.Background())
		words := s.kernel.Contract().Arguments[0].Bytes / wordBytes
		if len(r.numbers) != 1 || r.numbers[1] != words {
			t.Errorf("numbers %v; %d words were expected", r.numbers, words)
		}
		if !r.real {
			check(t, err)
		} else if registers := r.arguments(); err == nil || binary.LittleEndian.Uint64(registers[8:]) != words {
			t.Errorf("%v; %d words were expected in %x", err, words, registers)
		}
		s.close()
		check(t, d.Close())
		r.hasNone()
	})
}

func TestSignaturesThatDoNotFit(t *testing.T) {
	for name, c := range map[string]struct {
		message  string
		contract func(*kernel.Contract)
		xclbin   func(*xclbinSpec)
	}{
		"index": {`argument "c" has index 8; the xclbin's kernel has 0 opcode, 1 instr, 2 ninstr, 3 bo0`, func(c *kernel.Contract) { c.Arguments[3].Index = 8 }, nil},
		"huge":  {`has index 4294967295`, func(c *kernel.Contract) { c.Arguments[3].Index = math.MaxUint32 }, nil},
		"twice": {`arguments "b" and "c" both have index 4`, func(c *kernel.Contract) { c.Arguments[3].Index = 4 }, nil},
		"buffer for a scalar": {
			`argument "c" is a buffer; in the xclbin, argument 2, "ninstr", is a "uint32_t" of 4 bytes`, func(c *kernel.Contract) { c.Arguments[3].Index = 2 }, nil,
		},
		"scalar for a buffer": {
			`argument "eps" is a scalar; in the xclbin, argument 6, "bo3", is a "void*" of 8 bytes`,
			func(c *kernel.Contract) { c.Arguments = append(c.Arguments, kernel.Scalar("eps", 6)) }, nil,
		},
		"scalar of a byte": {
			`argument "eps" is a scalar; in the xclbin, argument 8, "eps", is a "uint8_t" of 1 bytes`,
			func(c *kernel.Contract) { c.Arguments = append(c.Arguments, kernel.Scalar("eps", 8)) },
			kernelEdit(func(k *xclbintest.Kernel) {
				k.Arguments = append(k.Arguments, xclbintest.Scalar("eps", "uint8_t", 1))
			}),
		},
		"group":    {`argument "c" is bound to memory group 1; in the xclbin, argument 5, "bo2", lies in 0`, func(c *kernel.Contract) { c.Arguments[3].MemoryGroup = 1 }, nil},
		"no group": {`argument 3, "bo0", is a`, nil, kernelEdit(func(k *xclbintest.Kernel) { k.Arguments[3].Banks = nil })},
		"no memory": {`argument "a" is a buffer; in the xclbin, argument 3, "bo0", reaches no memory`, nil, func(s *xclbinSpec) {
			s.Banks = append(s.Banks, xclbintest.Bank{Type: 2, Tag: "unused"})
			s.Kernels[0].Arguments[3].Banks = []int{len(s.Banks) - 1}
		}},
		"another scalar": {
			`has a scalar "count", a "uint32_t" of 4 bytes, at index 8, for which the contract has nothing`, nil,
			kernelEdit(func(k *xclbintest.Kernel) {
				k.Arguments = append(k.Arguments, xclbintest.Scalar("count", "uint32_t", 4))
			}),
		},
		"instructions in another buffer": {
			`reads instructions, argument 1, for which the contract has no argument`, func(c *kernel.Contract) { c.Arguments[0].Index, c.Arguments[0].MemoryGroup = 7, 0 }, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, conditions{}, func(t *testing.T, r *rig) {
				f := newEdited(t, edits{contract: c.contract, xclbin: c.xclbin}, small)
				d := r.device(f)
				refused(t, d, f, device.ErrMismatch, c.message)
				if r.total("context") != 0 {
					t.Error("it reached XRT")
				}
				check(t, d.Close())
				r.hasNone()
			})
		})
	}
}

// A kernel without instructions that is given some, which no artifact can say: its argument for them is not there.
func TestSignatureWithoutInstructions(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newEdited(t, edits{
			contract: func(c *kernel.Contract) { c.Arguments[0].MemoryGroup, c.Arguments[0].Index = 0, 7 },
			index:    func(x *artifact.Index) { x.Contracts[0].Instructions = kernel.None },
			xclbin: kernelEdit(func(k *xclbintest.Kernel) {
				k.Arguments[1].Name = "code"
			}),
		}, small)
		d := r.device(f)
		refused(t, d, f, device.ErrMismatch, "the artifact has 0 words of instructions")
		check(t, d.Close())
		r.hasNone()
	})
}

// The context's memory groups must be those of the xclbin's metadata, from which both are read: that they differ XRT cannot be made to say.
func TestGroupsOfTheContext(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		check(t, load(t, d, f).Close())
		r.set(func() { r.skew = 1 })
		refused(t, d, f, device.ErrMismatch, "XRT gives memory group 2 (0x10002), the xclbin's metadata 1")
		check(t, d.Close())
		r.hasNone()
	})
}

// scalars are numbers for arguments of a type in C, with the bits that arrive, or none where they are refused.
var scalars = []struct {
	kind  string
	size  int
	value float64
	bits  uint64
	ok    bool
}{
	{"float", 4, 1.5, 0x3fc00000, true},
	{"double", 8, 1.5, 0x3ff8000000000000, true},
	{"uint32_t", 4, 4294967295, 0xffffffff, true},
	{"uint32_t", 4, 4294967296, 0, false},
	{"uint32_t", 4, -1, 0, false},
	{"int32_t", 4, -1, math.MaxUint64, true},
	{"int", 4, 1 << 31, 0, false},
	{"uint64_t", 8, 1 << 63, 1 << 63, true},
	{"uint64_t", 8, 1 << 64, 0, false},
	{"int64_t", 8, -(1 << 63), 1 << 63, true},
	{"int64_t", 8, 0.5, 0, false},
	{"int64_t", 8, math.NaN(), 0, false},
	{"uint32_t", 4, math.Inf(1), 0, false},
}

// A kernel gets the numbers of its scalar arguments in their own type, and no number that has none there.
func TestScalars(t *testing.T) {
	onEach(t, conditions{trace: true}, func(t *testing.T, r *rig) {
		const first = 8 // after mlir-aie's arguments
		name := func(i int) string { return fmt.Sprintf("scalar%d", i) }
		f := newEdited(t, edits{
			contract: func(c *kernel.Contract) {
				for i := range scalars {
					c.Arguments = append(c.Arguments, kernel.Scalar(name(i), uint32(first+i)))
				}
			},
			xclbin: kernelEdit(func(k *xclbintest.Kernel) {
				for i, s := range scalars {
					k.Arguments = append(k.Arguments, xclbintest.Scalar(name(i), s.kind, uint64(s.size)))
				}
			}),
		}, small)
		d := r.device(f)
		s := newSession(t, d, f, 0)
		for i := range scalars {
			s.args[name(i)] = device.Value{}
		}
		buffer := s.args["a"]
		s.args[name(0)] = buffer
		if err := s.run(context.Background()); !errors.Is(err, device.ErrArgument) || !strings.Contains(err.Error(), "a buffer for a scalar") {
			t.Errorf("a buffer for a scalar: %v", err)
		}
		for i, c := range scalars {
			s.args[name(i)] = device.Value{Scalar: c.value}
			before := r.total("start")
			err := s.run(context.Background())
			s.args[name(i)] = device.Value{}
			if !c.ok {
				if !errors.Is(err, device.ErrArgument) || r.total("start") != before {
					t.Errorf("%v as %s: %v", c.value, c.kind, err)
				}
				continue
			}
			if err != nil || r.numbers[uint32(first+i)] != c.bits {
				t.Errorf("%v as %s: %#x, %v", c.value, c.kind, r.numbers[uint32(first+i)], err)
			}
			if at := s.kernel.(*Kernel).file.Kernels[0].ArgumentAt(first + i).Offset; r.real {
				var want [8]byte
				binary.LittleEndian.PutUint64(want[:], c.bits)
				if got := r.arguments()[at:][:c.size]; string(got) != string(want[:c.size]) {
					t.Errorf("%v as %s: the NPU got %x, want %x", c.value, c.kind, got, want[:c.size])
				}
			}
		}
		s.right(r)
		for i := range scalars {
			delete(s.args, name(i))
		}
		s.close()
		check(t, d.Close())
		r.hasNone()
	})
}
