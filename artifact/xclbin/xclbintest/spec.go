// Package xclbintest writes small xclbin files for tests, as XRT's own xclbinutil would, so that XRT loads them too. Their PDI is
// filler: no hardware runs them.
package xclbintest

import (
	"fmt"
	"io"
)

// Spec says what is in a file. The zero Spec is a file without sections.
type Spec struct {
	UUID          [16]byte // zero: made from the content, so that files that differ are known apart
	InterfaceUUID [16]byte
	VBNV          string
	Timestamp     uint64
	Banks         []Bank // MEM_TOPOLOGY; none: no such section
	Groups        []Bank // GROUP_TOPOLOGY; none: as Banks
	NoGroups      bool   // leaves out GROUP_TOPOLOGY and GROUP_CONNECTIVITY
	Kernels       []Kernel
	ColumnWidth   uint16 // 0: no AIE_PARTITION
	StartColumns  []uint16
	PDI           []byte
	Extra         []Section // come last
	Tail          []byte    // after the sections, such as mirror data
}

// Bank is an entry of a topology.
type Bank struct {
	Type, Used byte
	KiB, Base  uint64
	Tag        string
}

// Kernel is a kernel with its instances. Type is "dpu", or that of a kernel in programmable logic, "pl".
type Kernel struct {
	Name      string
	Type      string
	ID        uint16
	Instances []string
	Arguments []Argument // one after the other in the registers, from 0
}

// Argument is an argument of a kernel; its position is its index.
type Argument struct {
	Name, Type string
	Size       uint64
	Banks      []int // positions in Banks that it reaches; none: it is a scalar
	Groups     []int // positions in Groups; none: as Banks
}

// Section is a section of a kind that Spec says nothing of, or one more of another.
type Section struct {
	Kind uint32
	Name string
	Data []byte
}

// Scalar is an argument that is a number of the given size in bytes.
func Scalar(name, ctype string, size uint64) Argument {
	return Argument{Name: name, Type: ctype, Size: size}
}

// Buffer is an argument that is a buffer in a bank.
func Buffer(name, ctype string, bank int) Argument {
	return Argument{Name: name, Type: ctype, Size: 8, Banks: []int{bank}}
}

// The banks of MLIRAIE: buffers lie in HOST, instructions in SRAM.
const (
	Host = 0
	SRAM = 1
)

// MLIRAIE is a file as mlir-aie's tools make them: one kernel, MLIR_AIE, with arguments opcode, instr, ninstr, bo0 to bo4, on four columns
// from column 1. Callers may change what they get.
func MLIRAIE() Spec {
	banks := []Bank{
		{Type: 2, Used: 1, KiB: 0x10000, Base: 0x4000000, Tag: "HOST"},
		{Type: 2, Used: 1, KiB: 0xc000, Base: 0x4000000, Tag: "SRAM"},
	}
	return Spec{
		Timestamp: 1_700_000_000, Banks: banks, Kernels: []Kernel{MLIRAIEKernel("MLIR_AIE", 5)},
		ColumnWidth: 4, StartColumns: []uint16{1}, PDI: make([]byte, 256),
	}
}

// MLIRAIEKernel is a kernel with mlir-aie's arguments and the given number of buffers.
func MLIRAIEKernel(name string, buffers int) Kernel {
	k := Kernel{Name: name, Type: "dpu", ID: 0x901, Instances: []string{"MLIRAIE"}, Arguments: []Argument{
		Scalar("opcode", "uint64_t", 8), Buffer("instr", "char *", SRAM), Scalar("ninstr", "uint32_t", 4),
	}}
	for i := range buffers {
		k.Arguments = append(k.Arguments, Buffer(fmt.Sprintf("bo%d", i), "void*", Host))
	}
	return k
}

// Write writes the file that s says. It fails when a name does not fit its field.
func Write(w io.Writer, s Spec) error {
	b, err := Encode(s)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
