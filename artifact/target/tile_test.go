package target

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"npuw/artifact/element"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		target, err := Lookup(name)
		if err != nil || target.Name != name {
			t.Errorf("%s: %s, %v", name, target.Name, err)
		}
	}
	if _, err := Lookup("npu3"); err == nil || err.Error() != `no target is named "npu3"; there are npu1, npu2` {
		t.Error(err)
	}
}

// TestTargetsAsStated compares what is derived from the fields of descriptors with the numbers in which others state them.
func TestTargetsAsStated(t *testing.T) {
	t.Parallel()
	for _, target := range All() {
		for _, c := range []struct {
			level                       Level
			wrap, step, iterations, len uint64
		}{
			{target.Core, 255, 8 << 10, 64, 16<<10 - 1},
			{target.Memtile, 1023, 128 << 10, 64, 128<<10 - 1},
			{target.Shim, 1023, 1 << 20, 64, 1<<32 - 1},
		} {
			d := c.level.DMA
			if d.MaxWrap() != c.wrap || d.MaxStep() != c.step || d.MaxIterations() != c.iterations || d.MaxLength() != c.len {
				t.Errorf("%s %s: %+v", target.Name, c.level.Name, d)
			}
		}
		if step := target.Shim.DMA.MaxStep() * WordBytes; step != 4<<20 {
			t.Errorf("%s: the shim steps by %d bytes at most, want 4 MiB", target.Name, step)
		}
		for _, p := range target.Tiles {
			inUse := 0
			for _, m := range p.Tiles {
				if m.InUse {
					inUse++
				}
			}
			if inUse > 1 || inUse == 1 && !p.Tiles[0].InUse {
				t.Errorf("%s: %v by %v: the one in use comes first, and there is one at most", target.Name, p.A, p.B)
			}
		}
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target string
		a, b   Format
		want   string // and what m, k and n of a tile are multiples of
	}{
		{"npu1", BF16, BF16, "4x8x4 16 8 16"},
		{"npu1", Int8, Int8, "4x8x8 16 8 16"},
		{"npu1", Int16, Int16, "4x4x4 8 4 8"},
		{"npu1", Int8, Int4, ""},
		{"npu1", BFP16, BFP16, ""},
		{"npu2", BF16, BF16, "4x8x8 8 8 16"},
		{"npu2", Int8, Int8, "8x8x8 16 8 16"},
		{"npu2", Int16, Int16, "4x4x8 8 4 16"},
		{"npu2", BFP16, BFP16, ""},
	} {
		target, err := Lookup(c.target)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := target.InUse(c.a, c.b)
		got := ""
		if ok {
			got = fmt.Sprint(m, m.R*m.AcrossM, m.S, m.T*m.AcrossN)
		}
		if got != c.want {
			t.Errorf("%s, %v by %v: %s, want %s", c.target, c.a, c.b, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target string
		tile   Tile
		total  uint64
		faults []string
	}{
		{"npu1", Tile{M: 64, K: 64, N: 32, A: BF16, B: BF16, C: F32}, 2*(8192+4096+8192) + 1024, nil},
		{"npu1", Tile{M: 64, K: 64, N: 64, A: BF16, B: BF16, C: BF16}, 6*8192 + 1024, nil},
		{"npu1", Tile{M: 64, K: 64, N: 64, A: BF16, B: BF16, C: F32}, 65536 + 1024, []string{
			"two buffers each of A (8192 bytes), B (8192) and C (16384) and the stack (1024) take 66560 bytes, a core has 65536",
		}},
		{"npu1", Tile{M: 40, K: 60, N: 24, A: BF16, B: BF16, C: F32}, 2*(4800+2880+3840) + 1024, []string{
			"m=40 is no multiple of 16 (micro tiles of 4x8x4, 4 at once)",
			"k=60 is no multiple of 8 (micro tiles of 4x8x4)",
			"n=24 is no multiple of 16 (micro tiles of 4x8x4, 4 at once)",
		}},
		{"npu2", Tile{M: 40, K: 64, N: 48, A: BF16, B: BF16, C: F32}, 2*(5120+6144+7680) + 1024, nil},
		{"npu1", Tile{M: 64, K: 64, N: 64, A: Int8, B: Int8, C: Int32}, 2*(4096+4096+16384) + 1024, nil},
		{"npu1", Tile{M: 64, K: 64, N: 64, A: Int8, B: Int4, C: Int32, R: 4, S: 16, T: 8}, 2*(4096+2048+16384) + 1024, nil},
		{"npu1", Tile{M: 64, K: 64, N: 64, A: Int8, B: Int4, C: Int32}, 2*(4096+2048+16384) + 1024, []string{
			"no micro tile is in use for int8 by int4: name one of 4x16x8, 8x16x8, 4x32x8",
		}},
		{"npu1", Tile{M: 64, K: 64, N: 64, A: BFP16, B: BFP16, C: F32}, 2*(4608+4608+16384) + 1024, []string{
			"it does not multiply bfp16 by bfp16; it does bf16 by bf16, int8 by int8, int8 by int4, int16 by int16",
		}},
		{"npu2", Tile{M: 64, K: 64, N: 64, A: BFP16, B: BFP16, C: BFP16, R: 8, S: 8, T: 8}, 6*4608 + 1024, nil},
		{"npu2", Tile{M: 24, K: 64, N: 64, A: BFP16, B: BFP16, C: BFP16, R: 8, S: 8, T: 8}, 2*(1728+4608+1728) + 1024, []string{
			"m=24 is no multiple of 16 (micro tiles of 8x8x8, 2 at once)",
		}},
		{"npu1", Tile{M: 16, K: 16, N: 16, A: BF16, B: BF16, C: F32, R: 2, S: 8, T: 8}, 2*(512+512+1024) + 1024, []string{
			"it has no micro tile 2x8x8 for bf16 by bf16; it has 4x8x4, 4x8x8, 8x8x8, 8x8x4, 4x16x4, 4x16x8",
		}},
		{"npu1", Tile{K: 8, N: 16, A: BF16, B: BF16, C: F32}, 2*256 + 1024, []string{"m=0 is no multiple of 16"}},
		{"npu1", Tile{M: 1 << 63, K: 8, N: 16, A: BF16, B: BF16, C: F32}, 0, []string{"is far more than the 65536 bytes of a core's memory"}},
		{"npu1", Tile{M: 16, K: 8, N: 16, A: BF16, B: BF16}, 0, []string{"unknown element format: A is bf16, B bf16, C format(0)"}},
	} {
		target, err := Lookup(c.target)
		if err != nil {
			t.Fatal(err)
		}
		usage, err := target.Check(c.tile)
		if usage.Total != c.total {
			t.Errorf("%s, %+v: takes %+v, want %d", c.target, c.tile, usage, c.total)
		}
		if len(c.faults) == 0 {
			if err != nil {
				t.Errorf("%s, %+v: %v", c.target, c.tile, err)
			}
			continue
		}
		if !errors.Is(err, ErrUnfit) || strings.Count(err.Error(), ErrUnfit.Error()) != 1 || !strings.Contains(err.Error(), strings.Join(c.faults, "; ")) {
			t.Errorf("%s, %+v: %v\n\twant %s", c.target, c.tile, err, strings.Join(c.faults, "; "))
		}
	}
}

// TestDoubts: what the table of micro tiles says against the sources is marked.
func TestDoubts(t *testing.T) {
	t.Parallel()
	doubted := map[string]bool{}
	for _, target := range All() {
		for _, p := range target.Tiles {
			for _, m := range p.Tiles {
				if m.Doubt != "" {
					doubted[target.Name+" "+p.B.String()+" "+m.String()] = true
				}
				if m.InUse && m.Doubt != "" {
					t.Errorf("%s: %v is in use, so there can be no doubt", target.Name, m)
				}
			}
		}
	}
	for _, want := range []string{"npu1 bf16 4x16x4", "npu2 int8 8x16x8", "npu2 int4 8x8x8"} {
		if !doubted[want] {
			t.Errorf("%s is not marked", want)
		}
	}
}

// TestFormats: names and sizes are those of the package element, where it has the format.
func TestFormats(t *testing.T) {
	t.Parallel()
	for _, name := range FormatNames() {
		f, err := ParseFormat(name)
		if err != nil || f.String() != name || f.Bits() == 0 || f.Block() == 0 {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	for e := element.Format(1); e.Known(); e++ {
		f, err := ParseFormat(e.String())
		if decoded := e == element.NF4 || e == element.E8M0; decoded { // before a kernel multiplies it
			if err == nil {
				t.Errorf("%v is multiplied as %v", e, f)
			}
			continue
		}
		if err != nil || e.Bits() != f.Bits()*e.Values() || e.Values() != f.Block() {
			t.Errorf("%v has %d bits here, %d for %d there: %v", e, f.Bits(), e.Bits(), e.Values(), err)
		}
	}
	if _, err := ParseFormat("bf61"); err == nil || !strings.HasSuffix(err.Error(), "there are bf16, bfp16, f16, f32, f64, int16, int32, int4, int8") {
		t.Error(err)
	}
	if none := Format(0); none.Known() || none.Bits() != 0 || none.Block() != 1 || none.String() != "format(0)" {
		t.Error("format 0 is none")
	}
}
