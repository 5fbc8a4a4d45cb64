package target

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnfit is wrapped by every error that says why a tile does not fit a target.
var ErrUnfit = errors.New("does not fit the target")

// MicroTile is what a core multiplies in one go: R of M by S of K by T of N. The order of a weight depends on S and T alone.
type MicroTile struct {
	R, S, T int
	// AcrossM and AcrossN are how many of them the kernel that uses it works on at once, which the sides of a tile must be
	// multiples of; 1 where no kernel is known.
	AcrossM, AcrossN int
	InUse            bool
	Doubt            string // what speaks against it; empty: nothing
}

func (m MicroTile) String() string { return fmt.Sprintf("%dx%dx%d", m.R, m.S, m.T) }

// MicroTiles are those of operands A and B of a pair of formats, the one in use first.
type MicroTiles struct {
	A, B  Format
	Tiles []MicroTile
}

// MicroTiles returns the micro tiles of the target for a pair of formats, nil if it cannot multiply them.
func (t Target) MicroTiles(a, b Format) []MicroTile {
	for _, p := range t.Tiles {
		if p.A == a && p.B == b {
			return p.Tiles
		}
	}
	return nil
}

// InUse returns the micro tile that kernels use for a pair of formats.
func (t Target) InUse(a, b Format) (MicroTile, bool) {
	for _, m := range t.MicroTiles(a, b) {
		if m.InUse {
			return m, true
		}
	}
	return MicroTile{}, false
}

// MicroTile finds a micro tile. With r, s and t all 0 it is the one in use. The error, which wraps ErrUnfit, lists those that there
// are.
func (t Target) MicroTile(a, b Format, r, s, n int) (MicroTile, error) {
	tiles := t.MicroTiles(a, b)
	if len(tiles) == 0 {
		return MicroTile{}, fmt.Errorf("%w %s: it does not multiply %v by %v; it does %s", ErrUnfit, t.Name, a, b, t.pairs())
	}
	if r == 0 && s == 0 && n == 0 {
		if m, ok := t.InUse(a, b); ok {
			return m, nil
		}
		return MicroTile{}, fmt.Errorf("%w %s: no micro tile is in use for %v by %v: name one of %s", ErrUnfit, t.Name, a, b, list(tiles))
	}
	for _, m := range tiles {
		if m.R == r && m.S == s && m.T == n {
			return m, nil
		}
	}
	return MicroTile{}, fmt.Errorf("%w %s: it has no micro tile %dx%dx%d for %v by %v; it has %s",
		ErrUnfit, t.Name, r, s, n, a, b, list(tiles))
}

func (t Target) pairs() string {
	var names []string
	for _, p := range t.Tiles {
		names = append(names, fmt.Sprintf("%v by %v", p.A, p.B))
	}
	return strings.Join(names, ", ")
}

func list(tiles []MicroTile) string {
	var names []string
	for _, m := range tiles {
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}

// Tile is what one core has before it at a time: C[M,N] += A[M,K] B[K,N].
type Tile struct {
	M, K, N uint64
	A, B, C Format
	R, S, T int // the micro tile; all 0: the one in use
}

// Usage is what a tile takes of a core's memory, in bytes.
type Usage struct {
	A, B, C  uint64 // one buffer of each
	Reserved uint64
	Total    uint64 // of two buffers of each, and what is reserved
	Memory   uint64
}

// Check says what a tile takes of a core's memory with every buffer twice, and whether the target can do it: its micro tile
// exists, its sides are multiples of what the kernel works on at once, and it fits the memory with room for the stack. The error
// gives all that is wrong, and wraps ErrUnfit.
func (t Target) Check(tile Tile) (Usage, error) {
	if !tile.A.Known() || !tile.B.Known() || !tile.C.Known() {
		return Usage{}, fmt.Errorf("%w %s: unknown element format: A is %v, B %v, C %v", ErrUnfit, t.Name, tile.A, tile.B, tile.C)
	}
	var faults []string
	micro, err := t.MicroTile(tile.A, tile.B, tile.R, tile.S, tile.T)
	if err != nil {
		faults = append(faults, strings.TrimPrefix(err.Error(), fmt.Sprintf("%v %s: ", ErrUnfit, t.Name)))
	} else {
		faults = micro.misfits(tile)
	}
	most := 8 * t.Core.Bytes // one side with more elements than the memory has bits is too long, whatever they are
	if tile.M > most || tile.K > most || tile.N > most {
		faults = append(faults, fmt.Sprintf("%dx%dx%d is far more than the %d bytes of a core's memory", tile.M, tile.K, tile.N, t.Core.Bytes))
		return Usage{}, t.unfit(faults)
	}
	u := Usage{
		A: bytes(tile.M*tile.K, tile.A), B: bytes(tile.K*tile.N, tile.B), C: bytes(tile.M*tile.N, tile.C),
		Reserved: t.Core.Reserved, Memory: t.Core.Bytes,
	}
	u.Total = 2*(u.A+u.B+u.C) + u.Reserved
	if u.Total > u.Memory {
		faults = append(faults, fmt.Sprintf("two buffers each of A (%d bytes), B (%d) and C (%d) and the stack (%d) take %d bytes, a core has %d",
			u.A, u.B, u.C, u.Reserved, u.Total, u.Memory))
	}
	if len(faults) > 0 {
		return u, t.unfit(faults)
	}
	return u, nil
}

func (t Target) unfit(faults []string) error {
	return fmt.Errorf("%w %s: %s", ErrUnfit, t.Name, strings.Join(faults, "; "))
}

// misfits says which sides of a tile are no multiples of what they must be.
func (m MicroTile) misfits(tile Tile) []string {
	var faults []string
	for _, side := range []struct {
		name          string
		length        uint64
		micro, atOnce int
	}{
		{"m", tile.M, m.R, m.AcrossM},
		{"k", tile.K, m.S, 1},
		{"n", tile.N, m.T, m.AcrossN},
	} {
		of := uint64(side.micro * side.atOnce)
		if side.length > 0 && side.length%of == 0 {
			continue
		}
		why := fmt.Sprintf("micro tiles of %v", m)
		if side.atOnce > 1 {
			why += fmt.Sprintf(", %d at once", side.atOnce)
		}
		faults = append(faults, fmt.Sprintf("%s=%d is no multiple of %d (%s)", side.name, side.length, of, why))
	}
	return faults
}

// bytes is how many bytes a buffer of n numbers takes.
func bytes(n uint64, f Format) uint64 { return (n*uint64(f.Bits()) + 7) / 8 }
