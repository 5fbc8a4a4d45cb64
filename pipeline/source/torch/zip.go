package torch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"npuw/pipeline/source"
)

// Sizes and signatures of a zip's records (PKWARE, APPNOTE.TXT, 4.3). All numbers are little-endian.
const (
	localHead     = 30
	directoryHead = 46
	endHead       = 22
	end64Head     = 56
	locatorHead   = 20
	maxComment    = 1<<16 - 1

	signDirectory = "PK\x01\x02"
	signEnd       = "PK\x05\x06"
	signEnd64     = "PK\x06\x06"
	signLocator   = "PK\x06\x07"

	overflow32 = 1<<32 - 1 // a size or offset that stands in the extra field
	extraZip64 = 1
)

// zipEntry is a file in a zip, all of whose sizes fit the zip.
type zipEntry struct {
	name       string
	head       int64 // offset of its local header
	data, size int64 // where its bytes are; data is 0 until the local header has been read
	stored     bool  // as it is: neither compressed nor encrypted
}

// directory is where a zip's entries are listed.
type directory struct {
	offset, size int64
	entries      uint64
}

// entries lists a zip. Of an entry that is not stored as it is, only the name counts.
func (r *reader) entries(d directory) ([]zipEntry, error) {
	text, err := r.bytes(d.offset, d.size)
	if err != nil {
		return nil, err
	}
	list := make([]zipEntry, 0, min(d.entries, uint64(len(text)/directoryHead)))
	for at := 0; at < len(text); {
		e, n, err := r.entry(text[at:], d.offset+int64(at))
		if err != nil {
			return nil, err
		}
		list, at = append(list, e), at+n
	}
	if uint64(len(list)) != d.entries {
		return nil, r.fail(d.offset, source.ErrCorrupt, fmt.Sprintf("the zip's directory has %d entries, and is said to have %d", len(list), d.entries), "download it again")
	}
	return list, nil
}

// directory finds the directory from the end of the file.
func (r *reader) directory() (directory, error) {
	tail := min(r.size, endHead+maxComment)
	text, err := r.bytes(r.size-tail, tail)
	if err != nil {
		return directory{}, err
	}
	at := bytes.LastIndex(text, []byte(signEnd))
	if at < 0 || len(text)-at < endHead {
		return directory{}, r.fail(r.size, source.ErrTruncated, "the zip has no end record", "download it again")
	}
	end := text[at:]
	d := directory{
		entries: uint64(binary.LittleEndian.Uint16(end[10:])),
		size:    int64(binary.LittleEndian.Uint32(end[12:])), offset: int64(binary.LittleEndian.Uint32(end[16:])),
	}
	behind := r.size - tail + int64(at) // of the directory
	if at >= locatorHead && bytes.HasPrefix(text[at-locatorHead:], []byte(signLocator)) {
		if d, behind, err = r.directory64(binary.LittleEndian.Uint64(text[at-locatorHead+8:])); err != nil {
			return d, err
		}
	}
	switch {
	case d.size > maxDirectory || d.entries > maxEntries:
		return d, r.fail(behind, source.ErrLimit, fmt.Sprintf("a zip with %d entries, a directory of %d bytes; limits %d and %d", d.entries, d.size, maxEntries, maxDirectory), nextSafe)
	case d.offset < 0 || d.size < 0 || d.offset > behind || d.size != behind-d.offset:
		return d, r.fail(behind, source.ErrCorrupt, fmt.Sprintf("the zip's directory, of %d bytes at %d, does not end where its end record begins", d.size, d.offset), "download it again")
	}
	return d, nil
}

// directory64 reads the end record of zip64 at offset, and gives that too.
func (r *reader) directory64(offset uint64) (directory, int64, error) {
	if offset > uint64(r.size) {
		return directory{}, 0, r.fail(r.size, source.ErrCorrupt, fmt.Sprintf("the zip's end record is at %d, behind the end", offset), "download it again")
	}
	end, err := r.bytes(int64(offset), end64Head)
	if err != nil {
		return directory{}, 0, err
	}
	if !bytes.HasPrefix(end, []byte(signEnd64)) {
		return directory{}, 0, r.fail(int64(offset), source.ErrCorrupt, "no end record of zip64 here", "download it again")
	}
	return directory{
		entries: binary.LittleEndian.Uint64(end[32:]),
		size:    int64(binary.LittleEndian.Uint64(end[40:])), offset: int64(binary.LittleEndian.Uint64(end[48:])),
	}, int64(offset), nil
}

// entry reads the directory's entry that text begins with, which stands at offset, and gives its length.
func (r *reader) entry(text []byte, offset int64) (zipEntry, int, error) {
	corrupt := func(problem string) (zipEntry, int, error) {
		return zipEntry{}, 0, r.fail(offset, source.ErrCorrupt, problem, "download it again")
	}
	if len(text) < directoryHead || !bytes.HasPrefix(text, []byte(signDirectory)) {
		return corrupt("no entry of a zip's directory here")
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(text[at:])) }
	name, extra, comment := u16(28), u16(30), u16(32)
	n := directoryHead + name + extra + comment
	if n > len(text) || name > maxName {
		return corrupt(fmt.Sprintf("a directory entry of %d bytes, its name of %d; %d bytes are left", n, name, len(text)))
	}
	numbers := [3]uint64{ // size, compressed size, offset
		uint64(binary.LittleEndian.Uint32(text[24:])), uint64(binary.LittleEndian.Uint32(text[20:])), uint64(binary.LittleEndian.Uint32(text[42:])),
	}
	if !widen(&numbers, text[directoryHead+name:][:extra]) {
		return corrupt("a directory entry whose sizes do not stand in it")
	}
	e := zipEntry{name: string(text[directoryHead:][:name])}
	size, packed, head := numbers[0], numbers[1], numbers[2]
	if limit := uint64(r.size); head > limit || packed > limit-head {
		return corrupt(fmt.Sprintf("%.200q has %d bytes at %d, in a file of %d", e.name, packed, head, limit))
	}
	const encrypted, method = 1, 10
	e.stored = u16(8)&encrypted == 0 && u16(method) == 0 && packed == size
	e.head, e.size = int64(head), int64(packed)
	return e, n, nil
}

// widen reads those of an entry's numbers that overflow 32 bits from its extra fields; false if they are not there.
func widen(numbers *[3]uint64, extra []byte) bool {
	var wide []byte
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return false
		}
		if id == extraZip64 {
			wide = extra[:n]
		}
		extra = extra[n:]
	}
	for i := range numbers {
		if numbers[i] != overflow32 {
			continue
		}
		if len(wide) < 8 {
			return false
		}
		numbers[i], wide = binary.LittleEndian.Uint64(wide), wide[8:]
	}
	return true
}

// locate finds the bytes of the entry e, which must be stored as it is, behind its local header and before end.
func (r *reader) locate(e *zipEntry, end int64) error {
	if !e.stored {
		return r.fail(e.head, source.ErrUnsupported, fmt.Sprintf("%.200q is compressed or encrypted, as torch.save writes nothing", e.name), nextSafe)
	}
	head, err := r.bytes(e.head, localHead)
	if err != nil {
		return err
	}
	name, extra := int64(binary.LittleEndian.Uint16(head[26:])), int64(binary.LittleEndian.Uint16(head[28:]))
	text, err := r.bytes(e.head+localHead, min(name, maxName))
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, zipMagic) || string(text) != e.name {
		return r.fail(e.head, source.ErrCorrupt, fmt.Sprintf("no local header of %.200q here", e.name), "download it again")
	}
	e.data = e.head + localHead + name + extra
	if e.data > end || e.size > end-e.data {
		return r.fail(e.head, source.ErrCorrupt, fmt.Sprintf("%.200q goes on into the zip's directory", e.name), "download it again")
	}
	return nil
}

// archive is a checkpoint's zip: the entries below its one folder.
type archive struct {
	pickle  zipEntry
	entries map[string]zipEntry // by name behind the folder's
}

// archive lists the entries of a checkpoint, none of which shares a byte with another.
func (r *reader) archive() (*archive, error) {
	d, err := r.directory()
	if err != nil {
		return nil, err
	}
	list, err := r.entries(d)
	if err != nil {
		return nil, err
	}
	folder, found := "", 0
	for _, e := range list {
		if rest, ok := strings.CutSuffix(e.name, "/data.pkl"); ok && !strings.Contains(rest, "/") {
			folder, found = rest+"/", found+1
		}
	}
	if found != 1 {
		return nil, r.fail(-1, source.ErrNotRecognised, fmt.Sprintf("a zip with %d files data.pkl, expected one: no checkpoint of torch.save", found), "give a pytorch_model.bin or .pt file")
	}
	a := &archive{entries: make(map[string]zipEntry, len(list))}
	slices.SortStableFunc(list, func(x, y zipEntry) int { return cmp.Compare(x.head, y.head) })
	last := int64(0)
	for i := range list {
		e := &list[i]
		name, inside := strings.CutPrefix(e.name, folder)
		if !inside || !strings.HasPrefix(name, "data/") && name != "data.pkl" && name != "byteorder" && name != "constants.pkl" {
			continue
		}
		if err := r.locate(e, d.offset); err != nil {
			return nil, err
		}
		if _, twice := a.entries[name]; twice || e.head < last {
			return nil, r.fail(e.head, source.ErrCorrupt, fmt.Sprintf("%.200q is there twice, or begins within another entry", e.name), "download it again")
		}
		last = e.data + e.size
		a.entries[name] = *e
	}
	a.pickle = a.entries["data.pkl"]
	return a, nil
}

// zip reads the catalogue of a checkpoint in a zip.
func (r *reader) zip() (*source.Catalogue, error) {
	a, err := r.archive()
	if err != nil {
		return nil, err
	}
	if e, ok := a.entries["constants.pkl"]; ok {
		return nil, r.fail(e.head, source.ErrUnsupported, "a TorchScript program, not a checkpoint", nextSafe)
	}
	if e, ok := a.entries["byteorder"]; ok {
		order, err := r.bytes(e.data, min(e.size, 16))
		if err != nil {
			return nil, err
		}
		if string(order) != "little" {
			return nil, r.fail(e.data, source.ErrUnsupported, fmt.Sprintf("byte order %.20q, expected little", order), "save it on a machine with that order")
		}
	}
	if a.pickle.size > maxPickle {
		return nil, r.fail(a.pickle.data, source.ErrLimit, fmt.Sprintf("a pickle of %d bytes, limit %d", a.pickle.size, maxPickle), nextSafe)
	}
	text, err := r.bytes(a.pickle.data, a.pickle.size)
	if err != nil {
		return nil, err
	}
	m := &machine{text: text, base: a.pickle.data, path: r.path}
	v, err := m.run()
	if err != nil {
		return nil, err
	}
	return r.catalogue(v, func(s *storage) (int64, error) {
		e, ok := a.entries["data/"+s.key]
		if !ok {
			return 0, r.fail(-1, source.ErrCorrupt, fmt.Sprintf("storage %.100q is not in the zip", s.key), "download it again")
		}
		if s.elements > e.size/s.kind.size || s.elements*s.kind.size != e.size {
			return 0, r.fail(e.data, source.ErrCorrupt, fmt.Sprintf("storage %.100q of %d %s has %d bytes", s.key, s.elements, s.kind.name, e.size), "download it again")
		}
		return e.data, nil
	})
}
