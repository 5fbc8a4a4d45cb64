package device_test

import (
	"runtime"
	"testing"

	"npuw/runtime/device"
)

func TestGate(t *testing.T) {
	t.Parallel()
	var g device.Gate
	for range 2 {
		if !g.Enter() {
			t.Fatal("an open gate lets nobody through")
		}
	}
	closed := make(chan bool)
	for range 2 {
		go func() { closed <- g.Close() }()
	}
	for g.Enter() { // until one of them has begun
		g.Leave()
		runtime.Gosched()
	}
	g.Leave()
	select {
	case <-closed:
		t.Error("Close did not wait for the last user")
	default:
	}
	g.Leave()
	if first, second := <-closed, <-closed; first == second {
		t.Errorf("of two calls of Close, both reported that they were the first: %v", first)
	}
	if g.Close() || g.Enter() {
		t.Error("a closed gate was closed again, or let somebody through")
	}
}
