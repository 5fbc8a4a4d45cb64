// Package check holds a finished artifact against what it was made from: its index against the plan, and every value in it against the
// model's. It reads both anew, and takes nothing from package pack: places are worked out from the layout's definition, element by
// element, so a wrong permutation is found as well as a wrong value.
//
//	source -> box of a parameter -> scaled, encoded -+
//	                                                 +- the same, or within the error that the artifact records
//	artifact -> window around where the box lies ----+
//
// Where each element of an operand is one value by itself, the bits must be those that the format's rounding gives. Codes with scales, and
// values that others were folded into, must be within the largest error of the operand's statistics, and the sum of the squares of all
// errors must be the recorded one. Codes that are kept from the source must give its values. Memory does not grow with the model: it is less than 32 MiB a worker.
package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"npuw/artifact"
	"npuw/pipeline/plan"
	"npuw/pipeline/source"
)

// Artifact compares a finished artifact with its plan and with the model's values in c. An error that is not of reading is an
// *artifact.Error that unwraps to artifact.ErrCorrupt.
func Artifact(ctx context.Context, f *artifact.File, c *source.Catalogue, p *plan.Plan) error {
	if err := sameIndex(f, p); err != nil {
		return err
	}
	if err := sameStreams(f, p); err != nil {
		return err
	}
	faults := make([]error, len(p.Operands))
	var mu sync.Mutex
	next, failed := 0, false
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, !failed && next <= len(faults)
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(faults)) {
		wg.Go(func() {
			k := &checker{ctx: ctx, file: f, catalogue: c, model: p.Model}
			for i, ok := take(); ok; i, ok = take() {
				if err := k.operand(&p.Operands[i], &f.Index.Operands[i]); err != nil {
					mu.Lock()
					faults[i], failed = err, true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for _, err := range faults {
		if err != nil {
			return err
		}
	}
	return nil
}

// advice ends the message of a fault, which no input explains.
const advice = "the machine's memory or disk, or npuw, is at fault: build again, and report it if it stays"

func fault(f *artifact.File, thing, name, format string, args ...any) error {
	return &artifact.Error{
		File: f.Path, Offset: -1, Thing: fmt.Sprintf("%s %q", thing, name), Detail: fmt.Sprintf(format, args...) + "; " + advice, Err: artifact.ErrCorrupt,
	}
}

// sameIndex checks that the artifact says of itself what was planned, all but what is measured.
func sameIndex(f *artifact.File, p *plan.Plan) error {
	got, err := json.Marshal(f.Index.List(false))
	if err != nil {
		return err
	}
	want, err := json.Marshal(p.Index.List(false))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) || f.Header.PageBytes != p.PageBytes || len(f.Index.Operands) != len(p.Operands) {
		return fault(f, "the index of", p.Index.Producer.Recipe, "is not what was planned")
	}
	return nil
}

// sameStreams checks the segments that hold instructions.
func sameStreams(f *artifact.File, p *plan.Plan) error {
	for i, stream := range p.Streams {
		s := &f.Index.Segments[i]
		if err := Stream(f, i, stream); errors.Is(err, errOther) {
			return fault(f, "segment", s.Name, "%v", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

var errOther = errors.New("its instructions are not those of the file")

// Stream checks that segment i of an artifact holds an instruction stream, and zeros after it.
func Stream(f *artifact.File, i int, stream []byte) error {
	s := &f.Index.Segments[i]
	if uint64(len(stream)) > s.Bytes {
		return errOther
	}
	b := make([]byte, s.Bytes)
	if _, err := f.ReadAt(b, int64(s.Offset)); err != nil {
		return err
	}
	if !bytes.Equal(b[:len(stream)], stream) || len(bytes.Trim(b[len(stream):], "\x00")) > 0 {
		return errOther
	}
	return nil
}
