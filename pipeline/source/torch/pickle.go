package torch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"npuw/pipeline/source"
)

const (
	opProto     = 0x80
	maxProtocol = 5
)

// machine is a pickle machine (Python's Lib/pickletools.py documents it) that makes values and calls nothing: what a pickle may name
// and apply is in values.go. It takes time and memory in proportion to the pickle, within maxValues.
type machine struct {
	text  []byte
	at    int   // of the next byte
	base  int64 // offset of text in the file
	path  string
	stack []value
	marks []int // heights of the stack
	memo  map[uint32]value
	made  int // values
	done  bool
	next  uint32 // number that MEMOIZE gives

	storages map[string]*storage // by key, the last that was referred to
}

// run reads one pickle from at on, and gives its value.
func (m *machine) run() (value, error) {
	m.stack, m.marks, m.memo, m.next, m.done = nil, nil, map[uint32]value{}, 0, false
	for !m.done {
		start := m.at
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		do := operations[op[0]]
		if do == nil {
			m.at = start
			return nil, m.fail(source.ErrUnsupported, fmt.Sprintf("pickle operation 0x%02x, which no checkpoint of tensors needs; nothing was run", op[0]), nextSafe)
		}
		if err := do(m); err != nil {
			return nil, err
		}
	}
	if len(m.stack) != 1 || len(m.marks) != 0 {
		return nil, m.corrupt("ends with %d values, expected 1", len(m.stack))
	}
	return m.stack[0], nil
}

func (m *machine) fail(sentinel error, problem, next string) error {
	return &source.Error{File: m.path, Offset: m.base + int64(m.at), Thing: "pickle", Problem: problem, Next: next, Err: sentinel}
}

func (m *machine) corrupt(format string, args ...any) error {
	return m.fail(source.ErrCorrupt, fmt.Sprintf(format, args...), "download it again, or save the model again")
}

// take reads n bytes.
func (m *machine) take(n uint64) ([]byte, error) {
	if left := uint64(len(m.text) - m.at); n > left {
		if len(m.text) >= maxPickle {
			return nil, m.fail(source.ErrLimit, fmt.Sprintf("goes on past %d bytes, which is the limit", maxPickle), nextSafe)
		}
		return nil, m.fail(source.ErrTruncated, fmt.Sprintf("ends %d bytes on, %d were expected", left, n), "download it again")
	}
	b := m.text[m.at:][:n]
	m.at += int(n)
	return b, nil
}

// number reads an unsigned integer of size bytes.
func (m *machine) number(size uint64) (uint64, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var all [8]byte
	copy(all[:], b)
	return binary.LittleEndian.Uint64(all[:]), nil
}

// counted reads a number of size bytes, and as many bytes.
func (m *machine) counted(size uint64) ([]byte, error) {
	n, err := m.number(size)
	if err != nil {
		return nil, err
	}
	return m.take(n)
}

// line reads up to a line feed.
func (m *machine) line() (string, error) {
	i := bytes.IndexByte(m.text[m.at:], '\n')
	if i < 0 || i > maxName {
		return "", m.corrupt("a line of more than %d bytes", maxName)
	}
	b, err := m.take(uint64(i) + 1)
	return string(b[:i]), err
}

func (m *machine) push(v value) error {
	m.made++
	m.stack = append(m.stack, v)
	return m.room()
}

// room fails when too much has been made.
func (m *machine) room() error {
	if m.made > maxValues {
		return m.fail(source.ErrLimit, fmt.Sprintf("makes more than %d values", maxValues), nextSafe)
	}
	return nil
}

// pop takes n values above the last mark.
func (m *machine) pop(n int) ([]value, error) {
	low := 0
	if len(m.marks) > 0 {
		low = m.marks[len(m.marks)-1]
	}
	if len(m.stack)-low < n {
		return nil, m.corrupt("takes %d values from a stack of %d", n, len(m.stack)-low)
	}
	at := len(m.stack) - n
	items := append([]value(nil), m.stack[at:]...)
	m.stack = m.stack[:at]
	return items, nil
}

// popMark takes all values above the last mark, and that.
func (m *machine) popMark() ([]value, error) {
	if len(m.marks) == 0 {
		return nil, m.corrupt("goes back to a mark that is not there")
	}
	items, err := m.pop(len(m.stack) - m.marks[len(m.marks)-1])
	m.marks = m.marks[:len(m.marks)-1]
	return items, err
}

// top is the value on the stack, of type T.
func top[T value](m *machine) (T, error) {
	var none T
	items, err := m.pop(1)
	if err != nil {
		return none, err
	}
	v, ok := items[0].(T)
	if !ok {
		return none, m.corrupt("does with %.100s what is for %T", describe(items[0]), none)
	}
	m.stack = append(m.stack, v)
	return v, nil
}

// describe tells what v is, not what is in it.
func describe(v value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case global:
		return string(v)
	case int64, bool, float64:
		return fmt.Sprint(v)
	case string:
		return fmt.Sprintf("%.60q", v)
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case *storage:
		return "a storage"
	case *tensor:
		return "a tensor"
	case []byte, wide:
		return "bytes or a long integer"
	}
	return fmt.Sprintf("a %T", v)
}

func (m *machine) float() (float64, error) {
	b, err := m.take(8)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

// long reads an integer of some bytes, in two's complement.
func long(b []byte) value {
	if len(b) > 8 {
		return wide(b)
	}
	var all [8]byte
	if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		all = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(all[:], b)
	return int64(binary.LittleEndian.Uint64(all[:]))
}

func (m *machine) put(i uint32) error {
	items, err := m.pop(1)
	if err != nil {
		return err
	}
	m.stack = append(m.stack, items[0])
	if _, again := m.memo[i]; !again {
		m.made++
	}
	m.memo[i] = items[0]
	return m.room()
}

func (m *machine) get(i uint32) error {
	v, ok := m.memo[i]
	if !ok {
		return m.corrupt("recalls value %d, which it did not keep", i)
	}
	return m.push(v)
}
