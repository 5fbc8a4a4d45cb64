package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/pipeline/model"
	"npuw/pipeline/plan"
	"npuw/pipeline/recipe"
	"npuw/pipeline/source"
	"npuw/schema/pyreader"
)

// coded is a tensor made of codes, as a file of some kind would hold it: it decodes its values and gives its blocks.
type coded struct {
	scheme element.Scheme
	shape  []int // of the tensor
	block  []int
	grid   []int
	blocks []element.Block
	values []float32
	asked  atomic.Int64 // the most blocks that were read at a time
	fault  error        // of reading blocks
}

func (c *coded) Decode(_ *source.Catalogue, dst []byte, offset int64) error {
	for i := range len(dst) / 4 {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(c.values[offset/4+int64(i)]))
	}
	return nil
}

func (c *coded) ReadBlocks(_ *source.Catalogue, dst []element.Block, first, count []uint64) error {
	box, n := ints(count), 0
	eachOf(box, func(index []int) {
		for a := range index {
			index[a] += int(first[a])
		}
		dst[n] = c.blocks[flat(index, c.grid)]
		n++
	})
	if n != len(dst) {
		return fmt.Errorf("%d blocks for %d", n, len(dst))
	}
	for most := c.asked.Load(); int64(n) > most && !c.asked.CompareAndSwap(most, int64(n)); most = c.asked.Load() {
	}
	return c.fault
}

// numberOf is what a code decodes to.
func numberOf(code int, f element.Format) float64 {
	switch {
	case f == element.NF4:
		return nf4[code]
	case f == element.I8:
		return float64(int8(code))
	case f == element.I4 && code > 7:
		return float64(code - 16)
	}
	return float64(code)
}

// coded makes one of a shape, with codes, scales and zeros at random: all codes, scales of either sign, 0 and the smallest.
func (r *random) coded(shape, block []int, s element.Scheme) *coded {
	c := &coded{scheme: s, shape: shape, block: block}
	n := 1
	for a := range shape {
		c.grid = append(c.grid, (shape[a]-1)/block[a]+1)
		n *= c.grid[a]
	}
	for range n {
		_, scale := rounded(r.NormFloat64()*math.Ldexp(1, -r.IntN(12)), s.Scales)
		switch k := r.IntN(12); {
		case s.Scales == element.E8M0:
			scale = math.Ldexp(1, r.IntN(200)-127)
		case k == 0:
			scale = 0
		case k == 1:
			scale = math.Copysign(0, -1)
		case k == 2:
			scale = map[element.Format]float64{element.F32: -0x1p-149, element.F16: 0x1p-24, element.BF16: 0x1p-133}[s.Scales]
		}
		b := element.Block{Scale: scale}
		if s.Zeros != 0 {
			b.Zero = numberOf(r.IntN(1<<s.Zeros.Bits()), s.Zeros)
		}
		c.blocks = append(c.blocks, b)
	}
	eachOf(shape, func(index []int) {
		for a := range index {
			index[a] /= block[a]
		}
		b := c.blocks[flat(index, c.grid)]
		c.values = append(c.values, float32((numberOf(r.IntN(1<<s.Codes.Bits()), s.Codes)-b.Zero)*b.Scale))
	})
	return c
}

// keptScheme is one that a source may have.
func (r *random) keptScheme() element.Scheme {
	for {
		if s := r.scheme(); s.Minimums == 0 {
			return s
		}
	}
}

// parameter is c as a parameter of a model.
func (c *coded) parameter(name, axes string, perm []int) model.Parameter {
	p := model.Parameter{Name: name, Axes: axes, Perm: perm, Tensor: source.Tensor{
		Name: "tensor " + name, Type: element.F32, Shape: wide(c.shape), Stored: "codes",
		Data:  source.Data{Size: int64(4 * len(c.values)), Decoder: c},
		Codes: &source.Codes{Scheme: c.scheme, Block: wide(c.block), Blocks: c},
	}}
	for _, t := range perm {
		p.Shape = append(p.Shape, uint64(c.shape[t]))
	}
	return p
}

// float32s are the bytes of c's values in the order of a parameter.
func (c *coded) float32s(p *model.Parameter) []byte {
	var b []byte
	eachOf(ints(p.Shape), func(index []int) {
		at := make([]int, len(index))
		for i, t := range p.Perm {
			at[t] = index[i]
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(c.values[flat(at, c.shape)]))
	})
	return b
}

// keptPlan is the plan that a recipe makes of parameters.
func keptPlan(t testing.TB, text string, list ...model.Parameter) (*source.Catalogue, *plan.Plan, error) {
	t.Helper()
	c, m := store(t)
	m.Parameters = list
	r, err := recipe.Parse("kept.txtpb", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(m, r)
	return c, p, err
}

// checkKept packs kept codes with windows of several sizes, and compares each parameter with what the source's codes stand for.
func checkKept(t *testing.T, c *source.Catalogue, p *plan.Plan, tensors []*coded, windows ...uint64) {
	t.Helper()
	var first []byte
	for i, window := range windows {
		path := packed(t, c, p, 1+i%3, window)
		if got := read(t, path); first == nil {
			first = got
		} else if !bytes.Equal(got, first) {
			t.Errorf("windows of %d give other bytes", window)
		}
		if i > 0 {
			continue
		}
		f := verified(t, path)
		for k, x := range tensors {
			q := &p.Model.Parameters[k]
			v, err := f.ParameterValues(q.Name)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := v.WriteFloat32(&got); err != nil {
				t.Fatal(err)
			}
			if want := x.float32s(q); !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: other values than the source's", q.Name)
			}
		}
		for _, o := range f.Index.Operands {
			if s := o.Statistics; s.Inexact != 0 || s.NonFinite != 0 || s.MaxAbsError != 0 || s.SumXD != 0 || s.SumDD != 0 || s.Elements == 0 {
				t.Errorf("%s: statistics %+v of what is kept", o.Name, s)
			}
		}
	}
}

// TestKeepRandom keeps codes at random: in all schemes, in blocks of all sizes, in both orders of the source, joined, sliced by groups and
// padded, in layouts with digits in any order, scales apart or in records. What comes back is what the source's codes stand for, bit for bit.
func TestKeepRandom(t *testing.T) {
	t.Parallel()
	count := 240
	if testing.Short() {
		count = 40
	}
	for shard := range 4 {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			done := 0
			defer func() {
				if done < count/8 {
					t.Errorf("%d of %d recipes could be packed", done, count/4)
				}
			}()
			for seed := shard; seed < count; seed += 4 {
				r := &random{Rand: rand.New(rand.NewPCG(uint64(seed), 11))}
				text, tensors, list := r.kept()
				c, p, err := keptPlan(t, text, list...)
				if err != nil { // of layouts and records at random, not all go with what the source has
					if !strings.Contains(err.Error(), "share a byte") && !strings.Contains(err.Error(), "record") {
						t.Fatalf("seed %d: %v\n%s", seed, err, text)
					}
					continue
				}
				done++
				checkKept(t, c, p, tensors, windowElements, 1, uint64(1+r.IntN(5000)))
				if t.Failed() {
					t.Fatalf("seed %d: %+v\n%s", seed, tensors[0].scheme, text)
				}
			}
		})
	}
}

// kept makes a rule, and the parameters that it takes: matrices side by side, or a convolution.
func (r *random) kept() (text string, tensors []*coded, list []model.Parameter) {
	s, perm := r.keptScheme(), r.Perm(2)
	n, k, parts := 2*(1+r.IntN(40)), 1+r.IntN(150), 1
	shape := []int{n, k}
	blocks := []int{divisor(r.Rand, n), 1 + r.IntN(k)}
	if r.IntN(3) == 0 {
		blocks[0] = n + r.IntN(2)
	}
	axes, merge, fields := "NK", "", `along: "N" `
	switch r.IntN(4) {
	case 0:
		perm, axes, merge, fields = []int{0, 1, 2}, "NCX", `merge { axis: "K" of: "CX" }`, ""
		shape, blocks = []int{n, 1 + r.IntN(30), 3}, append(blocks[:1], 99, 3)
	case 1, 2:
		parts += r.IntN(3)
	}
	stored, by := make([]int, len(shape)), make([]int, len(shape))
	for i, at := range perm {
		stored[at], by[at] = shape[i], blocks[i]
	}
	for i := range parts {
		x := r.coded(stored, by, s)
		tensors, list = append(tensors, x), append(list, x.parameter(fmt.Sprintf("p%d", i), axes, perm))
		if cut := blocks[0]; parts > 1 && cut < n && r.IntN(2) == 0 { // its second half first
			at := cut * (1 + r.IntN(n/cut-1))
			fields += fmt.Sprintf(`part { parameter: "p%d" slice { axis: "N" begin: %d } } part { parameter: "p%d" slice { axis: "N" end: %d } } `, i, at, i, at)
			continue
		}
		fields += fmt.Sprintf(`part { parameter: "p%d" } `, i)
	}
	if parts == 1 {
		fields = `parameter: "p0" `
	}
	fields += []string{"", "", `scales { format: F32 } `, `scales { layout: "N* K*" } `, `scales { group { axis: "N" size: 1 } group { axis: "K" size: 1 } } `}[r.IntN(5)]
	if r.IntN(3) == 0 {
		fields += fmt.Sprintf(`pad { axis: "K" multiple: %d } pad { axis: "N" multiple: %d } `, 64*(1+r.IntN(3)), 64*(1+r.IntN(3)))
	}
	if r.IntN(4) == 0 {
		fields += fmt.Sprintf("record { codes: %d align: %d } ", 8<<r.IntN(6), 1+r.IntN(64))
	}
	fields += []string{`layout: "N* K* K8 N8 K8 N4"`, `layout: "K* N* N2"`, `layout: "N* K* K2"`, `layout: "K* N* N4 K4 N2" high_half_first: true`}[r.IntN(4)]
	return `name: "test/kept" operand { name: "o" segment: "s" format: SOURCE axes: "` + []string{"KN", "NK"}[r.IntN(2)] + `" ` + merge + fields + " }", tensors, list
}

// small is a matrix [N 12, K 40] in u4, with groups of 16 along K.
func small() *coded {
	r := &random{Rand: rand.New(rand.NewPCG(5, 5))}
	return r.coded([]int{12, 40}, []int{1, 16}, element.Scheme{Codes: element.U4, Scales: element.F32, Zeros: element.U4})
}

const keepSmall = `name: "test/kept" operand { parameter: "w" segment: "s" format: SOURCE axes: "KN" layout: "N* K* K8 N4" }`

// Blocks are read as windows are, a part at a time.
func TestKeepReadsBlocksInParts(t *testing.T) {
	t.Parallel()
	r := &random{Rand: rand.New(rand.NewPCG(6, 6))}
	x := r.coded([]int{128, 4096}, []int{1, 16}, element.Scheme{Codes: element.I4, Scales: element.F16})
	c, p, err := keptPlan(t, keepSmall, x.parameter("w", "NK", []int{0, 1}))
	if err != nil {
		t.Fatal(err)
	}
	checkKept(t, c, p, []*coded{x}, 4096)
	if most := x.asked.Load(); most == 0 || most > int64(len(x.blocks))/16 {
		t.Errorf("%d of %d blocks were read at a time", most, len(x.blocks))
	}
}

// What contradicts itself in a source is refused, and no file appears.
func TestKeepRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("cannot be read")
	rows := []struct {
		name   string
		change func(c *coded)
		want   error
		says   string
	}{
		{
			"a value of no code", func(c *coded) { c.values[3*40+17] = 0.3 }, source.ErrMismatch,
			`operand "w": element [3 17] of parameter "w" (tensor "tensor w") is 0.30000001192092896, which no code in u4 stands for with the scale `,
		},
		{"another block's scale", func(c *coded) { c.blocks[0], c.blocks[1] = element.Block{Scale: 3, Zero: 1}, c.blocks[0] }, source.ErrMismatch, "which no code in u4 stands for"},
		{"an infinite scale", func(c *coded) { c.blocks[2].Scale = math.Inf(1) }, source.ErrNotFinite, `block [2 0], from element [0 32] of parameter "w" on: element: scale +Inf is no finite value of f32`},
		{"a scale that is none", func(c *coded) { c.blocks[35].Scale = math.NaN() }, source.ErrNotFinite, `block [2 11], from element [11 32] of parameter "w" on: element: scale NaN`},
		{"a scale beyond its format", func(c *coded) { c.blocks[0].Scale = 0.1 }, source.ErrNotFinite, "scale 0.1 is no finite value of f32; repair the model, or state another format than SOURCE"},
		{"a zero that is no code", func(c *coded) { c.blocks[0].Zero = 7.5 }, source.ErrNotFinite, "zero 7.5 is no finite value of u4"},
		{"an infinite value", func(c *coded) { c.values[0] = float32(math.Inf(-1)) }, source.ErrNotFinite, "element [0 0] is -Inf; repair the model"},
		{"blocks that cannot be read", func(c *coded) { c.fault = broken }, broken, "cannot be read"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			x := small()
			r.change(x)
			c, p, err := keptPlan(t, keepSmall, x.parameter("w", "NK", []int{0, 1}))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(pyreader.TempDir(t), "x.npuw")
			err = Run(context.Background(), c, p, path, Options{NoSync: true})
			if !errors.Is(err, r.want) || !strings.Contains(err.Error(), r.says) {
				t.Errorf("\n got %v\nwant %s", err, r.says)
			}
			if _, err := artifact.Open(path); err == nil {
				t.Error("there is a file")
			}
		})
	}
}

// A plan whose tensor has no codes to keep is refused before anything is read.
func TestKeepWithoutCodes(t *testing.T) {
	t.Parallel()
	x := small()
	for name, change := range map[string]func(p *plan.Plan){
		"no codes": func(p *plan.Plan) { p.Model.Parameters[0].Tensor.Codes = nil },
		"a scale":  func(p *plan.Plan) { p.Operands[0].Placements[0].Scale, p.Index.Operands[0].Placements[0].Scale = 2, 2 },
	} {
		c, p, err := keptPlan(t, keepSmall, x.parameter("w", "NK", []int{0, 1}))
		if err != nil {
			t.Fatal(err)
		}
		change(p)
		err = Run(context.Background(), c, p, filepath.Join(pyreader.TempDir(t), "x.npuw"), Options{NoSync: true})
		if err == nil || !strings.Contains(err.Error(), `tensor "tensor w" is not made of codes that can be kept as they are`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
