package target

import "fmt"

// Plan is how the descriptors of a DMA go through loops over words.
type Plan struct {
	// Dimensions are the loops of one descriptor, outermost first, in words; there is at least one.
	Dimensions []Loop `json:"dimensions"`
	// Iteration is how often each descriptor runs, and how far its base moves each time. Size 1: once.
	Iteration Loop `json:"iteration"`
	// Outer are the loops that are left, outermost first: each of their steps is a descriptor with another base address.
	Outer       []Loop `json:"outer"`
	Descriptors uint64 `json:"descriptors"`
	// Why says what kept more loops out of one descriptor, if Descriptors is over 1.
	Why []string `json:"why"`
	// Fits reports whether one channel has that many descriptors at a time. If not, they must be set again while it runs.
	Fits bool `json:"fits"`
}

// Words is how many words one run of a descriptor moves.
func (p Plan) Words() uint64 {
	words := uint64(1)
	for _, l := range p.Dimensions {
		words *= l.Size
	}
	return words
}

// Run is how many words lie together wherever a descriptor reads.
func (p Plan) Run() uint64 {
	if last := p.Dimensions[len(p.Dimensions)-1]; last.Step == 1 {
		return last.Size
	}
	return 1
}

// Plan puts loops over words, outermost first, into descriptors: as many of the innermost ones as there are dimensions for, the
// next into the iteration. What is left takes a descriptor a step.
func (d DMA) Plan(loops []Loop) Plan {
	p := Plan{Dimensions: []Loop{{1, 1}}, Iteration: Loop{1, 0}, Outer: append([]Loop{}, loops...), Descriptors: 1, Why: []string{}}
	why := ""
	for n := len(loops); n > 0; n-- {
		dims, rest, fault := d.dimensions(loops[len(loops)-n:])
		if fault != "" {
			why = fault
			continue
		}
		p.Dimensions, p.Outer = dims, p.Outer[:len(loops)-n]
		if rest.Size > 1 {
			p.Outer = append(p.Outer, rest)
			why = d.lengthFault(p.Words() * rest.Size)
		}
		break
	}
	if len(p.Outer) > 0 {
		if reason := d.iterate(&p, p.Outer[len(p.Outer)-1]); len(p.Outer) > 0 {
			p.Why = append(p.Why, why, reason)
		}
	}
	for _, l := range p.Outer {
		p.Descriptors *= l.Size
	}
	p.Fits = p.Descriptors <= uint64(d.Reachable)
	return p
}

// dimensions gives the dimensions of a descriptor for all of the loops, what is left of the outermost if it is too long, or
// what keeps them out.
func (d DMA) dimensions(loops []Loop) (dims []Loop, rest Loop, fault string) {
	inner := uint64(1) // words in one step of the outermost
	for i := len(loops) - 1; i > 0; i-- {
		parts, fault := d.split(loops[i])
		if fault != "" {
			return nil, Loop{}, fault
		}
		dims = append(parts, dims...)
		inner *= loops[i].Size
	}
	outermost := loops[0]
	if outermost.Step > d.MaxStep() {
		return nil, Loop{}, d.stepFault(outermost)
	}
	if len(dims) >= d.Dimensions {
		return nil, Loop{}, fmt.Sprintf("dimensions: a descriptor has %d, none is left for %v", d.Dimensions, outermost)
	}
	if inner > d.MaxLength() {
		return nil, Loop{}, d.lengthFault(inner * outermost.Size)
	}
	size := divisor(outermost.Size, d.MaxLength()/inner)
	rest = Loop{outermost.Size / size, outermost.Step * size}
	return append([]Loop{{size, outermost.Step}}, dims...), rest, ""
}

// split gives a loop that has another around it, as loops within the wrap.
func (d DMA) split(l Loop) ([]Loop, string) {
	var parts []Loop
	for l.Size > 1 {
		if l.Step > d.MaxStep() {
			return nil, d.stepFault(l)
		}
		size := divisor(l.Size, d.MaxWrap())
		if size == 1 {
			return nil, fmt.Sprintf("wrap: %v has more than %d steps, and nothing within that divides it", l, d.MaxWrap())
		}
		parts = append([]Loop{{size, l.Step}}, parts...)
		l = Loop{l.Size / size, l.Step * size}
	}
	return parts, ""
}

func (d DMA) lengthFault(words uint64) string {
	return fmt.Sprintf("length: %d words in one go, at most %d", words, d.MaxLength())
}

func (d DMA) stepFault(l Loop) string {
	return fmt.Sprintf("step: %v moves by more than %d words", l, d.MaxStep())
}

// iterate moves the innermost of the outer loops, or as much of it as can be, into the iteration. It returns what keeps the
// rest out.
func (d DMA) iterate(p *Plan, l Loop) string {
	if l.Step > d.MaxStep() {
		return "iteration: " + d.stepFault(l)
	}
	size := divisor(l.Size, d.MaxIterations())
	if size > 1 {
		p.Iteration = Loop{size, l.Step}
	}
	last := len(p.Outer) - 1
	if size == l.Size {
		p.Outer = p.Outer[:last]
		return fmt.Sprintf("iteration: taken by %v", l)
	}
	p.Outer[last] = Loop{l.Size / size, l.Step * size}
	return fmt.Sprintf("iteration: %v has more than %d steps", l, d.MaxIterations())
}

// divisor is the largest divisor of n that is at most limit, and at most 1<<20 if that is not n itself.
func divisor(n, limit uint64) uint64 {
	if n <= limit {
		return n
	}
	for f := min(limit, 1<<20); f > 1; f-- {
		if n%f == 0 {
			return f
		}
	}
	return 1
}
