package target

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// planned is a nest of loops and what must become of it at a level.
type planned struct {
	name        string
	level       Level
	loops       []Loop
	dims        string
	iteration   Loop
	outer       string
	descriptors uint64
	why         string
}

const farStep = "step: {2, 10000} moves by more than 8192 words; iteration: step: {2, 10000} moves by more than 8192 words"

var plans = []planned{
	{"one word", core(), nil, "{1, 1}", Loop{1, 0}, "", 1, ""},
	{"a whole operand as it lies", shim(), []Loop{{524288, 1}}, "{524288, 1}", Loop{1, 0}, "", 1, ""},
	{"as much as a memtile holds but a word", memtile(), []Loop{{131071, 1}}, "{131071, 1}", Loop{1, 0}, "", 1, ""},
	{"a whole memtile", memtile(), []Loop{{131072, 1}}, "{65536, 1}", Loop{2, 65536}, "", 1, ""},
	{"a core's whole memory", core(), []Loop{{16384, 1}}, "{8192, 1}", Loop{2, 8192}, "", 1, ""},
	{
		"row-major BF16 to panels, tiles and micro tiles, from DDR", shim(),
		[]Loop{{64, 16}, {64, 8192}, {8, 2}, {8, 1024}, {2, 1}},
		"{8, 2} {8, 1024} {2, 1}",
		Loop{64, 8192},
		"{64, 16}", 64, "dimensions: a descriptor has 3, none is left for {64, 8192}; iteration: taken by {64, 8192}",
	},
	{
		"the same of one panel in a memtile", memtile(),
		[]Loop{{64, 128}, {8, 2}, {8, 16}, {2, 1}},
		"{64, 128} {8, 2} {8, 16} {2, 1}",
		Loop{1, 0},
		"", 1, "",
	},
	{
		"in a core it takes the iteration", core(),
		[]Loop{{64, 128}, {8, 2}, {8, 16}, {2, 1}},
		"{8, 2} {8, 16} {2, 1}",
		Loop{64, 128},
		"", 1, "",
	},
	{"a wrap that is split", core(), []Loop{{4, 512}, {256, 1}}, "{4, 512} {2, 128} {128, 1}", Loop{1, 0}, "", 1, ""},
	{"the largest wrap", core(), []Loop{{4, 512}, {255, 1}}, "{4, 512} {255, 1}", Loop{1, 0}, "", 1, ""},
	{
		"a wrap that is prime", core(), []Loop{{4, 512}, {257, 1}}, "{257, 1}", Loop{4, 512}, "", 1, "",
	},
	{
		"a prime wrap and too many rounds", core(),
		[]Loop{{67, 512}, {257, 1}},
		"{257, 1}",
		Loop{1, 0},
		"{67, 512}", 67,
		"wrap: {257, 1} has more than 255 steps, and nothing within that divides it; iteration: {67, 512} has more than 64 steps",
	},
	{"the largest step", core(), []Loop{{2, 8192}, {2, 1}}, "{2, 8192} {2, 1}", Loop{1, 0}, "", 1, ""},
	{
		"a step too far", core(),
		[]Loop{{2, 8193}, {2, 1}},
		"{2, 1}",
		Loop{1, 0},
		"{2, 8193}", 2,
		"step: {2, 8193} moves by more than 8192 words; iteration: step: {2, 8193} moves by more than 8192 words",
	},
	{
		"4 MiB is the shim's largest step", shim(), []Loop{{8, 1 << 20}, {4, 1}}, "{8, 1048576} {4, 1}", Loop{1, 0}, "", 1, "",
	},
	{
		"panels that are further apart", shim(),
		[]Loop{{8, 1<<20 + 1}, {4, 1}},
		"{4, 1}",
		Loop{1, 0},
		"{8, 1048577}", 8,
		"step: {8, 1048577} moves by more than 1048576 words; iteration: step: {8, 1048577} moves by more than 1048576 words",
	},
	{
		"an inner step too far takes all around it out", core(),
		[]Loop{{3, 8}, {2, 10000}, {2, 1}},
		"{2, 1}",
		Loop{1, 0},
		"{3, 8} {2, 10000}", 6,
		farStep,
	},
	{
		"steps too far from word to word", core(),
		[]Loop{{5, 10000}},
		"{1, 1}",
		Loop{1, 0},
		"{5, 10000}", 5,
		"step: {5, 10000} moves by more than 8192 words; iteration: step: {5, 10000} moves by more than 8192 words",
	},
	{
		"iterations in two halves", shim(),
		[]Loop{{128, 7}, {2, 5000}, {2, 100}, {2, 1}},
		"{2, 5000} {2, 100} {2, 1}",
		Loop{64, 7},
		"{2, 448}", 2,
		"dimensions: a descriptor has 3, none is left for {128, 7}; iteration: {128, 7} has more than 64 steps",
	},
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, c := range plans {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.loops)
			p := c.level.DMA.Plan(c.loops)
			why := strings.Join(p.Why, "; ")
			if show(p.Dimensions) != c.dims || p.Iteration != c.iteration || show(p.Outer) != c.outer || p.Descriptors != c.descriptors || why != c.why {
				t.Errorf("%s, iteration %v, outer %q, %d descriptors, because %s\n", show(p.Dimensions), p.Iteration, show(p.Outer), p.Descriptors, why)
			}
			if p.Fits != (p.Descriptors <= 16) && c.level.Name != "memtile" {
				t.Errorf("%d descriptors, fits: %t", p.Descriptors, p.Fits)
			}
			if !slices.Equal(before, c.loops) {
				t.Error("the loops were changed")
			}
		})
	}
}

// TestMemtileDescriptors: of a memtile's 48 descriptors, a channel reaches half.
func TestMemtileDescriptors(t *testing.T) {
	t.Parallel()
	for n, fits := range map[uint64]bool{24: true, 25: false} {
		if p := memtile().DMA.Plan([]Loop{{n, 1 << 20}, {2, 1}}); p.Descriptors != n || p.Fits != fits {
			t.Errorf("%d descriptors, fits: %t, want %d, %t", p.Descriptors, p.Fits, n, fits)
		}
	}
}

// TestPlanVisits holds that descriptors go where the loops go, in the same order, within every limit of their fields.
func TestPlanVisits(t *testing.T) {
	t.Parallel()
	small := DMA{Dimensions: 3, WrapBits: 2, StepBits: 6, IterationBits: 2, LengthBits: 5, Reachable: 16}
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 6))
		var loops []Loop
		for range r.IntN(5) {
			loops = append(loops, Loop{2 + r.Uint64N(7), 1 + r.Uint64N(80)})
		}
		if r.IntN(2) == 0 {
			loops = append(loops, Loop{2 + r.Uint64N(40), 1})
		}
		d := small
		d.Dimensions += r.IntN(2)
		p := d.Plan(loops)
		checkLimits(t, d, p)
		var want, got []uint64
		walk(loops, 0, func(at uint64) { want = append(want, at) })
		whole := append(append(slices.Clone(p.Outer), p.Iteration), p.Dimensions...)
		walk(whole, 0, func(at uint64) { got = append(got, at) })
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s: %s, iteration %v, outer %s go elsewhere", seed, show(loops), show(p.Dimensions), p.Iteration, show(p.Outer))
		}
		if (len(p.Why) > 0) != (p.Descriptors > 1) || slices.Contains(p.Why, "") {
			t.Fatalf("seed %d: %s: %d descriptors, because %q", seed, show(loops), p.Descriptors, p.Why)
		}
	}
}

func checkLimits(t *testing.T, d DMA, p Plan) {
	t.Helper()
	if len(p.Dimensions) == 0 || len(p.Dimensions) > d.Dimensions || p.Words() > d.MaxLength() || p.Iteration.Size > d.MaxIterations() {
		t.Fatalf("%s, %v: beyond the descriptor", show(p.Dimensions), p.Iteration)
	}
	for i, l := range append([]Loop{p.Iteration}, p.Dimensions...) {
		if l.Size > 1 && (l.Step > d.MaxStep() || l.Step == 0) {
			t.Fatalf("%v: beyond the step", l)
		}
		if i > 1 && l.Size > d.MaxWrap() {
			t.Fatalf("%s: %v is beyond the wrap", show(p.Dimensions), l)
		}
	}
	descriptors := uint64(1)
	for _, l := range p.Outer {
		descriptors *= l.Size
	}
	if descriptors != p.Descriptors {
		t.Fatalf("%d descriptors for %s", p.Descriptors, show(p.Outer))
	}
}
