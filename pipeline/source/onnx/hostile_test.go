package onnx

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"npuw/pipeline/source"
	pb "npuw/schema/onnxpb"
)

// Graphs that nobody exports: what they cost is bounded, and the error names what is at fault.
//
// Not parallel: it counts what the process allocates, and takes the time.
func TestHostileGraphs(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	identity := func(from, to string) []byte {
		return lengthDelimited(1, join(lengthDelimited(1, []byte(from)), lengthDelimited(2, []byte(to)), lengthDelimited(4, []byte("Identity"))))
	}
	for _, x := range []struct {
		name  string
		file  func() []byte
		want  error // nil: accepted
		parts []string
	}{
		{"a million Identity nodes", func() []byte {
			var nodes []byte
			for i := range 1 << 20 {
				nodes = append(nodes, identity(fmt.Sprint(i), fmt.Sprint(i+1))...)
			}
			return lengthDelimited(7, nodes)
		}, source.ErrLimit, []string{`Identity node of output "65537"`, "65536 nodes"}},
		{"a chain of Identity nodes, the last first", func() []byte {
			var nodes []byte
			for i := maxNodes - 1; i >= 0; i-- {
				nodes = append(nodes, identity(fmt.Sprint(i), fmt.Sprint(i+1))...)
			}
			return lengthDelimited(7, join(nodes, lengthDelimited(5, marshalAny(t, floatTensor("0", 2)))))
		}, nil, nil},
		{"a ring of Identity nodes", func() []byte {
			var nodes []byte
			for i := range maxNodes {
				nodes = append(nodes, identity(fmt.Sprint(i), fmt.Sprint((i+1)%maxNodes))...)
			}
			return lengthDelimited(7, nodes)
		}, source.ErrCorrupt, []string{"Identity node of output", "depends on itself"}},
		{"a value that every node reads often", func() []byte {
			node := lengthDelimited(1, append(bytes.Repeat(lengthDelimited(1, []byte("x")), 5), lengthDelimited(4, []byte("Sum"))...))
			return lengthDelimited(7, bytes.Repeat(node, maxNodes/2))
		}, nil, nil},
		{"names of nothing, as many as there may be", func() []byte {
			var nodes, inputs []byte
			for i := range maxMemory/(stringMemory+8) - 1000 {
				if inputs = append(inputs, lengthDelimited(1, fmt.Appendf(nil, "%07d", i))...); i%60000 == 59999 {
					nodes, inputs = append(nodes, lengthDelimited(1, inputs)...), nil
				}
			}
			return lengthDelimited(7, nodes)
		}, nil, nil},
		{"a value produced by every node", func() []byte {
			return lengthDelimited(7, bytes.Repeat(identity("x", "y"), maxNodes))
		}, source.ErrCorrupt, []string{`Identity node of output "y"`, "produced elsewhere"}},
		{"a thousand Ifs, each in the one before", func() []byte {
			var b []byte
			for range 1000 {
				b = lengthDelimited(1, join(lengthDelimited(4, []byte("If")), lengthDelimited(5, join(lengthDelimited(1, []byte("then_branch")), lengthDelimited(6, b)))))
			}
			return lengthDelimited(7, b)
		}, source.ErrLimit, []string{"If node", `"then_branch"`, "32 graphs deep"}},
		{"every branch an If of two branches", func() []byte { return marshalAny(t, &pb.ModelProto{Graph: tree(14)}) }, nil, nil},
		{"an attribute of 140 million of numbers", func() []byte {
			return lengthDelimited(7, lengthDelimited(1, join(lengthDelimited(4, []byte("Pad")), lengthDelimited(5, join(lengthDelimited(1, []byte("pads")), lengthDelimited(8, make([]byte, 140<<20)))))))
		}, source.ErrLimit, []string{"Pad node", `"pads"`}},
		{"an attribute that is a string of 80 MB", func() []byte {
			return lengthDelimited(7, lengthDelimited(1, join(lengthDelimited(4, []byte("Pad")), lengthDelimited(5, join(lengthDelimited(1, []byte("mode")), lengthDelimited(4, make([]byte, 80<<20)))))))
		}, source.ErrLimit, []string{"Pad node", `"mode"`}},
		{"a tensor of 80 MB of numbers, unpacked", func() []byte {
			data := bytes.Repeat(protowire.AppendFixed32(protowire.AppendTag(nil, 4, protowire.Fixed32Type), 0), 17<<20)
			return lengthDelimited(7, lengthDelimited(5, join(varintField(1, 17<<20), varintField(2, 1), lengthDelimited(8, []byte("w")), data)))
		}, source.ErrLimit, []string{`tensor "w"`, "raw_data"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			file := x.file()
			runtime.GC()
			before, start := allocated(), time.Now()
			m, err := walkBytes(file)
			if x.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				_, err = m.Weights()
			} else {
				wantError(t, err, x.want, append(x.parts, "m.onnx")...)
			}
			if used := allocated() - before; used > 4*maxMemory {
				t.Errorf("%d bytes allocated", used)
			}
			kept := inUse(m)
			t.Logf("%d bytes kept, of %d that are counted", kept, maxMemory)
			if kept > maxMemory {
				t.Errorf("%d bytes kept", kept)
			}
			if took := time.Since(start); took > time.Minute { // far more than it takes, even with the race detector on a busy machine
				t.Errorf("took %v", took)
			}
			if err != nil && x.want == nil {
				t.Error(err)
			}
		})
	}
}

// tree is a graph of Ifs within Ifs, depth deep.
func tree(depth int) *pb.GraphProto {
	g := &pb.GraphProto{}
	if depth > 0 {
		g.Node = append(g.Node, node("If", "", "c", "", graphAttr("then_branch", tree(depth-1)), graphAttr("else_branch", tree(depth-1))))
	}
	return g
}

// inUse is the memory in use while m is, beside that of the test before.
func inUse(m *Model) uint64 {
	runtime.GC()
	var with, without runtime.MemStats
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(m)
	m = nil
	runtime.GC()
	runtime.ReadMemStats(&without)
	return with.HeapAlloc - min(without.HeapAlloc, with.HeapAlloc)
}
