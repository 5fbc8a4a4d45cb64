package whisperfiles

import (
	"bytes"
	"errors"
	"testing"

	"npuw/pipeline/source"
)

// CheckOpened checks what a reader made of a file of so many bytes, whatever it is: an error about the file at path, or tensors that can
// be read, of no more bytes than the file can mean. It reads each whole and in part, so many elements from first on.
func CheckOpened(t *testing.T, c *source.Catalogue, err error, path string, bytesOfFile int, first, count uint16) {
	t.Helper()
	if err != nil {
		if e := (*source.Error)(nil); !errors.As(err, &e) || e.Problem == "" || e.Err == nil || e.File == "" {
			t.Fatalf("%s: %T: %v", path, err, err)
		}
		return
	}
	defer c.Close()
	for i := range c.Tensors {
		x := &c.Tensors[i]
		size, ok := source.Bytes(x.Shape, x.Type)
		if !ok || size != x.Data.Size || size > 16*int64(bytesOfFile) {
			t.Fatalf("%+v: %d bytes", x, size)
		}
		whole := make([]byte, size)
		if err := c.ReadAt(whole, x, 0); err != nil {
			t.Fatal(err)
		}
		n := int64(x.Type.Size())
		from := min(int64(first)*n, size)
		part := make([]byte, min(int64(count)*n, size-from))
		if err := c.ReadAt(part, x, from); err != nil || !bytes.Equal(part, whole[from:][:len(part)]) {
			t.Fatalf("%s: %d bytes at %d: %v", x.Name, len(part), from, err)
		}
	}
}
