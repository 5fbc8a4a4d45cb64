package cpu

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"npuw/runtime/device"
)

// split calls do for each block from 0 to blocks-1, spread over the workers. The first error ends it, and so does the end of ctx.
func (r *run) split(ctx context.Context, blocks int, do func(s *scratch, block int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(r.device.workers, blocks) {
		group.Go(func() error {
			s := r.device.scratch.Get().(*scratch)
			defer r.device.scratch.Put(s)
			return guard(func() error {
				for {
					block := int(next.Add(1)) - 1
					if block >= blocks {
						return nil
					}
					if err := ctx.Err(); err != nil {
						return err
					}
					if err := do(s, block); err != nil {
						return err
					}
				}
			})
		})
	}
	return group.Wait()
}

// guard calls do and turns an access to pages of a mapping that the file no longer has into device.ErrFault. Such a fault is
// seen on the goroutine that guard runs on alone.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // what package debug says the panic has
			err = fmt.Errorf("%w (at %#x)", device.ErrFault, r.Addr())
		default:
			panic(r)
		}
	}()
	return do()
}

// ceilDiv is n/d, rounded up; n is not negative.
func ceilDiv(n, d int) int { return (n + d - 1) / d }
