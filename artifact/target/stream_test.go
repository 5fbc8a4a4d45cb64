package target

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"npuw/artifact/layout"
)

// resolve gives the layout of a notation for axes such as "K=139 N=75".
func resolve(t testing.TB, notation, shape string) layout.Layout {
	t.Helper()
	spec, err := layout.Parse(notation)
	if err != nil {
		t.Fatal(err)
	}
	var axes []layout.Axis
	for field := range strings.FieldsSeq(shape) {
		var a layout.Axis
		if _, err := fmt.Sscanf(field, "%c=%d", &a.Name, &a.Extent); err != nil {
			t.Fatal(err)
		}
		axes = append(axes, a)
	}
	l, err := spec.Resolve(axes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func show(loops []Loop) string {
	var texts []string
	for _, l := range loops {
		texts = append(texts, l.String())
	}
	return strings.Join(texts, " ")
}

// walk calls visit with every address that loops go to, in their order.
func walk(loops []Loop, base uint64, visit func(uint64)) {
	if len(loops) == 0 {
		visit(base)
		return
	}
	for i := range loops[0].Size {
		walk(loops[1:], base+i*loops[0].Step, visit)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ order, source, shape, want string }{
		{"K* N*", "K* N*", "K=6 N=10", "{60, 1}"},
		{"N* K*", "K* N*", "K=6 N=10", "{10, 1} {6, 10}"},
		{"N* K* K8 N8 K8 N4", "K* N*", "K=512 N=2048", "{64, 32} {64, 16384} {8, 4} {8, 2048} {4, 1}"},
		{"N* K* K8 N8 K8 N4", "N* K* K8 N8 K8 N4", "K=512 N=2048", "{1048576, 1}"},
		{"K* N*", "N* K* K8 N8 K8 N4", "K=512 N=2048", "{64, 256} {8, 4} {64, 16384} {8, 32} {4, 1}"},
		{"N* K* K8 N4", "K* N* K4 N8", "K=32 N=32", "{4, 32} {2, 4} {8, 128} {4, 8} {4, 1}"},
		{"N4@32 N*@128 K* K8 N8@4 K8 N4@1", "K* N*", "K=64 N=512", "{4, 32} {4, 128} {8, 4096} {8, 4} {8, 512} {4, 1}"},
		{"O* I* Y* X* I8 O8", "O* I* Y* X*", "O=16 I=8 Y=3 X=3", "{2, 576} {9, 1} {8, 9} {8, 72}"},
	} {
		source := resolve(t, c.source, c.shape)
		order := resolve(t, c.order, c.shape)
		loops, err := Stream(order, source)
		if err != nil || show(loops) != c.want {
			t.Errorf("%s from %s: %s, error %v, want %s", c.order, c.source, show(loops), err, c.want)
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ order, source, orderShape, sourceShape, want string }{
		{"K* K5", "K* K3", "K=15", "K=15", "the orders cut axis K at multiples of 3 and of 5"},
		{"K* K6", "K* K4", "K=24", "K=24", "the orders cut axis K at multiples of 4 and of 6"},
		{"K* K4", "K* K6", "K=24", "K=24", "the orders cut axis K at multiples of 4 and of 6"},
		{"K* N*", "K* N*", "K=15 N=2", "K=16 N=2", "the orders are of K=15 N=2 and of K=16 N=2"},
		{"K* N*", "K*", "K=15 N=2", "K=15", "the orders are of K=15 N=2 and of K=15"},
	} {
		_, err := Stream(resolve(t, c.order, c.orderShape), resolve(t, c.source, c.sourceShape))
		if !errors.Is(err, ErrNoStream) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s from %s: error %v, want %q", c.order, c.source, err, c.want)
		}
	}
	broken := layout.Layout{Axes: []layout.Axis{{Name: 'K', Extent: 2, Padded: 2}}}
	if _, err := Stream(broken, broken); !errors.Is(err, layout.ErrInvalid) {
		t.Errorf("a layout that is none: error %v", err)
	}
}

// randomOrders returns two orders of the same axes, each axis split along one chain of divisors, so that both cut it alike or
// one finer than the other.
func randomOrders(r *rand.Rand) (a, b layout.Layout) {
	for axis := range 1 + r.IntN(3) {
		low := uint64(1)
		lastA, lastB := uint64(1), uint64(1) // where the digit that is still open began
		end := func(l *layout.Layout, last *uint64) {
			if *last < low {
				l.Digits = append(l.Digits, layout.Digit{Axis: axis, Size: low / *last, Stride: *last})
				*last = low
			}
		}
		for range r.IntN(4) {
			low *= 1 + r.Uint64N(4)
			if r.IntN(2) == 0 {
				end(&a, &lastA)
			}
			if r.IntN(2) == 0 {
				end(&b, &lastB)
			}
		}
		end(&a, &lastA)
		end(&b, &lastB)
		x := layout.Axis{Name: 'A' + byte(axis), Extent: low, Padded: low}
		a.Axes, b.Axes = append(a.Axes, x), append(b.Axes, x)
	}
	for _, l := range []layout.Layout{a, b} {
		r.Shuffle(len(l.Digits), func(i, j int) { l.Digits[i], l.Digits[j] = l.Digits[j], l.Digits[i] })
	}
	return a, b
}

// TestStreamVisits compares the loops with what they stand for: the address, in the one order, of the element at each position
// of the other.
func TestStreamVisits(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		order, source := randomOrders(r)
		loops, err := Stream(order, source)
		if err != nil {
			t.Fatalf("seed %d: %s from %s: %v", seed, order, source, err)
		}
		at := uint64(0)
		index := make([]uint64, len(order.Axes))
		walk(loops, 0, func(address uint64) {
			order.Index(at, index)
			if want := source.Offset(index); address != want {
				t.Fatalf("seed %d: %s from %s: %s goes to %d for element %d, which lies at %d", seed, order, source, show(loops), address, at, want)
			}
			at++
		})
		if at != order.Elements() {
			t.Fatalf("seed %d: %s from %s: %s visits %d elements of %d", seed, order, source, show(loops), at, order.Elements())
		}
		for i := range loops {
			if loops[i].Size == 1 || i > 0 && loops[i-1].Step == loops[i].Size*loops[i].Step {
				t.Fatalf("seed %d: %s can be shorter", seed, show(loops))
			}
		}
		if at == 1 {
			continue
		}
		if same, err := Stream(order, order); err != nil || !slices.Equal(same, []Loop{{at, 1}}) {
			t.Fatalf("seed %d: %s from itself: %s, %v", seed, order, show(same), err)
		}
	}
}

func TestInWords(t *testing.T) {
	t.Parallel()
	loops := func(numbers ...uint64) []Loop {
		var l []Loop
		for i := 0; i < len(numbers); i += 2 {
			l = append(l, Loop{numbers[i], numbers[i+1]})
		}
		return l
	}
	for _, c := range []struct {
		loops []Loop
		bits  int
		want  string // or the error
	}{
		{loops(64, 32, 8, 2048, 4, 1), 16, "{64, 16} {8, 1024} {2, 1}"},
		{loops(8, 2048, 4, 1), 32, "{8, 2048} {4, 1}"},
		{loops(8, 2048, 4, 1), 64, "{8, 4096} {8, 1}"},
		{loops(8, 2048, 4, 1), 8, "{8, 512}"},
		{loops(8, 2048, 4, 1), 4, "4 elements lie together, 2 bytes, and a DMA moves whole words of 4 bytes"},
		{loops(8, 2048, 3, 1), 4, "3 elements lie together, 12 bits"},
		{loops(8, 2048), 32, "{8, 2048}"},
		{loops(8, 2048), 64, "{8, 4096} {2, 1}"},
		{loops(8, 2048), 16, "each element lies by itself, 2 bytes"},
		{loops(8, 5, 4, 1), 16, "a step is 5 elements, 10 bytes, and a DMA steps by whole words of 4 bytes"},
		{loops(8, 5, 4, 1), 32, "{8, 5} {4, 1}"},
		{loops(10, 64), 9, "each element lies by itself, 9 bits"},
		{loops(10, 128, 64, 1), 9, "{10, 36} {18, 1}"}, // bfp16: 72 bytes a sub-tile of 8x8
		{loops(10, 128, 8, 1), 9, "8 elements lie together, 9 bytes"},
		{nil, 32, ""},
		{nil, 16, "each element lies by itself, 2 bytes"},
		{loops(1<<60, 1), 8, "a loop of {1152921504606846976, 1} elements is too long"},
		{loops(4, 1), 0, "elements of 0 bits"},
	} {
		words, err := InWords(c.loops, c.bits)
		if err != nil {
			if !errors.Is(err, ErrNoStream) || c.want == "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s of %d bits: error %v, want %s", show(c.loops), c.bits, err, c.want)
			}
			continue
		}
		if show(words) != c.want {
			t.Errorf("%s of %d bits: %s, want %s", show(c.loops), c.bits, show(words), c.want)
		}
	}
}

func TestPiece(t *testing.T) {
	t.Parallel()
	l := resolve(t, "N* K* K8 N8 K8 N4", "K=512 N=2048")
	for _, c := range []struct {
		bytes uint64
		piece string
		from  int
	}{
		{1 << 21, "N64 K8 K8 N8 K8 N4", 0},
		{1<<21 - 1, "K8 K8 N8 K8 N4", 1},
		{1 << 15, "K8 K8 N8 K8 N4", 1},
		{1<<15 - 1, "K8 N8 K8 N4", 2},
		{8, "N4 K1", 5},
		{7, "", 6},
	} {
		piece, from := Piece(l, 16, c.bytes)
		if piece.String() != c.piece || from != c.from {
			t.Errorf("%d bytes: %q from digit %d, want %q from %d", c.bytes, piece, from, c.piece, c.from)
		}
	}
	// The innermost digits of N that are no box: N8@4 without the N4@1 that is outside.
	l = resolve(t, "N4@1 K* N8@4 K8", "K=16 N=32")
	if piece, from := Piece(l, 8, 200); piece.String() != "K8 N1" || from != 3 {
		t.Errorf("%q from digit %d: N8@4 K8 are no box", piece, from)
	}
}
