package npuwz

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
)

// zstd's numbers (RFC 8878, section 3.1.1).
const (
	frameMagic     = 0xFD2FB528
	skippableMagic = 0x184D2A50

	rawBlock, rleBlock, compressedBlock = 0, 1, 2

	oneSegmentSize4Checksum = 2<<6 | 1<<5 | 1<<2 // of the frame header: one segment, its size in 4 bytes, and a checksum
	huffmanFourStreams18    = 3<<2 | 2           // of a literals section: Huffman codes in four streams, sizes of 18 bits
)

const (
	blockBytes  = 64 << 10 // the longest block: each has a Huffman code of its own
	runBytes    = 2 << 10  // so many equal bytes are worth a block
	minHuffman  = 256      // what is shorter is stored
	sampleBytes = 16 << 10 // of a plane
)

// encoder makes zstd frames of planes. In weights there are no matches but by chance, and those cost more than their bytes as Huffman
// codes; where numbers follow a rule (Whisper's positions) there are. A sample of the planes tells which.
type encoder struct {
	huffman huff0.Scratch
	zstd    *zstd.Encoder
	sample  []byte
	ends    []int // of the planes of the sample
	other   []byte
}

// frame gives a zstd frame of content, in which planes end at ends, in the memory of out. It depends on nothing but them.
func (e *encoder) frame(out, content []byte, ends []int) ([]byte, error) {
	if e.zstd == nil {
		var err error
		if e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true), zstd.WithWindowSize(maxChunk), zstd.WithLowerEncoderMem(true)); err != nil {
			return nil, err
		}
	}
	e.sample, e.ends = sampleOf(e.sample[:0], content, e.ends[:0], ends)
	out = e.literals(out[:0], e.sample, e.ends)
	e.other = e.zstd.EncodeAll(e.sample, e.other[:0])
	matches := len(e.other) < len(out)
	out = e.literals(out[:0], content, ends)
	if matches {
		if e.other = e.zstd.EncodeAll(content, e.other[:0]); len(e.other) < len(out) {
			out = append(out[:0], e.other...)
		}
	}
	return out, nil
}

// sampleOf appends the middle of each plane.
func sampleOf(sample, content []byte, sampleEnds, ends []int) ([]byte, []int) {
	from := 0
	for _, end := range ends {
		n := min(end-from, sampleBytes)
		at := from + (end-from-n)/2
		sample = append(sample, content[at:at+n]...)
		sampleEnds, from = append(sampleEnds, len(sample)), end
	}
	return sample, sampleEnds
}

// literals appends a frame without matches: a block is a run of one byte, or Huffman codes, or stored where codes would not save 1/32.
func (e *encoder) literals(out, content []byte, ends []int) []byte {
	out = binary.LittleEndian.AppendUint32(out, frameMagic)
	out = append(out, oneSegmentSize4Checksum)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(content)))
	last, from := len(out), 0
	for _, end := range ends {
		for plane := content[from:end]; len(plane) > 0; {
			n := nextBlock(plane)
			last = len(out)
			out = e.block(out, plane[:n])
			plane = plane[n:]
		}
		from = end
	}
	out[last] |= 1 // Last_Block
	return binary.LittleEndian.AppendUint32(out, uint32(xxh64(content)))
}

// nextBlock says how long the first block of a plane is: up to where a run of one byte begins or ends.
func nextBlock(plane []byte) int {
	n, limit := 0, min(len(plane), blockBytes)
	for n+runBytes <= limit && same(plane[n:n+runBytes]) && plane[n] == plane[0] {
		n += runBytes
	}
	if n > 0 {
		return n
	}
	for n < limit && (n+runBytes > limit || !same(plane[n:n+runBytes])) {
		n = min(n+runBytes, limit)
	}
	return n
}

// same reports whether all bytes of b are equal.
func same(b []byte) bool {
	return b[0] == b[len(b)/2] && bytes.Equal(b[1:], b[:len(b)-1])
}

// block appends a block of b.
func (e *encoder) block(out, b []byte) []byte {
	if same(b) {
		return append(blockHeader(out, rleBlock, len(b)), b[0])
	}
	if len(b) >= minHuffman {
		e.huffman.Reuse, e.huffman.WantLogLess = huff0.ReusePolicyNone, 5
		if codes, _, err := huff0.Compress4X(b, &e.huffman); err == nil { // else they would not be shorter
			const literalsHeader, noSequences = 5, 1
			out = blockHeader(out, compressedBlock, literalsHeader+len(codes)+noSequences)
			sizes := uint64(huffmanFourStreams18) | uint64(len(b))<<4 | uint64(len(codes))<<22
			out = append(out, byte(sizes), byte(sizes>>8), byte(sizes>>16), byte(sizes>>24), byte(sizes>>32))
			return append(append(out, codes...), 0)
		}
	}
	return append(blockHeader(out, rawBlock, len(b)), b...)
}

// blockHeader appends the header of a block that is not the last.
func blockHeader(out []byte, kind, size int) []byte {
	h := kind<<1 | size<<3
	return append(out, byte(h), byte(h>>8), byte(h>>16))
}

// maxFrame is more than the bytes of a frame of n bytes: stored, with a block for each run.
func maxFrame(n int) int { return n + n/128 + 64 }
