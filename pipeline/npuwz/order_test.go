package npuwz

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
)

// TestInOrder wants every item to be worked on once and to be finished in order, however many workers there are, and no more than two
// states a worker.
func TestInOrder(t *testing.T) {
	t.Parallel()
	type state struct{ item int }
	for _, jobs := range []int{1, 2, 7, 100} {
		for _, n := range []int{0, 1, 2, 50} {
			states, done := map[*state]bool{}, []int(nil)
			var worked atomic.Int64
			err := inOrder(t.Context(), jobs, n, func(s *state, i int) error {
				worked.Add(1)
				s.item = i
				return nil
			}, func(s *state, i int) error {
				if s.item != i {
					t.Errorf("%d workers: the state of item %d is that of %d", jobs, i, s.item)
				}
				states[s] = true
				done = append(done, i)
				return nil
			})
			if err != nil || worked.Load() != int64(n) || len(done) != n || !slices.IsSorted(done) || len(states) > 2*jobs {
				t.Errorf("%d workers, %d items: %v, worked on %d, finished %v with %d states", jobs, n, err, worked.Load(), done, len(states))
			}
		}
	}
}

// TestInOrderFails wants the first error in the order of the items, whichever came first.
func TestInOrderFails(t *testing.T) {
	t.Parallel()
	fail := func(bad ...int) func(*int, int) error {
		return func(_ *int, i int) error {
			if slices.Contains(bad, i) {
				return fmt.Errorf("item %d", i)
			}
			return nil
		}
	}
	for _, jobs := range []int{1, 2, 7} {
		for range 20 {
			if err := inOrder(t.Context(), jobs, 50, fail(31, 30, 45), fail(33)); err == nil || err.Error() != "item 30" {
				t.Fatalf("%d workers: %v, want item 30", jobs, err)
			}
			if err := inOrder(t.Context(), jobs, 50, fail(33), fail(30)); err == nil || err.Error() != "item 30" {
				t.Fatalf("%d workers: %v, want item 30", jobs, err)
			}
		}
	}
	if err := inOrder(t.Context(), 2, 5, fail(), func(*int, int) error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
