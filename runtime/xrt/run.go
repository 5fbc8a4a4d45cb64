package xrt

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// Call is a kernel with its arguments.
type Call struct {
	Kernel device.Kernel
	Args   device.Arguments
}

// Run computes, and waits for the end or that of ctx. A run that ctx ended before the NPU did is left alone with its buffers, and the
// kernel takes no more: ErrBroken. Instructions are the kernel's own. An output may be the same buffer as an input only where the
// operation goes element by element. Errors name the kernel; they wrap device.ErrArgument, device.ErrClosed, ErrGone, ErrBroken or
// ctx.Err().
func (k *Kernel) Run(ctx context.Context, args device.Arguments) (device.Result, error) {
	begin := time.Now()
	err := k.device.run(ctx, []Call{{k, args}})
	return device.Result{Elapsed: time.Since(begin)}, err
}

// RunList runs several kernels of one xclbin in order, as one piece of work for the NPU: what one writes, a later one may read. It is
// Run in all else.
func (d *Device) RunList(ctx context.Context, calls []Call) (device.Result, error) {
	begin := time.Now()
	err := d.run(ctx, calls)
	return device.Result{Elapsed: time.Since(begin)}, err
}

// run runs calls: one by itself, several as a list.
func (d *Device) run(ctx context.Context, calls []Call) (err error) {
	if len(calls) == 0 {
		return nil
	}
	j := &job{device: d}
	defer j.leave()
	for _, c := range calls {
		k, ok := c.Kernel.(*Kernel)
		if !ok || k.device != d || len(j.steps) > 0 && k.file != j.steps[0].kernel.file {
			return fmt.Errorf("xrt: kernel %q: %w: a list has kernels of one device and one xclbin", c.Kernel.Contract().Name, device.ErrArgument)
		}
		if err := j.add(k, c.Args); err != nil {
			return fmt.Errorf("xrt: kernel %q: %w", k.contract.Name, err)
		}
	}
	if err := j.run(ctx); err != nil {
		return fmt.Errorf("xrt: kernel %q: %w", j.at().contract.Name, d.check(err))
	}
	return nil
}

// job is what is run at once.
type job struct {
	device *Device
	steps  []*step
	held   []*memory // that runs use; entered
	failed int       // the step at which setting up failed
}

// step is one run of a job.
type step struct {
	kernel  *Kernel
	buffers []boundBuffer
	scalars []number
	hosted  *hosted
	run     hwRun
}

// boundBuffer is a buffer for an argument.
type boundBuffer struct {
	index uint32
	bo    bo
}

// at is the kernel that errors name.
func (j *job) at() *Kernel { return j.steps[min(j.failed, len(j.steps)-1)].kernel }

// leave ends the use of kernels and buffers.
func (j *job) leave() {
	for _, m := range j.held {
		m.gate.Leave()
	}
	for _, s := range j.steps {
		s.kernel.gate.Leave()
	}
}

// add checks a call against contract and xclbin, and makes it a step.
func (j *job) add(k *Kernel, args device.Arguments) error {
	if !k.gate.Enter() {
		return device.ErrClosed
	}
	s := &step{kernel: k, scalars: slices.Clone(k.signature.numbers)}
	j.steps = append(j.steps, s)
	if k.broken.Load() {
		return ErrBroken
	}
	if err := j.device.usable(); err != nil {
		return err
	}
	for name := range args {
		if a := k.contract.Argument(name); a == nil || a.Role == kernel.Instructions {
			return argumentError(name, "not to be given")
		}
	}
	for i := range k.signature.arguments {
		a := &k.signature.arguments[i]
		if a.Role == kernel.Instructions {
			continue
		}
		v, given := args[a.Name]
		if !given {
			return argumentError(a.Name, "missing")
		}
		if err := j.bind(s, a, v); err != nil {
			return err
		}
	}
	if k.instructions != nil {
		if !k.instructions.gate.Enter() {
			return device.ErrClosed
		}
		j.held = append(j.held, k.instructions)
		s.buffers = append(s.buffers, boundBuffer{uint32(k.signature.instructions), k.instructions.native})
	}
	return checkOverlaps(k, args)
}

func argumentError(name, problem string, values ...any) error {
	return fmt.Errorf("argument %q: %w: %s", name, device.ErrArgument, fmt.Sprintf(problem, values...))
}

// bind checks the value of an argument, and adds it to a step.
func (j *job) bind(s *step, a *argument, v device.Value) error {
	if a.Kind == kernel.ScalarArgument {
		if v.Buffer != nil {
			return argumentError(a.Name, "a buffer for a scalar")
		}
		bits, err := a.encode(v.Scalar)
		if err != nil {
			return argumentError(a.Name, "%v", err)
		}
		s.scalars = append(s.scalars, number{a.Index, bits, a.size})
		return nil
	}
	b, own := v.Buffer.(*Buffer)
	switch {
	case v.Buffer == nil:
		return argumentError(a.Name, "no buffer")
	case !own || b.memory.owner != j.device:
		return argumentError(a.Name, "a buffer of another device")
	case uint64(b.Len()) != a.Bytes:
		return argumentError(a.Name, "a buffer of %d bytes; the contract says %d", b.Len(), a.Bytes)
	case b.memory.group != a.group:
		return argumentError(a.Name, "a buffer in memory group %d; the kernel reads it in %d", b.memory.group, a.group)
	case b.memory.mapped && a.Role == kernel.Output:
		return argumentError(a.Name, "a mapped buffer cannot be written")
	}
	if err := b.enter(); err != nil {
		return fmt.Errorf("argument %q: %w", a.Name, err)
	}
	j.held = append(j.held, b.memory)
	native, err := b.memory.part(b.span)
	if err != nil {
		return fmt.Errorf("argument %q: %w", a.Name, err)
	}
	s.buffers = append(s.buffers, boundBuffer{a.Index, native})
	return nil
}

// checkOverlaps refuses outputs that overlap other arguments, where the result would depend on the order in which the NPU works.
func checkOverlaps(k *Kernel, args device.Arguments) error {
	elementwise := k.contract.Operation != kernel.GEMM && k.contract.Operation != kernel.Conv
	for i := range k.contract.Arguments {
		a := &k.contract.Arguments[i]
		out, ok := args[a.Name].Buffer.(*Buffer)
		if !ok || a.Role != kernel.Output {
			continue
		}
		for name, v := range args {
			in, ok := v.Buffer.(*Buffer)
			if ok && name != a.Name && out.overlaps(in) && !(elementwise && out.span == in.span) {
				return argumentError(a.Name, "it overlaps argument %q", name)
			}
		}
	}
	return nil
}

// run gives the job to the NPU and waits.
func (j *job) run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := j.device.contexts
	r, err := c.acquire(ctx, j.steps[0].kernel.file, true)
	if err != nil {
		return err
	}
	l, err := j.prepare(r)
	if err == nil {
		err = l.start()
	}
	if err != nil {
		j.discard(l)
		c.release(r)
		return err
	}
	j.failed = 0
	s, err := await(ctx, l)
	if err != nil {
		j.abandon(r, l)
		return err
	}
	if s == stateCompleted {
		j.keep(l)
		c.release(r)
		return nil
	}
	j.discard(l)
	if s != stateError { // not the run's own fault: what else is in the context is lost, too
		c.retire(r)
	}
	c.release(r)
	return fmt.Errorf("the NPU ended the run with state %q; what it writes holds no defined values", s)
}

// prepare makes the runs of a job, with all arguments set, and joins several to a list.
func (j *job) prepare(r *residence) (launch, error) {
	for i, s := range j.steps {
		j.failed = i
		if err := s.prepare(j.device.contexts, r); err != nil {
			return nil, err
		}
	}
	if len(j.steps) == 1 {
		return j.steps[0].run, nil
	}
	list, err := r.native.list()
	if err != nil {
		return nil, err
	}
	for i, s := range j.steps {
		j.failed = i
		if err := list.add(s.run); err != nil {
			return list, err
		}
	}
	return list, nil
}

// prepare makes the run of a step.
func (s *step) prepare(c *contexts, r *residence) (err error) {
	if s.hosted, s.run, err = c.hosted(r, s.kernel); err != nil {
		return err
	}
	for _, v := range s.scalars {
		if err := s.run.scalar(v.index, v.value, v.size); err != nil {
			return err
		}
	}
	for _, b := range s.buffers {
		if err := s.run.buffer(b.index, b.bo); err != nil {
			return err
		}
	}
	return nil
}

// keep puts the run of a job that completed aside. Those of a list belong to it, and end with it.
func (j *job) keep(l launch) {
	if len(j.steps) > 1 {
		j.discard(l)
		return
	}
	j.device.contexts.keep(j.steps[0].hosted, j.steps[0].run)
}

// discard closes the runs of a job that has ended, or has not begun.
func (j *job) discard(l launch) {
	if len(j.steps) > 1 && l != nil {
		l.close()
	}
	for _, s := range j.steps {
		if s.run != nil {
			s.run.close()
		}
	}
}

// abandon keeps all that a run uses which has not ended: XRT aborts the process when it is destroyed, and the NPU may write yet.
func (j *job) abandon(r *residence, l launch) {
	a := &abandoned{launch: l}
	for _, s := range j.steps {
		s.kernel.broken.Store(true)
		if len(j.steps) > 1 {
			a.runs = append(a.runs, s.run)
		}
	}
	for _, m := range j.held {
		m.hold()
		a.held = append(a.held, m)
	}
	j.device.contexts.abandon(r, a)
}

const (
	// busyPolls is how often a run is asked for its state before the processor is given to others: a short run takes 10 us.
	busyPolls = 64
	// longestSleep is how long a run that takes long may have ended before that is noticed.
	longestSleep = time.Millisecond
)

// await polls until a launch has ended. XRT's own waits with a time limit throw when it has passed, so they cannot be told from a run
// that failed. On an error the launch may still be running.
func await(ctx context.Context, l launch) (state, error) {
	begin := time.Now()
	for polls := 0; ; polls++ {
		s, err := l.state()
		if err != nil || !s.pending() {
			return s, err
		}
		if err := ctx.Err(); err != nil {
			return s, fmt.Errorf("%w: the run did not end in its time (%v) and is left alone; this kernel takes no more: %w", ErrBroken, time.Since(begin).Round(time.Millisecond), err)
		}
		if polls < busyPolls {
			runtime.Gosched()
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(time.Since(begin)/8, longestSleep)):
		}
	}
}
