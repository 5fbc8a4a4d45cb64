//go:build xrt

package swnpu

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"npuw/runtime/xrt/gemmtest"
	"npuw/runtime/xrt/teststream"
)

// stream is a test instruction stream.
type stream []uint32

func decode(data []byte) stream {
	s := make(stream, len(data)/4)
	for i := range s {
		s[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return s
}

func (s stream) encode() []byte {
	var data []byte
	for _, word := range s {
		data = binary.LittleEndian.AppendUint32(data, word)
	}
	return data
}

func (s stream) set(at int, word uint32) stream {
	s[at] = word
	return s
}

// TestDamagedStreams executes streams with random damage: whatever they say, nothing outside of the buffers is touched.
func TestDamagedStreams(t *testing.T) {
	t.Parallel()
	const count = 20000
	data, err := teststream.Encode(gemmtest.Small.Contract(t, "gemm"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	values := []uint32{0, 1, 2, 3, 4, 7, 8, 16, 24, 40, 4096, 1 << 16, 1 << 31, 1<<32 - 1}
	var in bytes.Buffer
	for i := range count {
		s := decode(data)
		for range r.IntN(4) {
			if i%2 == 0 {
				s[r.IntN(len(s))] = values[r.IntN(len(values))]
			} else {
				s[r.IntN(len(s))] ^= 1 << r.IntN(32)
			}
		}
		if r.IntN(10) == 0 {
			s = s[:r.IntN(len(s)+1)]
		}
		in.Write(stream{uint32(len(s))}.encode())
		in.Write(s.encode())
	}
	cmd := exec.Command(built.streams)
	cmd.Stdin = &in
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(out)) {
		seen[line]++
	}
	if total := strings.Count(string(out), "\n"); total != count || seen["ok\n"] < count/8 || len(seen) < 10 {
		t.Errorf("%d streams, with %d outcomes, %d ok; damage is not what it should be: %v", total, len(seen), seen["ok\n"], seen)
	}
}
