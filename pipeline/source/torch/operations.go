package torch

import (
	"fmt"

	"npuw/pipeline/source"
)

// operations are those that picklers of protocol 2 to 5 write for what is in a checkpoint, by opcode.
var operations = [256]func(m *machine) error{
	opProto: func(m *machine) error {
		version, err := m.number(1)
		if err == nil && version > maxProtocol {
			err = m.fail(source.ErrUnsupported, fmt.Sprintf("protocol %d, the newest that is read is %d", version, maxProtocol), nextSafe)
		}
		return err
	},
	0x95: func(m *machine) error { _, err := m.take(8); return err }, // FRAME: a hint
	'.':  func(m *machine) error { m.done = true; return nil },
	'(':  func(m *machine) error { m.marks = append(m.marks, len(m.stack)); m.made++; return m.room() },
	'0':  func(m *machine) error { _, err := m.pop(1); return err },
	'1':  func(m *machine) error { _, err := m.popMark(); return err },

	'N':  func(m *machine) error { return m.push(nil) },
	0x88: func(m *machine) error { return m.push(true) },
	0x89: func(m *machine) error { return m.push(false) },
	'K':  func(m *machine) error { return m.pushNumber(1) },
	'M':  func(m *machine) error { return m.pushNumber(2) },
	'J': func(m *machine) error {
		n, err := m.number(4)
		return m.pushed(int64(int32(n)), err)
	},
	0x8a: func(m *machine) error { b, err := m.counted(1); return m.pushed(long(b), err) },
	0x8b: func(m *machine) error { b, err := m.counted(4); return m.pushed(long(b), err) },
	'G':  func(m *machine) error { x, err := m.float(); return m.pushed(x, err) },

	'X':  func(m *machine) error { return m.pushText(4) },
	0x8c: func(m *machine) error { return m.pushText(1) },
	0x8d: func(m *machine) error { return m.pushText(8) },
	'T':  func(m *machine) error { return m.pushText(4) }, // Python 2's str
	'U':  func(m *machine) error { return m.pushText(1) },
	'B':  func(m *machine) error { b, err := m.counted(4); return m.pushed(b, err) },
	'C':  func(m *machine) error { b, err := m.counted(1); return m.pushed(b, err) },
	0x8e: func(m *machine) error { b, err := m.counted(8); return m.pushed(b, err) },

	')':  func(m *machine) error { return m.push(tuple(nil)) },
	't':  func(m *machine) error { items, err := m.popMark(); return m.pushed(tuple(items), err) },
	0x85: func(m *machine) error { items, err := m.pop(1); return m.pushed(tuple(items), err) },
	0x86: func(m *machine) error { items, err := m.pop(2); return m.pushed(tuple(items), err) },
	0x87: func(m *machine) error { items, err := m.pop(3); return m.pushed(tuple(items), err) },
	']':  func(m *machine) error { return m.push(&list{}) },
	'a':  func(m *machine) error { items, err := m.pop(1); return m.extend(items, err) },
	'e':  func(m *machine) error { items, err := m.popMark(); return m.extend(items, err) },
	'}':  func(m *machine) error { return m.push(&dict{}) },
	's':  func(m *machine) error { items, err := m.pop(2); return m.set(items, err) },
	'u':  func(m *machine) error { items, err := m.popMark(); return m.set(items, err) },

	'q': func(m *machine) error {
		n, err := m.number(1)
		return orElse(err, func() error { return m.put(uint32(n)) })
	},
	'r': func(m *machine) error {
		n, err := m.number(4)
		return orElse(err, func() error { return m.put(uint32(n)) })
	},
	'h': func(m *machine) error {
		n, err := m.number(1)
		return orElse(err, func() error { return m.get(uint32(n)) })
	},
	'j': func(m *machine) error {
		n, err := m.number(4)
		return orElse(err, func() error { return m.get(uint32(n)) })
	},
	0x94: func(m *machine) error { // MEMOIZE
		m.next++
		return m.put(m.next - 1)
	},

	'c':  (*machine).global,
	0x93: (*machine).stackGlobal,
	'R':  (*machine).reduce,
	'b':  (*machine).build,
	'Q':  (*machine).persistent,
}

func orElse(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

// pushed pushes v, unless there was an error in making it.
func (m *machine) pushed(v value, err error) error {
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) pushNumber(size uint64) error {
	n, err := m.number(size)
	return m.pushed(int64(n), err)
}

func (m *machine) pushText(size uint64) error {
	b, err := m.counted(size)
	return m.pushed(string(b), err)
}

func (m *machine) extend(items []value, err error) error {
	if err != nil {
		return err
	}
	l, err := top[*list](m)
	if err == nil {
		l.items = append(l.items, items...)
	}
	return err
}

// set adds keys and values, which take turns in items, to a dict.
func (m *machine) set(items []value, err error) error {
	if err != nil {
		return err
	}
	d, err := top[*dict](m)
	if err == nil && len(items)%2 != 0 {
		err = m.corrupt("gives a key without a value")
	}
	if err != nil {
		return err
	}
	for i := 0; i < len(items); i += 2 {
		d.entries = append(d.entries, entry{items[i], items[i+1]})
	}
	return nil
}

func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.pushGlobal(module, name)
}

func (m *machine) stackGlobal() error {
	items, err := m.pop(2)
	if err != nil {
		return err
	}
	module, ok := items[0].(string)
	name, also := items[1].(string)
	if !ok || !also {
		return m.corrupt("names a global by %s and %s", describe(items[0]), describe(items[1]))
	}
	return m.pushGlobal(module, name)
}

func (m *machine) pushGlobal(module, name string) error {
	g := global(module + " " + name)
	if !g.known() {
		return m.fail(source.ErrUnsupported, fmt.Sprintf("names the global %.200q, which is none of those that a state dict needs; nothing was run", module+"."+name),
			"a pickle can run any program: where you trust it, load it and "+nextSafe)
	}
	return m.push(g)
}

// build gives a value its attributes: of a dict, which has PyTorch's _metadata, they do not count.
func (m *machine) build() error {
	if _, err := m.pop(1); err != nil {
		return err
	}
	_, err := top[*dict](m)
	return err
}

// reduce applies a global.
func (m *machine) reduce() error {
	items, err := m.pop(2)
	if err != nil {
		return err
	}
	args, ok := items[1].(tuple)
	of, also := items[0].(global)
	if !ok || !also || !callable[of] {
		return m.corrupt("applies %.100s to %.100s", describe(items[0]), describe(items[1]))
	}
	switch {
	case of == globalOrderedDict && len(args) == 0:
		return m.push(&dict{})
	case of == globalParameter && len(args) == 3:
		t, ok := args[0].(*tensor)
		if !ok {
			return m.corrupt("makes a parameter of %.100s", describe(args[0]))
		}
		return m.push(t)
	case of == globalTensor && (len(args) == 6 || len(args) == 7), of == globalTensorDtype && (len(args) == 7 || len(args) == 8):
		t, err := m.tensor(of, args)
		return m.pushed(t, err)
	}
	return m.corrupt("applies %s to %d arguments", of, len(args))
}

// tensor makes one of storage, offset, shape, stride, requires_grad, hooks and, for v3, dtype.
func (m *machine) tensor(of global, args tuple) (*tensor, error) {
	s, ok := args[0].(*storage)
	offset, also := args[1].(int64)
	if !ok || !also {
		return nil, m.corrupt("makes a tensor of %.100s from %.100s on", describe(args[0]), describe(args[1]))
	}
	t := &tensor{of: s, kind: s.kind, offset: offset}
	if of == globalTensorDtype {
		g, _ := args[6].(global)
		if t.kind = dtypes[g]; t.kind.size == 0 {
			return nil, m.corrupt("makes a tensor of type %.100s", describe(args[6]))
		}
	}
	var err error
	if t.shape, err = m.sizes(args[2]); err == nil {
		t.stride, err = m.sizes(args[3])
	}
	return t, err
}

// sizes reads a tuple of integers.
func (m *machine) sizes(v value) ([]int64, error) {
	items, ok := v.(tuple)
	if !ok || len(items) > maxRank {
		return nil, m.corrupt("has a shape or strides that are %.100s, expected a tuple of at most %d", describe(v), maxRank)
	}
	list := make([]int64, len(items))
	for i, x := range items {
		n, ok := x.(int64)
		if !ok || n < 0 {
			return nil, m.corrupt("has a shape or strides with %.100s in it", describe(x))
		}
		list[i] = n
	}
	return list, nil
}

// persistent makes a storage of its id: ("storage", class, key, device, elements) and, in the old format, None for no view.
func (m *machine) persistent() error {
	items, err := m.pop(1)
	if err != nil {
		return err
	}
	id, _ := items[0].(tuple)
	if len(id) == 6 {
		if id[5] != nil {
			return m.fail(source.ErrUnsupported, "a storage that is a view of another, as PyTorch before 0.4 saved them", nextSafe)
		}
		id = id[:5]
	}
	if len(id) != 5 || id[0] != value("storage") {
		return m.corrupt("refers to %.100s, expected a storage", describe(items[0]))
	}
	class, _ := id[1].(global)
	key, ok := id[2].(string)
	elements, also := id[4].(int64)
	kind := storageClasses[class]
	if !ok || !also || kind.size == 0 || elements < 0 || len(key) > maxName {
		return m.corrupt("refers to a storage of class %.100s, key %.100s and %.100s elements", describe(id[1]), describe(id[2]), describe(id[4]))
	}
	s := &storage{key, kind, elements}
	if m.storages == nil {
		m.storages = map[string]*storage{}
	}
	m.storages[key] = s
	return m.push(s)
}
