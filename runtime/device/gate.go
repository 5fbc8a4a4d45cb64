package device

import "sync"

// Gate lets users through until it is closed. A device has one for each thing that must not end while it is used. The zero Gate
// is open; a Gate must not be copied.
type Gate struct {
	mu     sync.Mutex
	empty  sync.Cond // on mu, from the first Close on
	users  int
	closed bool
}

// Enter reports whether the gate was open; then Leave must follow.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.users++
	return true
}

// Leave ends what Enter began.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users--
	if g.users == 0 && g.closed {
		g.empty.Broadcast()
	}
}

// Close lets nobody through any more, and waits until all have left. It reports whether this was the first call.
func (g *Gate) Close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !g.closed
	g.closed = true
	g.empty.L = &g.mu
	for g.users > 0 {
		g.empty.Wait()
	}
	return first
}
