package xrt

import "slices"

type watchedRun struct {
	handle
	inner   hwRun
	kernel  *watchedKernel
	buffers map[uint32]*watchedBO
	scalars map[uint32]uint64
	flight  flight
}

func (r *watchedRun) scalar(index uint32, value uint64, bytes int) error {
	if a := r.kernel.compiled.ArgumentAt(int(index)); a == nil || a.Buffer() || a.Size != uint64(bytes) {
		r.w.t.Errorf("a number of %d bytes for argument %d", bytes, index)
	}
	if err := r.use("scalar"); err != nil {
		return err
	}
	r.scalars[index] = value
	return r.inner.scalar(index, value, bytes)
}

func (r *watchedRun) buffer(index uint32, b bo) error {
	used := b.(*watchedBO)
	_ = used.use("buffer")
	a := r.kernel.compiled.ArgumentAt(int(index))
	if a == nil || !a.Buffer() || a.MemoryGroup != used.bank {
		r.w.t.Errorf("a buffer of bank %d for argument %d", used.bank, index)
	}
	if err := r.use("buffer"); err != nil {
		return err
	}
	r.buffers[index] = used
	return r.inner.buffer(index, used.inner)
}

// check complains of arguments without which XRT would start the run all the same. Buffers that a kernel has beyond those of its
// contract are spare.
func (r *watchedRun) check() {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	instructions := int64(0) // bytes
	for i := range r.kernel.compiled.Arguments {
		a := &r.kernel.compiled.Arguments[i]
		index := uint32(a.Index)
		value, set := r.scalars[index]
		switch {
		case a.Buffer() && a.Name == "instr" && r.buffers[index] != nil:
			instructions = r.buffers[index].bytes
		case a.Buffer() && a.Name == "instr", !a.Buffer() && !set:
			r.w.t.Errorf("argument %d, %q, is not set", a.Index, a.Name)
		case a.Name == "opcode" && value != opcodeRun:
			r.w.t.Errorf("opcode %d", value)
		case a.Name == "ninstr" && int64(value*wordBytes) != instructions:
			r.w.t.Errorf("%d words of instructions in a buffer of %d bytes", value, instructions)
		}
		if set {
			r.w.numbers[index] = value
		}
	}
	for _, b := range r.buffers {
		if b.closed {
			r.w.t.Error("a run starts with a buffer that was freed")
		}
	}
}

// launched notes that something is given to the device, unless it is to fail.
func (h *handle) launched(f *flight, start func() error) error {
	if err := h.use("start"); err != nil {
		return err
	}
	for _, r := range f.runs {
		r.check()
	}
	h.w.set(func() {
		h.w.made["start"] += len(f.runs)
		h.w.inFlight[f] = true
	})
	err := start()
	if err != nil {
		h.w.set(func() { delete(h.w.inFlight, f) })
	}
	return err
}

// asked notes how far something is that was given to the device.
func (h *handle) asked(f *flight) (state, error) {
	if err := h.use("state"); err != nil {
		return 0, err
	}
	s, err := f.launch.state()
	if err == nil && !s.pending() {
		h.w.set(func() { delete(h.w.inFlight, f) })
	}
	return s, err
}

// landed complains of what is closed while the device works on it.
func (h *handle) landed(f *flight) {
	h.w.mu.Lock()
	flying := h.w.inFlight[f]
	h.w.mu.Unlock()
	if flying {
		h.w.t.Errorf("a %s is closed before it has ended", h.kind)
	}
	h.ends()
}

func (r *watchedRun) start() error          { return r.launched(&r.flight, r.inner.start) }
func (r *watchedRun) state() (state, error) { return r.asked(&r.flight) }

func (r *watchedRun) close() {
	r.landed(&r.flight)
	r.inner.close()
}

type watchedList struct {
	handle
	inner  runList
	flight flight
}

func (l *watchedList) add(r hwRun) error {
	run := r.(*watchedRun)
	if slices.Contains(l.flight.runs, run) {
		l.w.t.Error("a run is twice in a list")
	}
	if err := l.use("add"); err != nil {
		return err
	}
	l.flight.runs = append(l.flight.runs, run)
	return l.inner.add(run.inner)
}

func (l *watchedList) start() error          { return l.launched(&l.flight, l.inner.start) }
func (l *watchedList) state() (state, error) { return l.asked(&l.flight) }

func (l *watchedList) close() {
	l.landed(&l.flight)
	l.inner.close()
}
