package npuwz

import (
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/artifact/plane"
)

// area is a part of an artifact that chunks cover, none beyond its end.
type area struct {
	at, bytes uint64
	digest    artifact.Digest
	thing     string
}

// indexArea is the index of an artifact.
func indexArea(h *artifact.Header) area {
	return area{h.IndexOffset, h.IndexBytes, h.IndexDigest, "index"}
}

// segmentAreas are the segments of an artifact that are not reused.
func segmentAreas(x *artifact.Index, reused []uint32) []area {
	var areas []area
	for i := range x.Segments {
		if s := &x.Segments[i]; len(reused) == 0 || reused[i] == notReused {
			areas = append(areas, segmentArea(s))
		}
	}
	return areas
}

func segmentArea(s *artifact.Segment) area {
	return area{s.Offset, s.Bytes, s.Digest, fmt.Sprintf("segment %q", s.Name)}
}

// cutter cuts an artifact into chunks, by its index alone.
type cutter struct {
	transforms []transform
	chunks     []chunk
}

// cut adds the chunks of an area, whose bytes, from its beginning on, are those of spans.
func (c *cutter) cut(a area, spans []span) {
	at := a.at
	for _, s := range spans {
		t := c.number(s.transform)
		record := uint64(c.transforms[t].recordBytes())
		for left := s.bytes; left > 0; {
			n := min(left, maxChunk/record*record)
			c.chunks = append(c.chunks, chunk{at, uint32(n), uint32(t)})
			at, left = at+n, left-n
		}
	}
}

// number gives a transform its number, or, where there are too many, that of the first.
func (c *cutter) number(t transform) int {
	if len(c.transforms) == 0 {
		c.transforms = append(c.transforms, asIs)
	}
	i := slices.IndexFunc(c.transforms, func(u transform) bool { return slices.Equal(t, u) })
	switch {
	case i >= 0:
		return i
	case len(c.transforms) == maxTransforms:
		return 0
	}
	c.transforms = append(c.transforms, t)
	return len(c.transforms) - 1
}

// span is a run of bytes of one transform: whole records.
type span struct {
	bytes     uint64
	transform transform
}

// spansOf cuts a segment into the planes of its operands, which are those given.
func spansOf(s *artifact.Segment, operands []artifact.Operand) []span {
	var spans spans
	for i := range operands {
		o := &operands[i]
		spans.fill(o.Offset)
		spans.operand(o)
	}
	spans.fill(s.Bytes)
	return spans.list
}

// spans are those of a segment up to a place.
type spans struct {
	list []span
	at   uint64
}

// add adds n bytes of a transform.
func (s *spans) add(n uint64, t transform) {
	if n == 0 {
		return
	}
	if last := len(s.list) - 1; last >= 0 && slices.Equal(s.list[last].transform, t) {
		s.list[last].bytes += n
	} else {
		s.list = append(s.list, span{n, t})
	}
	s.at += n
}

// fill adds what lies before at, which belongs to no operand: to the span before, if it is whole records.
func (s *spans) fill(at uint64) {
	n, t := at-s.at, asIs
	if last := len(s.list) - 1; last >= 0 && n%uint64(s.list[last].transform.recordBytes()) == 0 {
		t = s.list[last].transform
	}
	s.add(n, t)
}

// operand adds the bytes of an operand.
func (s *spans) operand(o *artifact.Operand) {
	if !o.Supported() {
		s.add(o.Bytes, asIs)
		return
	}
	storage := o.Storage()
	planes := slices.Clone(storage.Planes)
	slices.SortFunc(planes, func(a, b plane.Plane) int { return int(min(max(int64(a.Offset)-int64(b.Offset), -1), 1)) })
	if planes[0].RecordElements != 0 {
		s.add(o.Bytes, recordTransform(planes))
		return
	}
	begin := s.at
	for i := range planes {
		s.add(begin+planes[i].Offset-s.at, asIs)
		s.add(planes[i].Bytes, elementTransform(planes[i].Format, planes[i].Bytes))
	}
	s.add(begin+o.Bytes-s.at, asIs)
}

// elementTransform is that of a plane of elements, n bytes.
func elementTransform(f element.Format, n uint64) transform {
	switch {
	case f == element.BFP16 && n%9 == 0:
		return transform{{1, 1}, {8, 1}} // exponents, mantissas
	case n%uint64(floatBytes(f)) == 0:
		return transform{{floatBytes(f), floatBytes(f)}}
	}
	return asIs
}

// floatBytes is the size of the elements of a format that are split in planes of bytes, 1 for those that are not.
func floatBytes(f element.Format) int {
	if f == element.F32 || f == element.F16 || f == element.BF16 {
		return f.Size()
	}
	return 1
}

// recordTransform is that of planes which are interleaved in records, in the order in which they lie.
func recordTransform(planes []plane.Plane) transform {
	var t transform
	at, record := uint64(0), planes[0].RecordBytes
	add := func(n uint64, element int) {
		if n > 0 {
			t = append(t, field{int(n), element})
			at += n
		}
	}
	if record > maxChunk {
		return asIs
	}
	for i := range planes {
		p := &planes[i]
		n, _ := plane.BytesOf(p.Format, p.RecordElements)
		add(p.Offset-at, 1)
		add(n, floatBytes(p.Format))
	}
	add(record-at, 1)
	return t
}
