//go:build !amd64 || noasm

package element

// Without assembly the plain path does all.

func fastEncodeBF16([]byte, []float32) int { return 0 }

func fastWidenF16([]float32, []byte) int { return 0 }

func fastPatchBF16([]byte, int, []float32, int, int, int) (Stats, bool) { return Stats{}, false }
