package planetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
)

// forRandom runs a test on random storages, with their bytes.
func forRandom(t *testing.T, n int, test func(t *testing.T, r *rand.Rand, s plane.Storage, data []byte)) {
	t.Helper()
	made, scaled, records := 0, 0, 0
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 5))
		names, sizes := "KNX"[:1+r.IntN(3)], []uint64{1 + r.Uint64N(60), 1 + r.Uint64N(30), 1 + r.Uint64N(4)}
		l := RandomLayout(r, Axes(names, sizes[:len(names)]...))
		f := RandomForm(r, l)
		s, err := f.Over(l)
		if err != nil {
			continue
		}
		made++
		if s.Encoding == plane.Scaled {
			scaled++
		}
		if s.Planes[0].RecordElements != 0 {
			records++
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			test(t, r, s, Random(&s, r))
			if t.Failed() {
				t.Log(s.String())
			}
		})
	}
	if made < n/3 || scaled < n/8 || records < n/30 {
		t.Errorf("of %d forms %d are sound, %d scaled, %d in records: too few", n, made, scaled, records)
	}
}

// The formulas and plane.Reader read the same values, padding included.
func TestReader(t *testing.T) {
	t.Parallel()
	forRandom(t, 600, func(t *testing.T, r *rand.Rand, s plane.Storage, data []byte) {
		reader := plane.NewReader(&s, func(b []byte, off uint64) error { copy(b, data[off:]); return nil })
		for range 5 {
			begin, size, n := make([]uint64, len(s.Axes)), make([]uint64, len(s.Axes)), uint64(1)
			for a, axis := range s.Axes {
				begin[a] = r.Uint64N(axis.Padded)
				size[a] = 1 + r.Uint64N(axis.Padded-begin[a])
				n *= size[a]
			}
			got := make([]float64, n)
			if err := reader.Float64(got, begin, size); err != nil {
				t.Fatal(err)
			}
			box := make([]layout.Axis, len(size))
			for a := range box {
				box[a].Extent = size[a]
			}
			Each(box, false, func(index []uint64) {
				for a := range index {
					index[a] += begin[a]
				}
				if want := Value(&s, data, index); math.Float64bits(got[0]) != math.Float64bits(want) {
					t.Fatalf("value %d is %v, want %v", index, got[0], want)
				}
				got = got[1:]
				for a := range index {
					index[a] -= begin[a]
				}
			})
		}
	})
}

// Renamed, cut and turned axes name the same numbers.
func TestAxes(t *testing.T) {
	t.Parallel()
	forRandom(t, 200, func(t *testing.T, r *rand.Rand, s plane.Storage, data []byte) {
		axes := slices.Clone(s.Axes)
		for a := range axes {
			axes[a].Name, axes[a].Extent = "ABC"[a], 1+r.Uint64N(axes[a].Padded)
		}
		order := r.Perm(len(axes))
		on := s.On(axes)
		turned := on.Permuted(order)
		for _, made := range []plane.Storage{on, turned} {
			if err := made.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		place := make([]uint64, len(order))
		Each(axes, true, func(index []uint64) {
			for i, from := range order {
				place[i] = index[from]
			}
			want := math.Float64bits(Value(&s, data, index))
			if math.Float64bits(Value(&on, data, index)) != want || math.Float64bits(Value(&turned, data, place)) != want {
				t.Fatalf("value %d is not value %d in the order %d", place, index, order)
			}
		})
		inverse := make([]int, len(order))
		for i, from := range order {
			inverse[from] = i
		}
		if back := turned.Permuted(inverse); !back.Equal(&on) {
			t.Errorf("turned twice: %v, want %v", back.String(), on.String())
		}
	})
}

// What Encode writes is near the values, each element format as near as it can be.
func TestEncode(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	values := make([]float32, 40*24)
	for i := range values {
		values[i] = float32(r.NormFloat64())
	}
	for _, c := range []struct {
		form  Form
		worst float64
	}{
		{Form{Format: element.F32, Layout: "K* N*"}, 0},
		{Form{Format: element.BF16, Layout: "N* K* K8 N4"}, 1. / 100},
		{Form{Format: element.BFP16, Layout: "N* K* N8 K8"}, 1. / 16},
		{Form{Format: element.I8, Layout: "K* N*", Scales: element.F32, Group: map[byte]uint64{'N': 1}}, 1. / 60},
		{Form{Format: element.I8, Layout: "K* N*", Scales: element.E8M0, Group: map[byte]uint64{'N': 1}}, 1. / 30},
		{Form{Format: element.U8, Layout: "K* N*", Scales: element.BF16, Zeros: true, Group: map[byte]uint64{'K': 8, 'N': 1}}, 1. / 30},
		{Form{Format: element.U4, Layout: "K* N*", Scales: element.F16, Minimums: element.F32, Group: map[byte]uint64{'K': 8, 'N': 1}, Pad: 7, Record: 64}, 1. / 2},
		{Form{Format: element.I4, Layout: "N* K*", Scales: element.F32, Group: map[byte]uint64{'K': 8, 'N': 1}, HighFirst: true}, 1. / 2},
		{Form{Format: element.NF4, Layout: "N* K*", Scales: element.F32, Group: map[byte]uint64{'K': 8, 'N': 1}}, 1. / 2},
	} {
		s, err := c.form.Storage(Axes("KN", 40, 24))
		if err != nil {
			t.Fatalf("%+v: %v", c.form, err)
		}
		data, err := Encode(&s, values)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range Decoded(&s, data) {
			if d := math.Abs(float64(x) - float64(values[i])); d > c.worst {
				t.Errorf("%s: value %d is %v, want %v", s.String(), i, x, values[i])
				break
			}
		}
	}
}
