package element

import "fmt"

// Unpack4 gives each of the 4-bit codes in src a byte of dst, its upper half zero. Of the two codes in a byte of src the first is
// the one in the lower four bits, or with highFirst in the upper ones. src is as long as len(dst) codes need; where their
// number is odd, the second half of its last byte is ignored. src and dst must not overlap.
func Unpack4(dst, src []byte, highFirst bool) error {
	if err := checkPacked(len(dst), len(src)); err != nil {
		return err
	}
	first, second := nibbleShifts(highFirst)
	for i := range len(dst) / 2 {
		pair := dst[2*i : 2*i+2]
		pair[0], pair[1] = src[i]>>first&0xf, src[i]>>second&0xf
	}
	if len(dst)%2 == 1 {
		dst[len(dst)-1] = src[len(src)-1] >> first & 0xf
	}
	return nil
}

// Pack4 is the inverse of Unpack4: it packs the codes in src, one a byte, two into each byte of dst. Their upper four bits are
// ignored; where their number is odd, the second half of dst's last byte becomes zero. src and dst must not overlap.
func Pack4(dst, src []byte, highFirst bool) error {
	if err := checkPacked(len(src), len(dst)); err != nil {
		return err
	}
	first, second := nibbleShifts(highFirst)
	for i := range len(src) / 2 {
		pair := src[2*i : 2*i+2]
		dst[i] = pair[0]&0xf<<first | pair[1]&0xf<<second
	}
	if len(src)%2 == 1 {
		dst[len(dst)-1] = src[len(src)-1] & 0xf << first
	}
	return nil
}

// nibbleShifts gives where in a byte the first and the second of its two codes begin.
func nibbleShifts(highFirst bool) (first, second uint) {
	if highFirst {
		return 4, 0
	}
	return 0, 4
}

func checkPacked(codes, bytes int) error {
	if bytes != codes/2+codes%2 {
		return fmt.Errorf("element: %d codes of 4 bits do not take %d bytes", codes, bytes)
	}
	return nil
}
