package artifact

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// TestReadersAgree changes fields of the index and bytes of planes at random, with all digests right, and wants both readers to refuse
// the file or to take it; what they take is compared as all artifacts are. NPUW_AGREE=N in the environment makes N files, from seed N on.
func TestReadersAgree(t *testing.T) {
	t.Parallel()
	n, seed := 200, uint64(0)
	if text := os.Getenv("NPUW_AGREE"); text != "" {
		given, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		n, seed = given, uint64(given)
	}
	if testing.Short() {
		n = 10
	}
	d := newSample(4096).damaged()
	d.seal()
	d.raw = encodeIndex(d.index)
	files, changes, sound := make([][]byte, n), make([]string, n), 0
	for i := range files {
		files[i], changes[i] = mutant(t, d, rand.New(rand.NewPCG(seed+uint64(i), 11)))
	}
	for i, fault := range pythonFaults(t, files...) {
		err := check(files[i])
		switch {
		case (err == nil) != (fault == ""):
			t.Errorf("seed %d: %s: Go says %v; npuw.py says %q", seed+uint64(i), changes[i], err, fault)
		case err == nil:
			sound++
			leave(t, files[i])
		default:
			wantFault(t, err, nil, changes[i])
		}
	}
	if sound < n/10 || n-sound < n/10 {
		t.Errorf("%d of %d files are sound", sound, n)
	}
}

// mutant is an artifact with one to three changes, and what they are.
func mutant(t *testing.T, d *damaged, r *rand.Rand) (file []byte, changes string) {
	t.Helper()
	m := *d
	m.raw, m.data = bytes.Clone(d.raw), bytes.Clone(d.data)
	for range 1 + r.IntN(3)/2 {
		if r.IntN(4) == 0 {
			changes += changeData(&m, r)
		} else {
			changes += changeIndex(&m, r)
		}
	}
	f := openFlat(m.raw, 0)
	for i := range d.index.Segments { // of the data as it is now, in the segments as they were
		g := &d.index.Segments[i]
		putDigest(m.raw[f.at[slotSegments]+i*segmentStruct.size+24:], Sum(m.data[g.Offset-4096:][:g.Bytes]))
	}
	return m.bytes(), changes
}

// changeData changes a bit of an operand in planes.
func changeData(m *damaged, r *rand.Rand) string {
	o := &m.index.Operands[i8+r.IntN(folded-i8)]
	at := m.index.Segments[o.Segment].Offset - 4096 + o.Offset + r.Uint64N(o.Bytes)
	m.data[at] ^= 1 << r.IntN(8)
	return fmt.Sprintf("byte %d of %s is %#x; ", at+4096-m.index.Segments[o.Segment].Offset-o.Offset, o.Name, m.data[at])
}

// changeIndex changes a field of a struct, to a number that may make sense.
func changeIndex(m *damaged, r *rand.Rand) string {
	f := openFlat(m.raw, 0)
	s := []slot{
		slotPlanes, slotPlanes, slotPlanes, slotPlanes, slotNumbers, slotDigits, slotAxes, slotOperands, slotOperands, slotArguments, slotContracts,
		slotPlacements, slotPlacedAxes, slotFills, slotNotes, slotBindings, slotParameters, slotSegments,
	}[r.IntN(18)]
	of := slots[s].of
	fields := fieldPattern.FindAllStringSubmatch(of.fields, -1)
	field := fields[r.IntN(len(fields))]
	at, _ := strconv.Atoi(field[1])
	size, ok := map[string]int{"u8": 1, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "f64": 8, "Range": 8, "Text": 8}[field[3]]
	if !ok { // digests, statistics
		return ""
	}
	if field[3] == "Range" && r.IntN(2) == 0 { // its count alone
		at, size = at+4, 4
	}
	entry, other := r.IntN(f.count[s]), r.IntN(f.count[s])
	b := m.raw[f.at[s]+entry*of.size+at:][:size]
	var word [8]byte
	copy(word[:], b)
	before := binary.LittleEndian.Uint64(word[:])
	switch r.IntN(4) {
	case 0: // what another has there
		copy(word[:], m.raw[f.at[s]+other*of.size+at:][:size])
	case 1:
		binary.LittleEndian.PutUint64(word[:], before+[]uint64{1, math.MaxUint64, 2, before, -before / 2}[r.IntN(5)])
	case 2:
		binary.LittleEndian.PutUint64(word[:], r.Uint64N(13))
	default:
		binary.LittleEndian.PutUint64(word[:], []uint64{0, 1 << 31, 1<<32 - 1, 1 << 62, 1 << 63, math.MaxUint64, 99, 24, 32, 240}[r.IntN(10)])
	}
	copy(b, word[:])
	return fmt.Sprintf("%s of %s %d is %#x, was %#x; ", field[2], of.name, entry, b, before)
}
