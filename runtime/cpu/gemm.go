package cpu

import (
	"context"

	"npuw/artifact/kernel"
)

const (
	tileRows = 4  // rows of sums that accumulate works on at a time
	tileCols = 16 // columns of a panel
	// depthBlock is how much of K is worked on at a time: a panel of it fits in a first-level cache.
	depthBlock = 256
	// Sizes of the block of outputs that one worker makes at a time: with its inputs it fits in a second-level cache. They
	// become smaller, down to the least, where there would be too few blocks for the workers.
	maxBlockRows, minBlockRows = 256, 32
	maxBlockCols, minBlockCols = 512, 64
	blocksPerWorker            = 4
)

// side reads a part of one of the two matrices of a product: rows and columns from (row, col) on, to rows of dst that are stride apart.
type side func(s *scratch, data []byte, dst []float32, stride, row, col, rows, cols int) error

// product is c[m,n] = epilogue(a[m,k] * b[k,n] + bias[n]).
type product struct {
	m, k, n   int
	a, b      side
	aArgument int
	bArgument int
	c, bias   *operand // bias may be nil
	gelu      *gelu    // nil: no epilogue
	depth     int      // how much of k is worked on at a time
}

func newGEMM(r *resolver) (program, error) {
	a, errA := r.named("a", "MK", false)
	b, errB := r.named("b", "KN", false)
	c, bias, err := r.results("MN")
	if err := firstError(errA, errB, err); err != nil {
		return nil, err
	}
	if err := required([]string{"a", "b", "c"}, a, b, c); err != nil {
		return nil, err
	}
	p := &product{
		m: r.size('M'), k: r.size('K'), n: r.size('N'), depth: depthBlock,
		a: a.read, aArgument: a.argument, b: b.read, bArgument: b.argument,
		c: c, bias: bias, gelu: r.epilogue(),
	}
	return p.run, nil
}

// results takes the arguments that GEMM and CONV have in common; bias may be nil.
func (r *resolver) results(axes string) (c, bias *operand, err error) {
	if c, err = r.named("c", axes, true); err != nil {
		return nil, nil, err
	}
	bias, err = r.named("bias", "N", false)
	return c, bias, err
}

// epilogue is the table of the epilogue that the contract asks for, nil when it asks for none.
func (r *resolver) epilogue() *gelu {
	if r.contract.Epilogue == kernel.GELUEpilogue {
		return gelus()
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *product) run(ctx context.Context, r *run) error {
	if p.m == 0 || p.n == 0 {
		return nil
	}
	rows, cols := p.blockSize(r.device.workers)
	across := ceilDiv(p.n, cols)
	return r.split(ctx, ceilDiv(p.m, rows)*across, func(s *scratch, block int) error {
		row, col := block/across*rows, block%across*cols
		return p.block(s, r, row, col, min(rows, p.m-row), min(cols, p.n-col))
	})
}

// blockSize chooses how large the blocks of outputs are. They have no influence on the result.
func (p *product) blockSize(workers int) (rows, cols int) {
	rows, cols = maxBlockRows, maxBlockCols
	for ceilDiv(p.m, rows)*ceilDiv(p.n, cols) < blocksPerWorker*workers {
		switch {
		case cols > minBlockCols && cols >= rows:
			cols /= 2
		case rows > minBlockRows:
			rows /= 2
		default:
			return rows, cols
		}
	}
	return rows, cols
}

// block computes the outputs of one block. Sums stay in memory from one part of k to the next, as float32: that rounds
// nothing, so it is the same as one sum over k. Where the block is no whole number of tiles, rows of a and columns of b beyond
// it hold anything, and so do the sums made of them, which are not stored.
func (p *product) block(s *scratch, r *run, row, col, rows, cols int) error {
	groups, panels := ceilDiv(rows, tileRows), ceilDiv(cols, tileCols)
	a := grown(&s.a, groups*tileRows*p.depth)
	b := grown(&s.b, p.depth*tileCols)
	stride := panels * tileCols
	c := grown(&s.c, groups*tileRows*stride)
	clear(c)
	for k := 0; k < p.k; k += p.depth {
		depth := min(p.depth, p.k-k)
		if err := p.a(s, r.data[p.aArgument], a, p.depth, row, k, rows, depth); err != nil {
			return err
		}
		for panel := range panels {
			at := panel * tileCols
			width := min(tileCols, cols-at)
			if err := p.b(s, r.data[p.bArgument], b, tileCols, k, col+at, depth, width); err != nil {
				return err
			}
			accumulate(c[at:], stride, a, p.depth, b, depth, groups)
		}
	}
	return p.store(s, r, c, stride, row, col, rows, cols)
}

// store finishes the sums of a block and writes them.
func (p *product) store(s *scratch, r *run, c []float32, stride, row, col, rows, cols int) error {
	if p.bias != nil {
		bias := grown(&s.d, cols)
		if err := p.bias.read(s, r.data[p.bias.argument], bias, cols, 0, col, 1, cols); err != nil {
			return err
		}
		for i := range rows {
			line := c[i*stride:][:cols]
			for j, x := range bias {
				line[j] += x
			}
		}
	}
	if p.gelu != nil {
		for i := range rows {
			p.gelu.apply(c[i*stride:][:cols])
		}
	}
	return p.c.write(s, r.data[p.c.argument], c, stride, row, col, rows, cols)
}

// accumulatePlain adds products to groups*tileRows rows of tileCols sums: to c[i*cStride+j] it adds a[i*aStride+k] *
// b[k*tileCols+j], rounded, for k from 0 to depth-1, rounding each sum.
func accumulatePlain(c []float32, cStride int, a []float32, aStride int, b []float32, depth, groups int) {
	const cols = 4
	for i := range groups * tileRows {
		line := a[i*aStride:][:depth]
		for j := 0; j < tileCols; j += cols {
			sums := c[i*cStride+j:][:cols:cols]
			s0, s1, s2, s3 := sums[0], sums[1], sums[2], sums[3]
			for k, x := range line {
				y := b[k*tileCols+j:][:cols:cols]
				// Conversions keep the compiler from fusing product and sum.
				s0 += float32(x * y[0])
				s1 += float32(x * y[1])
				s2 += float32(x * y[2])
				s3 += float32(x * y[3])
			}
			sums[0], sums[1], sums[2], sums[3] = s0, s1, s2, s3
		}
	}
}
