package xclbin_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"npuw/artifact/xclbin"
	"npuw/artifact/xclbin/xclbintest"
)

// vadd is a kernel in programmable logic.
func vadd() xclbintest.Kernel {
	return xclbintest.Kernel{
		Name: "vadd", Type: "pl", Instances: []string{"vadd_1", "vadd_2"},
		Arguments: []xclbintest.Argument{
			xclbintest.Buffer("in", "int*", xclbintest.Host), xclbintest.Buffer("out", "int*", xclbintest.Host), xclbintest.Scalar("n", "int", 4),
		},
	}
}

// variants are files as tools of different makes and ages write them.
func variants() map[string]xclbintest.Spec {
	out := map[string]xclbintest.Spec{"mlir-aie": xclbintest.MLIRAIE(), "no sections": {}}
	vary := func(name string, change func(*xclbintest.Spec)) {
		s := xclbintest.MLIRAIE()
		change(&s)
		out[name] = s
	}
	vary("a PL kernel too", func(s *xclbintest.Spec) {
		s.Kernels = append([]xclbintest.Kernel{vadd()}, s.Kernels...)
		s.Extra = []xclbintest.Section{{Kind: uint32(xclbin.Bitstream), Name: "empty"}}
	})
	vary("PL only", func(s *xclbintest.Spec) {
		s.Kernels, s.ColumnWidth, s.NoGroups = []xclbintest.Kernel{vadd()}, 0, true
	})
	vary("no groups", func(s *xclbintest.Spec) { s.NoGroups = true })
	vary("empty groups", func(s *xclbintest.Spec) {
		s.NoGroups = true
		s.Extra = []xclbintest.Section{{Kind: uint32(xclbin.GroupTopology)}, {Kind: uint32(xclbin.GroupConnectivity)}}
	})
	vary("groups of banks", func(s *xclbintest.Spec) {
		s.Groups = append(s.Banks[:2:2], xclbintest.Bank{Type: 2, Used: 1, KiB: 0x1c000, Base: 0x4000000, Tag: "HOST+SRAM"})
		s.Kernels[0].Arguments[4].Groups = []int{2}
	})
	vary("memory that does not count", func(s *xclbintest.Spec) {
		s.Banks = append(s.Banks, xclbintest.Bank{Type: 2, Tag: "unused"}, xclbintest.Bank{Type: 9, Used: 1, Tag: "stream"})
		s.Kernels[0].Arguments[3].Banks = []int{2, 0, 3, 0}
	})
	vary("several topologies", func(s *xclbintest.Spec) {
		one := append([]byte{1, 0, 0, 0}, make([]byte, 44)...)
		s.Extra = []xclbintest.Section{{Kind: uint32(xclbin.MemTopology), Data: one}, {Kind: uint32(xclbin.GroupTopology), Data: one}}
	})
	vary("mirror data", func(s *xclbintest.Spec) {
		s.Tail = []byte("XCLBIN_MIRROR_DATA_START{}\nXCLBIN_MIRROR_DATA_END")
	})
	vary("other arguments", func(s *xclbintest.Spec) {
		s.VBNV, s.InterfaceUUID = "amd_npu_1_0", [16]byte{15: 7}
		s.Kernels[0] = xclbintest.Kernel{
			Name: "gemm <&\">", Type: "dpu", ID: 0xfff, Instances: []string{"a", "b"},
			Arguments: []xclbintest.Argument{xclbintest.Buffer("instr", "char *", xclbintest.SRAM), xclbintest.Scalar("count", "uint64_t", 8)},
		}
		s.StartColumns, s.ColumnWidth = []uint16{0, 1, 2, 3}, 1
	})
	return out
}

// groups gives the memory group of each argument of a kernel.
func groups(t *testing.T, f *xclbin.File, name string) []int32 {
	t.Helper()
	k := f.Kernel(name)
	if k == nil {
		t.Fatalf("there is no kernel %q", name)
	}
	var out []int32
	for _, a := range k.Arguments {
		out = append(out, a.MemoryGroup)
	}
	return out
}

func TestVariants(t *testing.T) {
	t.Parallel()
	const none = xclbin.NoGroup
	plain := []int32{none, 1, none, 0, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		kernels   map[string][]int32 // memory groups of the arguments
		instances []xclbin.Instance  // of the last kernel
		groups    int
		columns   []uint16 // nil: no partition
	}{
		"mlir-aie":                   {map[string][]int32{"MLIR_AIE": plain}, []xclbin.Instance{{"MLIRAIE", 0}}, 2, []uint16{1}},
		"no sections":                {},
		"a PL kernel too":            {map[string][]int32{"MLIR_AIE": plain, "vadd": {0, 0, none}}, []xclbin.Instance{{"MLIRAIE", 2}}, 2, []uint16{1}},
		"PL only":                    {map[string][]int32{"vadd": {0, 0, none}}, []xclbin.Instance{{"vadd_1", 0}, {"vadd_2", 1}}, 2, nil},
		"no groups":                  {map[string][]int32{"MLIR_AIE": plain}, []xclbin.Instance{{"MLIRAIE", 0}}, 2, []uint16{1}},
		"empty groups":               {map[string][]int32{"MLIR_AIE": plain}, []xclbin.Instance{{"MLIRAIE", 0}}, 2, []uint16{1}},
		"groups of banks":            {map[string][]int32{"MLIR_AIE": {none, 1, none, 0, 2, 0, 0, 0}}, []xclbin.Instance{{"MLIRAIE", 0}}, 3, []uint16{1}},
		"memory that does not count": {map[string][]int32{"MLIR_AIE": plain}, []xclbin.Instance{{"MLIRAIE", 0}}, 4, []uint16{1}},
		"several topologies":         {map[string][]int32{"MLIR_AIE": plain}, []xclbin.Instance{{"MLIRAIE", 0}}, 2, []uint16{1}},
		"mirror data":                {map[string][]int32{"MLIR_AIE": plain}, []xclbin.Instance{{"MLIRAIE", 0}}, 2, []uint16{1}},
		"other arguments":            {map[string][]int32{`gemm <&">`: {1, none}}, []xclbin.Instance{{"a", 0}, {"b", 1}}, 2, []uint16{0, 1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := mustRead(t, encode(t, variants()[name]))
			got := map[string][]int32{}
			var instances []xclbin.Instance
			for _, k := range f.Kernels {
				got[k.Name], instances = groups(t, f, k.Name), k.Instances
			}
			if c.kernels == nil {
				c.kernels = got
			}
			var columns []uint16
			if f.Partition != nil {
				columns = f.Partition.StartColumns
			}
			if diff := cmp.Diff(c.kernels, got) + cmp.Diff(c.instances, instances) + cmp.Diff(c.columns, columns); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(f.Groups) != c.groups {
				t.Errorf("%d groups, want %d", len(f.Groups), c.groups)
			}
		})
	}
}

// Everything that was written is read.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, s := range variants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := mustRead(t, encode(t, s))
			if f.VBNV != s.VBNV || f.InterfaceUUID != s.InterfaceUUID || f.Timestamp != s.Timestamp || f.UUID == (xclbin.UUID{}) {
				t.Errorf("header %q %v %d %v", f.VBNV, f.InterfaceUUID, f.Timestamp, f.UUID)
			}
			for i, b := range s.Banks {
				want := xclbin.Memory{Type: xclbin.MemoryType(b.Type), Used: b.Used != 0, KiB: b.KiB, Base: b.Base, Tag: b.Tag}
				if f.Memories[i] != want {
					t.Errorf("memory %+v, want %+v", f.Memories[i], want)
				}
			}
			for i, k := range s.Kernels {
				got := f.Kernels[i]
				if got.Name != k.Name || got.Type != k.Type || got.ID != uint64(k.ID) || len(got.Instances) != len(k.Instances) {
					t.Errorf("kernel %+v, want %+v", got, k)
				}
				offset := uint64(0)
				for j, a := range k.Arguments {
					if g := got.Arguments[j]; g.Name != a.Name || g.Index != j || g.Type != a.Type || g.Size != a.Size || g.HostSize != a.Size ||
						g.Offset != offset || g.Buffer() != (len(a.Banks) > 0) {
						t.Errorf("argument %+v, want %+v at %d", g, a, offset)
					}
					offset += a.Size
				}
			}
			if p := f.Partition; s.ColumnWidth > 0 && (p.ColumnWidth != s.ColumnWidth || p.PDIs[0].Size != int64(len(s.PDI))) {
				t.Errorf("partition %+v, want %d columns and a PDI of %d bytes", p, s.ColumnWidth, len(s.PDI))
			}
		})
	}
}

// An argument that reaches several memories lies in the last.
func TestLargestMemory(t *testing.T) {
	t.Parallel()
	s := xclbintest.MLIRAIE()
	s.Kernels[0].Arguments[3].Banks = []int{1, 0, 1, 1}
	a := mustRead(t, encode(t, s)).Kernel("MLIR_AIE").Argument("bo0")
	if diff := cmp.Diff([]int32{0, 1}, a.Memories); diff != "" || a.MemoryGroup != 1 {
		t.Errorf("group %d, memories %v", a.MemoryGroup, a.Memories)
	}
}

func TestEncodeRefusesLongNames(t *testing.T) {
	t.Parallel()
	const long = "a name that is longer than the field that it must fit into, whichever field"
	for name, change := range map[string]func(*xclbintest.Spec){
		"platform": func(s *xclbintest.Spec) { s.VBNV = long },
		"bank":     func(s *xclbintest.Spec) { s.Banks[0].Tag = long },
		"kernel":   func(s *xclbintest.Spec) { s.Kernels[0].Name = long },
		"section":  func(s *xclbintest.Spec) { s.Extra = []xclbintest.Section{{Name: long}} },
	} {
		s := xclbintest.MLIRAIE()
		change(&s)
		if err := xclbintest.Write(nil, s); err == nil {
			t.Errorf("%s: a name too long was written", name)
		}
	}
}
