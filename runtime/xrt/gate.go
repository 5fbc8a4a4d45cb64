package xrt

import "sync"

// gate lets users through until it is closed.
type gate struct {
	mu     sync.Mutex
	empty  *sync.Cond // on mu; made by the first close
	users  int
	closed bool
}

// enter reports whether the gate was open; then leave must follow.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.users++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users--
	if g.users == 0 && g.empty != nil {
		g.empty.Broadcast()
	}
}

// close lets nobody through any more, and waits until all have left. It reports whether this was the first call.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !g.closed
	g.closed = true
	if g.empty == nil {
		g.empty = sync.NewCond(&g.mu)
	}
	for g.users > 0 {
		g.empty.Wait()
	}
	return first
}
