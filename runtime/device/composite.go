package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"npuw/artifact/kernel"
)

// Part is a device of a Composite.
type Part struct {
	Device Device
	// Operations run on the parts that name them and on no other. Those that no part names may run on any.
	Operations []kernel.Operation
}

// Composite is one device made of several. Buffers are the first's; a kernel runs on the first device, in order, that accepts its
// contract.
//
//	contract -- Open --> parts that name its operation, else all --> the first that does not say ErrUnsupported
//	buffers of the first part -- Run --> its kernels, as they are
//	                                 '-> kernels of the others, which sync them: see Buffer
//
// Kernels of the others that share a buffer run one after another, views of it included. Closing a buffer waits for them.
//
// A kernel that a device accepts only without its epilogue is tried on the next device with it. To have it refused instead, so that
// the caller states the epilogue as a kernel of its own, name the operation in the device's part.
type Composite struct {
	name    string
	parts   []Part
	buffers atomic.Uint64 // made so far

	mu      sync.Mutex
	kernels []*placedKernel // open, in the order in which they were opened
}

var _ Device = (*Composite)(nil)

// NewComposite makes one device of several, which are closed with it.
func NewComposite(first Part, others ...Part) *Composite {
	c := &Composite{parts: append([]Part{first}, others...)}
	var names []string
	for _, p := range c.parts {
		names = append(names, p.Device.Name())
	}
	c.name = strings.Join(names, "+")
	return c
}

// Name is the names of the devices: "xrt+cpu".
func (c *Composite) Name() string { return c.name }

// Allocate makes a buffer of the first device.
func (c *Composite) Allocate(bytes int64, group int32) (Buffer, error) {
	return c.shared(c.parts[0].Device.Allocate(bytes, group))
}

// Map makes a buffer of the first device.
func (c *Composite) Map(pages []byte, group int32) (Buffer, error) {
	return c.shared(c.parts[0].Device.Map(pages, group))
}

// Placement says which device runs a kernel.
type Placement struct {
	Contract *kernel.Contract // by which it was opened
	Device   string
	Why      string // what the devices before it said to the contract; empty where there was none
}

// Placements are those of the kernels that are open, in the order in which they were opened.
func (c *Composite) Placements() []Placement {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Placement, len(c.kernels))
	for i, k := range c.kernels {
		list[i] = k.placement
	}
	return list
}

// Open opens a kernel on the first device that accepts the contract. Where none does, the error wraps ErrUnsupported and says why
// each did not; any other error of a device is returned at once.
func (c *Composite) Open(contract *kernel.Contract) (Kernel, error) {
	names := func(p Part) bool { return slices.Contains(p.Operations, contract.Operation) }
	claimed := slices.ContainsFunc(c.parts, names)
	var refused error
	for i, p := range c.parts {
		if claimed && !names(p) {
			continue
		}
		k, err := p.Device.Open(contract)
		switch {
		case err == nil:
			return c.place(k, i, contract, refused), nil
		case !errors.Is(err, ErrUnsupported):
			return nil, err
		case refused == nil:
			refused = err
		default:
			refused = fmt.Errorf("%w; %w", refused, err)
		}
	}
	return nil, fmt.Errorf("%s: %w", c.name, refused)
}

// place registers a kernel of part i.
func (c *Composite) place(k Kernel, i int, contract *kernel.Contract, refused error) Kernel {
	p := &placedKernel{Kernel: k, owner: c, guest: i > 0, placement: Placement{Contract: contract, Device: c.parts[i].Device.Name()}}
	if refused != nil {
		p.placement.Why = refused.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kernels = append(c.kernels, p)
	return p
}

// Close closes all devices. What was still open on any is counted in one *LeakError.
func (c *Composite) Close() error {
	c.mu.Lock()
	c.kernels = nil
	c.mu.Unlock()
	leak := LeakError{Device: c.name}
	var errs []error
	for _, p := range slices.Backward(c.parts) { // the first last: kernels of the others may be running in its buffers
		err := p.Device.Close()
		if l, ok := err.(*LeakError); ok {
			leak.Buffers += l.Buffers
			leak.Kernels += l.Kernels
			continue
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	switch {
	case leak.Buffers+leak.Kernels == 0:
		return err
	case err == nil:
		return &leak
	default:
		return errors.Join(&leak, err)
	}
}

// placedKernel is a kernel of one of the parts.
type placedKernel struct {
	Kernel
	owner     *Composite
	guest     bool // in the buffers of another device
	placement Placement
}

// Run runs the kernel on its device, with the buffers of the first device that stand behind those given.
func (k *placedKernel) Run(ctx context.Context, args Arguments) (Result, error) {
	given := make(Arguments, len(args))
	var used []*turns
	for name, v := range args {
		if b, ok := v.Buffer.(*sharedBuffer); ok && b.turns.owner == k.owner {
			v.Buffer = b.Buffer
			used = append(used, b.turns)
		}
		given[name] = v
	}
	if k.guest {
		done, err := takeTurns(ctx, used)
		if err != nil {
			return Result{}, fmt.Errorf("%s: kernel %q: waiting for a buffer: %w", k.owner.name, k.placement.Contract.Name, err)
		}
		defer done()
	}
	return k.Kernel.Run(ctx, given)
}

// Close closes the kernel on its device.
func (k *placedKernel) Close() error {
	k.owner.mu.Lock()
	k.owner.kernels = slices.DeleteFunc(k.owner.kernels, func(o *placedKernel) bool { return o == k })
	k.owner.mu.Unlock()
	return k.Kernel.Close()
}

// sharedBuffer is a buffer of the first device, or a view of one.
type sharedBuffer struct {
	Buffer
	turns *turns
	view  bool
}

func (c *Composite) shared(b Buffer, err error) (Buffer, error) {
	if err != nil {
		return nil, err
	}
	return &sharedBuffer{Buffer: b, turns: &turns{owner: c, number: c.buffers.Add(1), taken: make(chan struct{}, 1)}}, nil
}

func (b *sharedBuffer) View(offset, bytes int64) (Buffer, error) {
	v, err := b.Buffer.View(offset, bytes)
	if err != nil {
		return nil, err
	}
	return &sharedBuffer{Buffer: v, turns: b.turns, view: true}, nil
}

func (b *sharedBuffer) Close() error {
	if !b.view {
		b.turns.taken <- struct{}{}
		defer b.turns.end()
	}
	return b.Buffer.Close()
}

// turns are what kernels of other devices, and Close, take at a buffer and all its views.
type turns struct {
	owner  *Composite
	number uint64        // of the buffer; turns are taken in this order, so that nobody waits in a circle
	taken  chan struct{} // full while someone has the turn
}

func (t *turns) end() { <-t.taken }

// takeTurns waits for the turn at each of several buffers. What it returns ends them.
func takeTurns(ctx context.Context, list []*turns) (done func(), err error) {
	slices.SortFunc(list, func(a, b *turns) int { return cmp.Compare(a.number, b.number) })
	list = slices.Compact(list)
	for i, t := range list {
		select {
		case t.taken <- struct{}{}:
		case <-ctx.Done():
			endTurns(list[:i])
			return nil, ctx.Err()
		}
	}
	return func() { endTurns(list) }, nil
}

func endTurns(list []*turns) {
	for _, t := range list {
		t.end()
	}
}
