package cpu

import (
	"math"
	"sync"

	"npuw/artifact/element"
	"npuw/artifact/plane"
)

// joined reads values that are no element by themselves: of bfp16, and codes with what belongs to them.
//
//	code ---------------> number --.
//	zero, of its block -----------(-)--.
//	scale, of its block --------------(*)--.
//	minimum, of its block ----------------(+)--> value, rounded to float32
//
// The places of elements are tables, so that a part of a matrix costs what its elements cost, whatever the layout.
type joined struct {
	codes                   *places
	scales, zeros, minimums *places       // nil: there are none
	numbers                 *[256]float32 // what codes stand for
}

// newJoined makes the tables of a storage that has been proved.
func newJoined(s *plane.Storage) *joined {
	j := &joined{codes: newPlaces(&s.Planes[0])}
	if s.Encoding == plane.Plain {
		return j
	}
	j.numbers = numbers()[s.Planes[0].Format]
	for i := range s.Planes {
		switch p := &s.Planes[i]; p.Role {
		case plane.Scales:
			j.scales = newPlaces(p)
		case plane.Zeros:
			j.zeros = newPlaces(p)
		case plane.Minimums:
			j.minimums = newPlaces(p)
		}
	}
	return j
}

// numbers are the numbers that codes of one byte, or unpacked to one, stand for, by element format.
var numbers = sync.OnceValue(func() map[element.Format]*[256]float32 {
	var codes [256]byte
	for i := range codes {
		codes[i] = byte(i)
	}
	all := map[element.Format]*[256]float32{}
	for _, f := range []element.Format{element.I8, element.U8, element.I4, element.U4, element.NF4} {
		all[f] = new([256]float32)
		if err := element.ToFloat32(all[f][:], codes[:], f); err != nil {
			panic(err)
		}
	}
	return all
})

// read decodes rows x cols values from at on, along axes row and col, into dst, whose rows are stride apart.
func (j *joined) read(s *scratch, data []byte, dst []float32, stride int, at position, row, col, rows, cols int) {
	codes := j.codes.rect(at, row, col, rows, cols)
	elements := j.codes.gather(&s.elements, data, &codes)
	if j.numbers == nil {
		j.codes.blocks(dst, stride, elements, len(codes.cols), at, row, col, rows, cols)
		return
	}
	lines := [3]*line{}
	for i, p := range []*places{j.scales, j.zeros, j.minimums} {
		if p != nil {
			lines[i] = &s.lines[i]
			lines[i].load(p, data, at, row, col, rows, cols)
		}
	}
	for i := range rows {
		out, codes := dst[i*stride:][:cols], elements[i*cols:][:cols]
		scales := lines[0].row(i)
		switch {
		case lines[1] != nil:
			j.subtracted(out, codes, scales, lines[1].row(i))
		case lines[2] != nil:
			j.added(out, codes, scales, lines[2].row(i))
		default:
			j.scaled(out, codes, scales)
		}
	}
}

// A product of float32 is the product of binary64, which is exact, rounded once: so is what follows, but for minimums.

func (j *joined) scaled(dst []float32, codes []byte, scales []float32) {
	dst, scales = dst[:len(codes)], scales[:len(codes)]
	numbers := j.numbers
	for c, code := range codes {
		dst[c] = numbers[code] * scales[c]
	}
}

func (j *joined) subtracted(dst []float32, codes []byte, scales, zeros []float32) {
	dst, scales, zeros = dst[:len(codes)], scales[:len(codes)], zeros[:len(codes)]
	numbers := j.numbers
	for c, code := range codes {
		dst[c] = float32(numbers[code]-zeros[c]) * scales[c]
	}
}

func (j *joined) added(dst []float32, codes []byte, scales, minimums []float32) {
	dst, scales, minimums = dst[:len(codes)], scales[:len(codes)], minimums[:len(codes)]
	numbers := j.numbers
	for c, code := range codes {
		product := float64(float64(numbers[code]) * float64(scales[c]))
		dst[c] = float32(product + float64(minimums[c]))
	}
}

// line is what blocks share, for a part of a matrix: a number for each block, and those of one row spread over its columns.
type line struct {
	elements       []byte
	values         []float32 // of the blocks, dense
	blocks         int       // in a row of blocks
	first, spanRow uint64    // the first row's index, and how many a block has
	block          []int     // of each column
	current        int       // the row of blocks that is spread; -1: none
	spread         []float32
}

// load reads what the blocks of a part of a matrix share.
func (l *line) load(p *places, data []byte, at position, row, col, rows, cols int) {
	r := p.rect(at, row, col, rows, cols)
	elements := p.gather(&l.elements, data, &r)
	values := grown(&l.values, len(r.rows)*len(r.cols))
	if err := element.ToFloat32(values, elements, p.format); err != nil {
		panic(err) // of formats that a scheme cannot have
	}
	l.blocks, l.current = len(r.cols), -1
	l.first, l.spanRow = 0, 1
	if row >= 0 {
		l.first, l.spanRow = at[row]%p.span[row], p.span[row]
	}
	first, span := at[col]%p.span[col], p.span[col]
	l.block = grown(&l.block, cols)
	for c := range l.block {
		l.block[c] = int((first + uint64(c)) / span)
	}
	l.spread = grown(&l.spread, cols)
}

// row gives what belongs to each column of row i.
func (l *line) row(i int) []float32 {
	at := int((l.first + uint64(i)) / l.spanRow)
	spread := l.spread
	if at != l.current {
		l.current = at
		values := l.values[at*l.blocks:]
		for c, b := range l.block {
			spread[c] = values[b]
		}
	}
	return spread
}

// units are what a mantissa of 1 is worth, by the exponent of a bfp16.
var units = sync.OnceValue(func() *[256]float32 {
	list := new([256]float32)
	for e := range list {
		list[e] = float32(math.Ldexp(1, e-127-6))
	}
	return list
})

// blocks decodes elements of bfp16, a rectangle of which covers the values: width in a row.
func (t *places) blocks(dst []float32, stride int, elements []byte, width int, at position, row, col, rows, cols int) {
	units := units()
	size, values := t.format.Size(), t.format.Values()
	inside := int(at[t.inner]) % values // of an element, where the first value is
	for e := 0; len(elements) >= size; e++ {
		r, c, step, first, n := e/width, e%width, 1, inside, 1
		switch t.inner {
		case row:
			r, first, n = part(r, inside, rows, values)
			step = stride
		case col:
			c, first, n = part(c, inside, cols, values)
		}
		unit, mantissas := units[elements[0]], elements[1+first:][:n]
		to := dst[r*stride+c:]
		for i, m := range mantissas {
			to[i*step] = float32(int8(m)) * unit
		}
		elements = elements[size:]
	}
}

// part is what element e of a row of them holds of total values, the first of which is at place inside of element 0: begin is the first
// of those, at place first of the element, and there are n.
func part(e, inside, total, values int) (begin, first, n int) {
	begin, end := e*values-inside, (e+1)*values-inside
	if begin < 0 {
		begin, first = 0, inside
	}
	return begin, first, min(end, total) - begin
}
