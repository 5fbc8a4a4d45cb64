package npuwz

import (
	"context"
	"fmt"

	"npuw/artifact"
	"npuw/pipeline/source"
)

// Decompress makes the artifact again that the .npuwz file at in holds, byte for byte, and verifies it before it has the name out. After
// an error there is no new file. The error of a file that is not what Compress made is a *source.Error with the offset in it.
func Decompress(ctx context.Context, in, out string, opts Options) (Result, error) {
	if err := artifact.CheckOutput(out, in); err != nil {
		return Result{}, err
	}
	r, err := openReader(in, whole, opts.jobs())
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	return r.restore(ctx, nil, out, opts)
}

// Patch makes an artifact of the one at base, which has not changed since Delta was told to lead from it, and the .npuwd file at delta. It
// verifies the artifact before it has the name out, which may be that of base: until all is there and verified, base is as it was. The
// error of a base that is another artifact unwraps to source.ErrMismatch.
func Patch(ctx context.Context, base, deltaPath, out string, opts Options) (Result, error) {
	if err := artifact.CheckOutput(out, deltaPath); err != nil {
		return Result{}, err
	}
	r, err := openReader(deltaPath, delta, opts.jobs())
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	a, err := artifact.Open(base)
	if err != nil {
		return Result{}, err
	}
	defer a.Close()
	if a.Header.Digest != r.base {
		return Result{}, r.otherBase(a)
	}
	return r.restore(ctx, a, out, opts)
}

// otherBase is the error of a delta that does not lead from a.
func (r *reader) otherBase(a *artifact.File) error {
	e := &source.Error{
		File: r.path, Offset: frameHeader + atBase, Problem: fmt.Sprintf("leads from the artifact %v, %s is %v", r.base, a.Path, a.Header.Digest),
		Next: "patch the artifact that it leads from (npuw inspect shows the digest), or ship all of the new one", Err: source.ErrMismatch,
	}
	if h, err := artifact.HeaderOf(r.header); err == nil && h.Digest == a.Header.Digest {
		e.Problem, e.Next = e.Problem+", which is what it leads to", "nothing is to be done"
	}
	return e
}

// restore makes the artifact at out, with the segments that it takes from base.
func (r *reader) restore(ctx context.Context, base *artifact.File, out string, opts Options) (Result, error) {
	index, first, err := r.readIndex(ctx, opts)
	if err != nil {
		return Result{}, r.named(err)
	}
	a, err := artifact.Ends(r.header, index)
	if err != nil {
		return Result{}, r.inside(err)
	}
	if err := r.placeSegments(a, base, first); err != nil {
		return Result{}, r.named(err)
	}
	w, err := artifact.Restore(out, r.header, index, !opts.NoSync)
	if err != nil {
		return Result{}, err
	}
	defer w.Abort()
	all := a.Header.IndexOffset - a.Header.PageBytes
	carried := len(a.Index.Segments)
	err = inOrder(ctx, opts.jobs(), len(r.chunks)-first, func(s *scratch, i int) error {
		if err := r.decode(s, first+i); err != nil {
			return r.named(err)
		}
		_, err := w.WriteAt(s.raw, int64(r.chunks[first+i].at))
		return err
	}, func(s *scratch, _ int) error {
		opts.progress(uint64(len(s.raw)), all)
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	if base != nil {
		n, err := copySegments(ctx, w, a, base, r.reused, opts)
		if err != nil {
			return Result{}, err
		}
		carried -= n
		base.Close() // where out is the base, some systems replace no open file
	}
	err = w.CommitIf(func(written *artifact.File) error {
		if err := written.Verify(); err != nil {
			return r.inside(err)
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	return Result{a.Header, r.file.Size, len(a.Index.Segments), carried}, nil
}

// readIndex reads the artifact's index, and gives the number of the first chunk behind it.
func (r *reader) readIndex(ctx context.Context, opts Options) ([]byte, int, error) {
	h, err := artifact.HeaderOf(r.header)
	if err != nil {
		return nil, 0, r.inside(err)
	}
	first, err := r.place(0, []area{indexArea(&h)})
	if err != nil {
		return nil, 0, err
	}
	var index []byte
	err = inOrder(ctx, opts.jobs(), first, r.decode, func(s *scratch, _ int) error {
		index = append(index, s.raw...)
		return nil
	})
	return index, first, err
}

// placeSegments checks that each segment is either in base or made of chunks, all of those from number first on.
func (r *reader) placeSegments(a, base *artifact.File, first int) error {
	fail := func(at int64, format string, args ...any) error {
		return &source.Error{Offset: at, Thing: "front", Problem: fmt.Sprintf(format, args...), Next: copyAgain, Err: source.ErrCorrupt}
	}
	if base != nil && len(r.reused) != len(a.Index.Segments) {
		return fail(frameHeader+atReused, "%d entries for %d segments", len(r.reused), len(a.Index.Segments))
	}
	for i, from := range r.reused {
		at := r.entry(0) - 4*int64(len(r.reused)-i)
		if from == notReused {
			continue
		}
		if int64(from) >= int64(len(base.Index.Segments)) {
			return fail(at, "segment %d is to be number %d of the base, which has %d", i, from, len(base.Index.Segments))
		}
		if s, t := &a.Index.Segments[i], &base.Index.Segments[from]; s.Digest != t.Digest || s.Bytes != t.Bytes {
			return fail(at, "segment %q is not segment %q of the base", s.Name, t.Name)
		}
	}
	end, err := r.place(first, segmentAreas(a.Index, r.reused))
	if err == nil && end != len(r.chunks) {
		err = fail(r.entry(end), "%d chunks, %d were expected", len(r.chunks), end)
	}
	return err
}

// copySegments copies the segments of an artifact that base has, and says how many they are.
func copySegments(ctx context.Context, w *artifact.Writer, a, base *artifact.File, reused []uint32, opts Options) (int, error) {
	var list []int
	for i, from := range reused {
		if from != notReused {
			list = append(list, i)
		}
	}
	all := a.Header.IndexOffset - a.Header.PageBytes
	return len(list), inOrder(ctx, opts.jobs(), len(list), func(s *scratch, i int) error {
		from, to := &base.Index.Segments[reused[list[i]]], &a.Index.Segments[list[i]]
		if err := base.CheckSegment(ctx, int(reused[list[i]])); err != nil {
			return err
		}
		for done := uint64(0); done < to.Bytes; done += uint64(len(s.raw)) {
			s.grow(int(min(to.Bytes-done, maxChunk)))
			if n, err := base.ReadAt(s.raw, int64(from.Offset+done)); n < len(s.raw) {
				return changed(base, from.Offset+done+uint64(n), fmt.Sprintf("segment %q (%v)", from.Name, err))
			}
			if _, err := w.WriteAt(s.raw, int64(to.Offset+done)); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	}, func(_ *scratch, i int) error {
		opts.progress(a.Index.Segments[list[i]].Bytes, all)
		return nil
	})
}
