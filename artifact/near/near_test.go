package near

import (
	"slices"
	"testing"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "abc", 0},
		{"abc", "ac", 1},
		{"abc", "axc", 1},
		{"kitten", "sitting", 3},
	} {
		got := []int{Distance([]byte(test.a), test.b, nil), Distance([]byte(test.b), test.a, nil)}
		if !slices.Equal(got, []int{test.want, test.want}) {
			t.Errorf("distance of %q and %q: %v, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestDistanceOfRuns(t *testing.T) {
	t.Parallel()
	digits := func(symbol byte) func(byte) bool {
		if symbol != '#' {
			return nil
		}
		return func(c byte) bool { return c >= '0' && c <= '9' }
	}
	for _, test := range []struct {
		wanted, name string
		want         int
	}{
		{"a.#.b", "a.1.b", 0},
		{"a.#.b", "a.123.b", 0},
		{"a.#.b", "a..b", 1},
		{"a.#.b", "a.x.b", 1},
		{"a.#.b", "a.1x2.b", 1},
		{"#", "", 1},
		{"#", "007", 0},
	} {
		if got := Distance([]byte(test.wanted), test.name, digits); got != test.want {
			t.Errorf("distance of %q and %q: %d, want %d", test.wanted, test.name, got, test.want)
		}
	}
}
