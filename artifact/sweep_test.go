package artifact

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// TestSweep wants every two of random boxes that have an index in common to be among the pairs.
func TestSweep(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n, axes := random.IntN(20), random.IntN(4)
		boxes := make([][][2]uint64, n)
		for i := range boxes {
			for range axes {
				first := random.Uint64N(12)
				boxes[i] = append(boxes[i], [2]uint64{first, first + random.Uint64N(4)})
			}
		}
		span := func(i, a int) (first, last uint64) { return boxes[i][a][0], boxes[i][a][1] }
		seen := map[[2]int]int{}
		if err := sweep(n, axes, span, func(i, j int) (bool, error) {
			seen[[2]int{min(i, j), max(i, j)}]++
			return false, nil
		}); err != nil {
			t.Fatal(err)
		}
		for j := range n {
			for i := range j {
				meet := true
				for a := range axes {
					meet = meet && boxes[i][a][0] <= boxes[j][a][1] && boxes[j][a][0] <= boxes[i][a][1]
				}
				if times := seen[[2]int{i, j}]; times > 1 || meet && times == 0 {
					t.Fatalf("%v and %v: paired %d times", boxes[i], boxes[j], times)
				}
			}
		}
	}
}

// TestSweepPairs counts pairs: none of boxes that lie beside each other on one axis or another, and one for each that is done with.
func TestSweepPairs(t *testing.T) {
	t.Parallel()
	const n = 4096
	for _, test := range []struct {
		name string
		span func(i, axis int) (first, last uint64)
		want int
	}{
		{"a row", func(i, axis int) (uint64, uint64) { return uint64(3 * i), uint64(3*i + 2) }, 0},
		{"a column", func(i, axis int) (uint64, uint64) {
			return uint64(n-i) * uint64(axis), uint64(n-i) * uint64(axis)
		}, 0},
		{"64 x 64", func(i, axis int) (uint64, uint64) {
			at := []uint64{uint64(i) / 64, uint64(i) % 64}[axis]
			return at, at
		}, 64 * 64 * 63 / 2},
		{"all equal", func(i, axis int) (uint64, uint64) { return 5, 9 }, n - 1},
	} {
		pairs := 0
		err := sweep(n, 2, test.span, func(i, j int) (bool, error) {
			pairs++
			return test.name == "all equal", nil
		})
		if err != nil || pairs != test.want {
			t.Errorf("%s: %d pairs, want %d; %v", test.name, pairs, test.want, err)
		}
	}
	broken := errors.New("broken")
	if err := sweep(3, 1, func(int, int) (uint64, uint64) { return 0, 0 }, func(i, j int) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("an error of a pair: %v", err)
	}
}
