package artifact

import (
	"context"
	"fmt"
)

// CheckSegment compares the digest of segment i with the recorded one. It reads the segment with pread, until ctx ends.
func (a *File) CheckSegment(ctx context.Context, i int) error {
	s := &a.Index.Segments[i]
	digest, err := sumSegment(a, s, func([]byte) error { return ctx.Err() })
	if err != nil {
		return inFile(err, a.Path)
	}
	return a.CheckDigest(i, digest)
}

// CheckDigest compares a digest with the one recorded for segment i, for callers that have the segment's bytes: in a buffer that they
// read it into, which is what counts. Where they differ, the error wraps ErrCorrupt.
func (a *File) CheckDigest(i int, digest Digest) error {
	return inFile(a.Index.Segments[i].matches(digest), a.Path)
}

func (s *Segment) matches(digest Digest) error {
	if digest == s.Digest {
		return nil
	}
	return &Error{
		Offset: int64(s.Offset), Thing: fmt.Sprintf("segment %q", s.Name), Err: ErrCorrupt,
		Detail: fmt.Sprintf("digest %v, recorded %v; copy or build the file again", digest, s.Digest),
	}
}
