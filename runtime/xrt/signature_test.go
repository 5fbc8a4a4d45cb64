package xrt

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"npuw/artifact/kernel"
	"npuw/artifact/xclbin"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/runtime/device"
)

// compiled is a kernel as its xclbin's metadata has it.
func compiled(t *testing.T, edit func(*xclbintest.Kernel)) *xclbin.Kernel {
	t.Helper()
	s := xclbintest.MLIRAIE()
	if edit != nil {
		edit(&s.Kernels[0])
	}
	data, err := xclbintest.Encode(s)
	check(t, err)
	f, err := xclbin.NewFile(bytes.NewReader(data), int64(len(data)))
	check(t, err)
	return &f.Kernels[0]
}

func TestSignature(t *testing.T) {
	t.Parallel()
	s, err := newSignature(small.contract(t, "test"), compiled(t, nil), 77)
	check(t, err)
	if len(s.arguments) != 4 || s.instructions != 1 || s.group != 1 {
		t.Errorf("%+v", s)
	}
	want := []number{{0, opcodeRun, 8}, {2, 77, 4}}
	if len(s.numbers) != 2 || s.numbers[0] != want[0] || s.numbers[1] != want[1] {
		t.Errorf("numbers %v, want %v", s.numbers, want)
	}
	whole := small.contract(t, "with the opcode and the number of words")
	whole.Arguments = append(whole.Arguments, kernel.Scalar("opcode", 0), kernel.Scalar("count", 2))
	if s, err = newSignature(whole, compiled(t, nil), 77); err != nil || len(s.arguments) != 4 || len(s.numbers) != 2 || s.numbers[0] != want[0] || s.numbers[1] != want[1] {
		t.Errorf("%+v, %v", s, err)
	}
	c := small.contract(t, "without an argument for instructions")
	c.Arguments = c.Arguments[1:]
	if s, err = newSignature(c, compiled(t, nil), 77); err != nil || s.instructions != 1 || s.group != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	// Designs of AIR have no opcode, and a count of 64 bits.
	s, err = newSignature(moved(t, -1), compiled(t, func(k *xclbintest.Kernel) {
		k.Arguments = k.Arguments[1:]
		k.Arguments[1] = xclbintest.Scalar("ninstr", "uint64_t", 8)
	}), 77)
	if err != nil || s.instructions != 0 || len(s.numbers) != 1 || s.numbers[0] != (number{1, 77, 8}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// moved is a contract whose arguments stand at other indexes.
func moved(t *testing.T, by int) *kernel.Contract {
	c := small.contract(t, "test")
	for i := range c.Arguments {
		c.Arguments[i].Index = uint32(int(c.Arguments[i].Index) + by)
	}
	return c
}

func TestSignaturesThatDoNotFit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		message  string
		contract func(*kernel.Contract)
		kernel   func(*xclbintest.Kernel)
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
		"group":    {`argument "b" is bound to memory group 1; in the xclbin, argument 4, "bo1", lies in 0`, func(c *kernel.Contract) { c.Arguments[2].MemoryGroup = 1 }, nil},
		"no group": {`argument 3, "bo0", is a`, nil, func(k *xclbintest.Kernel) { k.Arguments[3].Banks = nil }},
		"another scalar": {
			`has a scalar "count", a "uint32_t" of 4 bytes, at index 8, for which the contract has nothing`, nil,
			func(k *xclbintest.Kernel) {
				k.Arguments = append(k.Arguments, xclbintest.Scalar("count", "uint32_t", 4))
			},
		},
		"no instructions": {
			`has 77 words of instructions for a kernel with arguments`, func(c *kernel.Contract) { c.Arguments = c.Arguments[1:] },
			func(k *xclbintest.Kernel) { k.Arguments[1].Name = "code" },
		},
	} {
		contract := small.contract(t, "test")
		if c.contract != nil {
			c.contract(contract)
		}
		if _, err := newSignature(contract, compiled(t, c.kernel), 77); !errors.Is(err, device.ErrMismatch) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGroupsOfTheContext(t *testing.T) {
	t.Parallel()
	fake := newFake(t)
	k := &fakeKernel{handle: fake.handle("kernel", nil), compiled: compiled(t, nil)}
	s, err := newSignature(small.contract(t, "test"), k.compiled, 77)
	check(t, err)
	check(t, s.compare(k))
	fake.group = 1
	if err := s.compare(k); !errors.Is(err, device.ErrMismatch) || !strings.Contains(err.Error(), "XRT gives memory group 2 (0x10002), the xclbin's metadata 1") {
		t.Errorf("%v", err)
	}
}

func TestEncodeScalar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
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
	} {
		a := argument{kind: c.kind, size: c.size}
		if bits, err := a.encode(c.value); bits != c.bits || (err == nil) != c.ok {
			t.Errorf("%v as %s: %#x, %v", c.value, c.kind, bits, err)
		}
	}
}
