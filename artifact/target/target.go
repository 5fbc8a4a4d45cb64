// Package target holds what an NPU can do, as data: the micro tiles its cores multiply, the sizes of its memories, and what its
// DMAs can address. Pure functions over them answer what a kernel author asks: does a tile fit a core, and which buffer
// descriptors would put data in the order of a layout.
//
// An NPU is columns of tiles in hardware, each with its own memory and DMA; data come up from DDR:
//
//	core     64 KiB   4 in a column; a tile of A, B and C at a time, each twice: one is filled while the other is read
//	memtile 512 KiB   one in a column
//	shim       DDR    one in a column: the way to and from operands
//
// # Descriptors
//
// A DMA moves whole 32-bit words. A buffer descriptor says in which order it reads (or writes) them: nested loops, {size, step}
// each, in words, over a base address and a length. The fields of a descriptor bound them (AM025, DMA_BDx_y):
//
//   - The outermost loop of a descriptor has no wrap of its own: it goes on until the length is reached. Every other loop has
//     1 to 2^WrapBits-1 steps, as 0 in the field means "do not wrap".
//   - A step is 1 to 2^StepBits words ("actual - 1"). A step of 0 words cannot be had.
//   - A length is at most 2^LengthBits-1 words.
//   - Beyond its dimensions, a descriptor can be run 1 to 2^IterationBits times, its base moving by one more step each time.
//
// What [Stream] computes: data lie in memory in the order of one layout (row-major, say) and are wanted in the order of another,
// element by element, whole or piece by piece. Both orders are digits, so the answer is a nest of loops over elements, one for each
// digit of the wanted order from outermost to innermost, cut where the order in memory has a digit's end; neighbours that are one
// loop in two parts are merged. [InWords] gives it in words, or says why the DMA cannot move it: the innermost run must be whole
// words, and so must be every step. [DMA.Plan] puts the innermost loops into the dimensions of a descriptor, splitting a loop
// that is beyond its wrap, the next into the iteration, and counts how many descriptors the loops that are left ask for.
package target

import (
	"fmt"
	"strings"
)

const (
	// WordBytes is what a DMA moves at a time, and what addresses, steps and lengths count (AM025; mlir-aie,
	// AIETargetModel::getAddressGenGranularity).
	WordBytes = 4
	// VectorAlign is the alignment in bytes of vector loads from a core's memory, 256 bits wide (aie_api, "Memory").
	VectorAlign = 32
)

// Target is an NPU.
type Target struct {
	Name    string // "npu1"
	Arch    string // of its cores: "AIE2"
	Chips   string // in which it is sold: "Phoenix, Hawk Point"
	Columns int    // that a program can have
	Rows    int    // of cores in a column
	Core    Level
	Memtile Level
	Shim    Level
	Tiles   []MicroTiles
}

// Level is one of the places in a column at which data lie.
type Level struct {
	Name  string // "core", "memtile", "shim"
	Bytes uint64 // of the memory; 0 for the shim, which has DDR
	// Reserved is how many bytes of the memory buffers cannot have at least.
	Reserved uint64
	DMA      DMA
}

// DMA is what the descriptors of a level can say.
type DMA struct {
	Dimensions    int // without the iteration
	WrapBits      int // of every dimension but the outermost
	StepBits      int
	IterationBits int
	LengthBits    int
	Descriptors   int
	Reachable     int   // descriptors that one channel can use
	Bursts        []int // in bytes, ascending, where it goes through AXI to DDR
}

// MaxWrap is the largest size of a loop other than a descriptor's outermost.
func (d DMA) MaxWrap() uint64 { return 1<<d.WrapBits - 1 }

// MaxStep is the largest step, in words.
func (d DMA) MaxStep() uint64 { return 1 << d.StepBits }

// MaxIterations is how often one descriptor runs at most.
func (d DMA) MaxIterations() uint64 { return 1 << d.IterationBits }

// MaxLength is how many words one run of a descriptor moves at most.
func (d DMA) MaxLength() uint64 { return 1<<d.LengthBits - 1 }

// Levels are where data lie on their way from DDR to a core, in that order.
func (t Target) Levels() []Level { return []Level{t.Shim, t.Memtile, t.Core} }

// All returns the targets, oldest first.
func All() []Target { return []Target{npu1(), npu2()} }

// Names returns the names of the targets, oldest first.
func Names() []string {
	var names []string
	for _, t := range All() {
		names = append(names, t.Name)
	}
	return names
}

// Lookup returns the target of that name. The error lists those that there are.
func Lookup(name string) (Target, error) {
	for _, t := range All() {
		if t.Name == name {
			return t, nil
		}
	}
	return Target{}, fmt.Errorf("no target is named %q; there are %s", name, strings.Join(Names(), ", "))
}
