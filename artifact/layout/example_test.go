package layout_test

import (
	"fmt"

	"npuw/artifact/layout"
)

func Example() {
	spec, err := layout.Parse("N* K* K8 N8 K8 N4")
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := spec.Resolve([]layout.Axis{{Name: 'K', Extent: 100}, {Name: 'N', Extent: 50}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(l)
	fmt.Printf("padded to K=%d, N=%d\n", l.Axes[0].Padded, l.Axes[1].Padded)
	fmt.Printf("element k=9, n=33 lies at %d\n", l.Offset([]uint64{9, 33}))
	// Output:
	// N2 K2 K8 N8 K8 N4
	// padded to K=128, N=64
	// element k=9, n=33 lies at 4357
}

// An operand is packed piece by piece: each window into a buffer, each run of it to its place in the whole.
func ExampleLayout_Window() {
	spec, err := layout.Parse("N* K* K2 N2")
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := spec.Resolve([]layout.Axis{{Name: 'K', Extent: 4}, {Name: 'N', Extent: 4}})
	if err != nil {
		fmt.Println(err)
		return
	}
	source := []byte("abcdefghijklmnop") // [K, N], row-major
	packed := make([]byte, l.Elements())
	for k := uint64(0); k < 4; k += 2 {
		w, err := l.Window([]uint64{k, 0}, []uint64{2, 4})
		if err != nil {
			fmt.Println(err)
			return
		}
		buffer := make([]byte, w.Layout.Elements())
		if err := w.Layout.Pack(buffer, source[4*k:], []int64{4, 1}, 1, nil); err != nil {
			fmt.Println(err)
			return
		}
		w.Runs(func(windowOffset, layoutOffset, n uint64) bool {
			copy(packed[layoutOffset:], buffer[windowOffset:][:n])
			return true
		})
	}
	fmt.Printf("%s\n", packed)
	// Output: abefijmncdghklop
}
