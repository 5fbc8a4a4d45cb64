package element

import (
	"math"
	"testing"
)

func TestStatsRatios(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name              string
		stats             Stats
		relative2, cosine float64
	}{
		{"nothing", Stats{}, 0, 1},
		{"no error", Stats{SumXX: 4}, 0, 1},
		{"x all zero", Stats{SumDD: 1}, math.Inf(1), 0},
		{"y all zero", Stats{SumXX: 9, SumXD: 9, SumDD: 9}, 1, 0},
		{"x = (3, 4), y = (3, 0)", Stats{SumXX: 25, SumXD: 16, SumDD: 16}, 0.8, 0.6},
		{"y = -x", Stats{SumXX: 1, SumXD: 2, SumDD: 4}, 2, -1},
	}
	for _, r := range rows {
		if got := r.stats.RelativeL2(); got != r.relative2 {
			t.Errorf("%s: RelativeL2 is %g, want %g", r.name, got, r.relative2)
		}
		if got := r.stats.Cosine(); got != r.cosine {
			t.Errorf("%s: Cosine is %g, want %g", r.name, got, r.cosine)
		}
	}
}

func TestStatsAdd(t *testing.T) {
	t.Parallel()
	s := Stats{Elements: 1, Inexact: 2, Underflowed: 3, NonFinite: 4, MaxAbsError: 5, MaxAbsValue: 6, SumXX: 1, SumXD: 2, SumDD: 3}
	s.Add(Stats{Elements: 10, Inexact: 20, Underflowed: 30, NonFinite: 40, MaxAbsError: 7, MaxAbsValue: 1, SumXX: 0.5, SumXD: -1, SumDD: 2})
	want := Stats{
		Elements: 11, Inexact: 22, Underflowed: 33, NonFinite: 44,
		MaxAbsError: 7, MaxAbsValue: 6, SumXX: 1.5, SumXD: 1, SumDD: 5,
	}
	if s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}
