// Package npuwz makes .npuw artifacts small to ship. A .npuwz file holds a whole artifact, a .npuwd file (a delta) those segments of
// one that another artifact does not have. What comes out again is the artifact, byte for byte, verified before it has its name.
//
//	+-------+---------+---------+--- ... ---+------------+
//	| front | frame 1 | frame 2 |           | seek table |     zstd frames; front and seek table are skippable ones
//	+-------+---------+---------+--- ... ---+------------+
//	    |         |
//	    |         chunk 1 of the artifact, at most 1 MiB: of its index, then of its segments
//	    the artifact's header; for each chunk its length, and how its bytes are sorted
//
// Floats do not compress as they lie. So the bytes of a chunk are first sorted into planes, as its operand's element format and layout
// ask for: all exponents come together, which make a third of their length as Huffman codes; all mantissas, which are stored. All that
// is read from a file is checked before it is used, and memory is a few MiB a worker, whatever the size. schema/FORMAT.md, section A,
// has the byte map.
package npuwz

import (
	"runtime"

	"npuw/artifact"
)

// Options say how to work. The zero value works with as many workers as there are processors, and syncs the output to the disk.
type Options struct {
	Jobs   int  // workers; 0: one a processor
	NoSync bool // leaves fsync out, for scratch work
	// Progress, when not nil, is told how many bytes of the artifact have been done since it was last called, and how many there are in all.
	Progress func(bytes, all int64)
}

// maxJobs bounds the number of workers, each of which has some MiB of buffers.
const maxJobs = 256

func (o *Options) jobs() int {
	if o.Jobs <= 0 {
		return min(runtime.GOMAXPROCS(0), maxJobs)
	}
	return min(o.Jobs, maxJobs)
}

func (o *Options) progress(bytes, all uint64) {
	if o.Progress != nil {
		o.Progress(int64(bytes), int64(all))
	}
}

// Result says what was done.
type Result struct {
	Artifact artifact.Header // of what was compressed, or made again
	Stored   int64           // bytes of the .npuwz or .npuwd file
	Segments int             // of the artifact
	Carried  int             // segments that the file holds
}
