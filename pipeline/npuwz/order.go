package npuwz

import (
	"context"
	"sync"
)

// inOrder does work on the items 0 to n-1 with a few workers, and then what is done with each one after another, in their order. The
// first error in that order ends it. Each item has one of a few states to itself until then is through with it, so memory does
// not depend on n.
func inOrder[S any](ctx context.Context, jobs, n int, work, then func(s *S, i int) error) error {
	type slot struct {
		state S
		done  chan error
	}
	slots := make([]slot, min(2*jobs, n))
	todo := make(chan int, len(slots))
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range min(jobs, n) {
		wg.Go(func() {
			for i := range todo {
				s := &slots[i%len(slots)]
				err := ctx.Err()
				if err == nil {
					err = work(&s.state, i)
				}
				s.done <- err
			}
		})
	}
	defer wg.Wait()
	defer close(todo)
	defer stop()
	for i := range slots {
		slots[i].done = make(chan error, 1)
		todo <- i
	}
	for i := range n {
		s := &slots[i%len(slots)]
		err := <-s.done
		if err == nil {
			err = then(&s.state, i)
		}
		if err != nil {
			return err
		}
		if next := i + len(slots); next < n {
			todo <- next
		}
	}
	return nil
}
