package pack

import "npuw/artifact/plane"

// sheet gathers what a window writes to planes that share records, so that small pieces that follow each other in the file are
// written as one:
//
//	| codes | scales | 0 | codes | scales | 0 | ...
//
// Bytes between them that belong to no element are written as the zeros that they are.
type sheet struct {
	lists [plane.Minimums + 1][]piece // of each plane, ascending
	first [plane.Minimums + 1]int     // of each list, the first that is not written
	bytes []byte                      // of all pieces
	line  []byte                      // what is written next
}

// piece is n bytes that belong to byte off of the operand; they are in sheet.bytes from at on.
type piece struct {
	off   uint64
	at, n int
}

// lineBytes is about how much is written at a time.
const lineBytes = 256 << 10

// add puts a run of a plane's elements, from number first on, on the sheet.
func (s *sheet) add(p *plane.Plane, first, n uint64, b []byte) {
	start, bits := len(s.bytes), uint64(p.Format.Bits())
	s.bytes = append(s.bytes, b...)
	p.Runs(first, n, func(at, number, count uint64) bool {
		s.lists[p.Role] = append(s.lists[p.Role], piece{at, start + int((number-first)*bits/8), int(count * bits / 8)})
		return true
	})
}

// flush writes all pieces in the order of the file, and forgets them.
func (s *sheet) flush(r *records, write func(b []byte, off uint64) error) error {
	begin, end := uint64(0), uint64(0)
	for {
		p, ok := s.next()
		if !ok || !s.join(r, end, p.off) {
			if err := write(s.line, begin); err != nil {
				return err
			}
			s.line, begin = s.line[:0], p.off
		}
		if !ok {
			break
		}
		s.line = append(s.line, s.bytes[p.at:][:p.n]...)
		end = p.off + uint64(p.n)
	}
	for i := range s.lists {
		s.lists[i], s.first[i] = s.lists[i][:0], 0
	}
	s.bytes = s.bytes[:0]
	return nil
}

// next is the piece that comes next in the file.
func (s *sheet) next() (p piece, ok bool) {
	from := 0
	for i, list := range s.lists {
		if list = list[s.first[i]:]; len(list) > 0 && (!ok || list[0].off < p.off) {
			p, ok, from = list[0], true, i
		}
	}
	if ok {
		s.first[from]++
	}
	return p, ok
}

// join goes on with the line, which ends at byte end of the operand, up to byte off, if all between belongs to no element.
func (s *sheet) join(r *records, end, off uint64) bool {
	at := end
	for at < off && r.gaps[at%r.bytes] > 0 {
		at += r.gaps[at%r.bytes]
	}
	if at != off || len(s.line) > lineBytes {
		return false
	}
	s.line = append(s.line, make([]byte, off-end)...)
	return true
}

// records are those of an operand: how long each is, and where in it how many bytes belong to no element.
type records struct {
	bytes uint64
	gaps  map[uint64]uint64
}

// newRecords is nil for planes that are contiguous.
func newRecords(s *plane.Storage) *records {
	r := &records{s.Planes[0].RecordBytes, map[uint64]uint64{}}
	if r.bytes == 0 {
		return nil
	}
	s.Gaps(func(at, n, _, _ uint64) bool {
		r.gaps[at] = n
		return true
	})
	return r
}
