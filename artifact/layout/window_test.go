package layout

import (
	"slices"
	"strings"
	"testing"
)

type run struct{ window, layout, n uint64 }

func TestWindowRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, notation string
		begin, size    []uint64
		layout         string
		runs           []run
	}{
		{
			"all", "N* K* K8 N4",
			[]uint64{0, 0},
			[]uint64{16, 8},
			"N2 K2 K8 N4",
			[]run{{0, 0, 128}},
		},
		{
			"one tile", "N* K* K8 N4",
			[]uint64{8, 4},
			[]uint64{8, 4},
			"N1@4 K1@8 K8@1 N4@1",
			[]run{{0, 96, 32}},
		},
		{
			"one panel", "N* K* K8 N4",
			[]uint64{0, 4},
			[]uint64{16, 4},
			"N1 K2 K8 N4",
			[]run{{0, 64, 64}},
		},
		{
			"a row of tiles", "N* K* K8 N4",
			[]uint64{8, 0},
			[]uint64{8, 8},
			"N2 K1 K8 N4",
			[]run{{0, 32, 32}, {32, 96, 32}},
		},
		{
			"a row", "N* K* K8 N4",
			[]uint64{9, 0},
			[]uint64{1, 8},
			"N2 K1@8 K1@1 N4",
			[]run{{0, 36, 4}, {4, 100, 4}},
		},
		{
			"part of a row in a tile", "N* K* K8 N4",
			[]uint64{9, 5},
			[]uint64{1, 2},
			"N1 K1@8 K1@1 N2",
			[]run{{0, 101, 2}},
		},
		{
			"rows of a row-major matrix", "K* N*",
			[]uint64{3, 0},
			[]uint64{5, 8},
			"K5 N8",
			[]run{{0, 24, 40}},
		},
		{
			"highest stride innermost", "K* N2@1 N4@2",
			[]uint64{0, 2},
			[]uint64{2, 4},
			"K2 N2@1 N2@2",
			[]run{{0, 1, 2}, {2, 5, 2}, {4, 9, 2}, {6, 13, 2}},
		},
		{
			"one element", "K* N*",
			[]uint64{15, 7},
			[]uint64{1, 1},
			"K1 N1",
			[]run{{0, 127, 1}},
		},
	} {
		l := resolve(t, c.notation, kn(16, 8)...)
		w, err := l.Window(c.begin, c.size)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var runs []run
		w.Runs(func(window, layout, n uint64) bool {
			runs = append(runs, run{window, layout, n})
			return true
		})
		if !slices.Equal(runs, c.runs) {
			t.Errorf("%s: runs %v, want %v", c.name, runs, c.runs)
		}
		want := resolve(t, c.layout, kn(c.size[0], c.size[1])...)
		if !w.Layout.Equal(want) {
			t.Errorf("%s: the window's layout is %s, want %s", c.name, w.Layout, want)
		}
	}
}

func TestWindowKeepsLogicalExtents(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N4", kn(9, 5)...)
	for _, c := range []struct{ begin, want [2]uint64 }{
		{[2]uint64{0, 0}, [2]uint64{8, 4}},
		{[2]uint64{8, 4}, [2]uint64{1, 1}},
		{[2]uint64{8, 0}, [2]uint64{1, 4}},
	} {
		w, err := l.Window(c.begin[:], []uint64{8, 4})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]uint64{w.Layout.Axes[0].Extent, w.Layout.Axes[1].Extent}; got != c.want {
			t.Errorf("box from %v: extents %v, want %v", c.begin, got, c.want)
		}
	}
}

func TestRunsStops(t *testing.T) {
	t.Parallel()
	w, err := resolve(t, "K* N*", kn(16, 8)...).Window([]uint64{0, 0}, []uint64{16, 4})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	w.Runs(func(_, _, _ uint64) bool { calls++; return calls < 3 })
	if calls != 3 {
		t.Errorf("%d runs after the third was refused", calls)
	}
	Window{}.Runs(func(_, _, _ uint64) bool {
		t.Error("the zero Window has a run")
		return false
	})
}

func TestWindowRefuses(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N8 K8 N4", kn(128, 64)...)
	for _, c := range []struct {
		name        string
		begin, size []uint64
		message     string
	}{
		{"too few axes", []uint64{0}, []uint64{1}, "begin of 1 and size of 1 axes, the layout has 2"},
		{"nothing", []uint64{0, 0}, []uint64{0, 4}, "0 elements from 0 of axis K"},
		{"too long", []uint64{0, 0}, []uint64{8, 65}, "65 elements from 0 of axis N, whose padded extent is 64"},
		{"beyond", []uint64{0, 61}, []uint64{8, 4}, "4 elements from 61 of axis N"},
		{"overflow", []uint64{1<<64 - 8, 0}, []uint64{8, 4}, "8 elements from 18446744073709551608 of axis K"},
		{"over the edge of a micro tile", []uint64{0, 2}, []uint64{8, 4}, "4 elements from 2 of axis N are not a run of whole steps of 4"},
		{"over the edge of a tile", []uint64{56, 0}, []uint64{16, 4}, "16 elements from 56 of axis K are not a run of whole steps of 64"},
		{"part of the second", []uint64{0, 0}, []uint64{72, 4}, "72 elements from 0 of axis K are not a run of whole steps of 64"},
	} {
		if _, err := l.Window(c.begin, c.size); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.message)
		}
	}
}

func TestGranules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		notation string
		k, n     []uint64
	}{
		{"K* N*", []uint64{1, 128}, []uint64{1, 64}},
		{"N* K* K8 N8 K8 N4", []uint64{1, 8, 64, 128}, []uint64{1, 4, 32, 64}},
		{"K* N2@1 N*@2", []uint64{1, 128}, []uint64{1, 2, 64}},
		{"N1 K* N*", []uint64{1, 128}, []uint64{1, 64}},
	} {
		l := resolve(t, c.notation, kn(128, 64)...)
		if got := l.Granules(0); !slices.Equal(got, c.k) {
			t.Errorf("%s: granules %v of K, want %v", l, got, c.k)
		}
		if got := l.Granules(1); !slices.Equal(got, c.n) {
			t.Errorf("%s: granules %v of N, want %v", l, got, c.n)
		}
	}
	l := resolve(t, "K*", Axis{Name: 'K', Extent: 1})
	if got := l.Granules(0); !slices.Equal(got, []uint64{1}) {
		t.Errorf("an axis of one element has granules %v", got)
	}
	if got := l.Granules(1); got != nil {
		t.Errorf("an axis that is not there has granules %v", got)
	}
}

// TestWindowAround compares windows around boxes with all that can be cut: no smaller one holds the box.
func TestWindowAround(t *testing.T) {
	t.Parallel()
	for _, notation := range []string{"K* N*", "N* K*", "N* K* K4 N2", "N* K* K2 N2 K4 N4", "K* N2@1 N*@2", "N4@2 K* N2@1"} {
		l := resolve(t, notation, kn(16, 8)...)
		for k := range uint64(16) {
			for n := range uint64(8) {
				for _, size := range [][]uint64{{1, 1}, {2, 3}, {5, 2}, {8, 8}} {
					if k+size[0] > 16 || n+size[1] > 8 {
						continue
					}
					w, err := l.WindowAround([]uint64{k, n}, size)
					if err != nil {
						t.Fatalf("%s: the box of %v at %d, %d: %v", notation, size, k, n, err)
					}
					for a, begin := range []uint64{k, n} {
						end := begin + size[a]
						if w.Begin[a] > begin || w.Begin[a]+w.Size[a] < end {
							t.Errorf("%s: the window of %v at %v does not hold the box of %v at %d, %d", notation, w.Size, w.Begin, size, k, n)
						}
						if got, want := w.Size[a], leastWindow(l, a, begin, end); got != want {
							t.Errorf("%s: %d of axis %d around %d to %d, %d are enough", notation, got, a, begin, end, want)
						}
					}
				}
			}
		}
	}
}

// leastWindow is the size of the smallest window of one axis that holds [begin, end), the others whole.
func leastWindow(l Layout, axis int, begin, end uint64) uint64 {
	from, size := make([]uint64, len(l.Axes)), make([]uint64, len(l.Axes))
	for a := range l.Axes {
		size[a] = l.Axes[a].Padded
	}
	for n := end - begin; ; n++ {
		for at := end - min(end, n); at <= begin && at+n <= l.Axes[axis].Padded; at++ {
			from[axis], size[axis] = at, n
			if _, err := l.Window(from, size); err == nil {
				return n
			}
		}
	}
}

// Every run is as long as is told beforehand.
func TestRunLength(t *testing.T) {
	t.Parallel()
	w, err := resolve(t, "N* K* K8 N4", kn(16, 8)...).Window([]uint64{8, 0}, []uint64{8, 8})
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	w.Runs(func(_, _, n uint64) bool {
		runs++
		if n != 32 || w.RunLength() != n {
			t.Errorf("a run of %d, told were %d, 32 was expected", n, w.RunLength())
		}
		return true
	})
	if runs != 2 {
		t.Errorf("%d runs, want 2", runs)
	}
}
