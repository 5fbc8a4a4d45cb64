package torch

import (
	"encoding/binary"
	"fmt"

	"npuw/pipeline/source"
)

// What the old format begins with.
const (
	legacyMagic    = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" // 0x1950a86a20f9469cfc6c
	legacyProtocol = int64(1001)
)

// legacy reads the catalogue of a checkpoint of the old format.
func (r *reader) legacy() (*source.Catalogue, error) {
	text, err := r.bytes(0, min(r.size, maxPickle))
	if err != nil {
		return nil, err
	}
	m := &machine{text: text, path: r.path}
	var parts [5]value // magic number, protocol, sys_info, what was saved, keys of storages
	for i := range parts {
		if parts[i], err = m.run(); err != nil {
			return nil, err
		}
		if magic, ok := parts[0].(wide); !ok || string(magic) != legacyMagic {
			return nil, m.fail(source.ErrUnsupported, "does not give the magic number with which a file of torch.save begins: another program's", nextSafe)
		}
	}
	if parts[1] != value(legacyProtocol) {
		return nil, m.fail(source.ErrUnsupported, fmt.Sprintf("protocol %.50s of torch.save, expected %d", describe(parts[1]), legacyProtocol), nextSafe)
	}
	if info, ok := parts[2].(*dict); !ok || info.get("little_endian") != value(true) {
		return nil, m.fail(source.ErrUnsupported, "is not said to be little-endian", "save it on a machine with that byte order")
	}
	keys, ok := parts[4].(*list)
	if !ok {
		return nil, m.corrupt("ends with %.50s, expected the keys of storages", describe(parts[4]))
	}
	sizes := map[string]int64{} // of elements
	for key, s := range m.storages {
		sizes[key] = s.kind.size
	}
	places, err := r.places(keys.items, sizes, int64(m.at))
	if err != nil {
		return nil, err
	}
	return r.catalogue(parts[3], func(s *storage) (int64, error) {
		p, ok := places[s.key]
		if !ok || p.elements != s.elements || s.kind.size != sizes[s.key] {
			return 0, r.fail(p.data, source.ErrCorrupt, fmt.Sprintf("storage %.100q of %d %s is not in the file, or has %d elements of another size there", s.key, s.elements, s.kind.name, p.elements), "download it again")
		}
		return p.data, nil
	})
}

// storagePlace is where a storage's bytes are in the old format.
type storagePlace struct{ data, elements int64 }

// places walks the storages, the first of which stands at offset, in the order of their keys. Element sizes are known from the
// references to them. They end with the file.
func (r *reader) places(keys []value, sizes map[string]int64, offset int64) (map[string]storagePlace, error) {
	places := make(map[string]storagePlace, min(len(keys), len(sizes)))
	for _, v := range keys {
		key, ok := v.(string)
		if _, twice := places[key]; !ok || twice || sizes[key] == 0 {
			return nil, r.fail(offset, source.ErrCorrupt, fmt.Sprintf("storage %.100s is there, and is referred to by nothing or there twice", describe(v)), nextSafe)
		}
		head, err := r.bytes(offset, 8)
		if err != nil {
			return nil, err
		}
		n, left := int64(binary.LittleEndian.Uint64(head)), r.size-offset-8
		if n < 0 || n > left/sizes[key] {
			return nil, r.fail(offset, source.ErrTruncated, fmt.Sprintf("storage %.100q has %d elements of %d bytes, %d bytes are left", key, n, sizes[key], left), "download it again")
		}
		places[key] = storagePlace{offset + 8, n}
		offset += 8 + n*sizes[key]
	}
	if offset != r.size {
		return nil, r.fail(offset, source.ErrCorrupt, fmt.Sprintf("%d bytes behind the last storage", r.size-offset), "download it again")
	}
	return places, nil
}
