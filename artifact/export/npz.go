package export

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"npuw/artifact"
)

// zipEpoch is the earliest time that a zip can state, and what numpy.savez writes: entries have no time of their own.
var zipEpoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// maxEntryName is the length of a name in a zip.
const maxEntryName = 1<<16 - 1

// WriteNPZ writes what numpy.savez does: a zip of stored entries NAME.npy, whose names have the prefix before them. An array is a
// .npy of version 1.0 (numpy.org/doc/stable/reference/generated/numpy.lib.format.html), '<f4', in C order.
func (s *Set) WriteNPZ(w io.Writer, prefix string) error {
	z := zip.NewWriter(w)
	for _, v := range s.Parameters {
		// Programs that unpack zips take names for paths.
		name := prefix + v.Name + ".npy"
		if !fs.ValidPath(name) || strings.Contains(name, `\`) || len(name) > maxEntryName {
			return s.fail(v, "%.100q is no name for a file in a zip; write safetensors", name)
		}
		e, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: zipEpoch})
		if err != nil {
			return err
		}
		header, err := s.npyHeader(v)
		if err != nil {
			return err
		}
		if _, err := e.Write(header); err != nil {
			return err
		}
		if err := v.WriteFloat32(e); err != nil {
			return err
		}
	}
	return z.Close()
}

// npyHeader is all that stands before the values of a .npy file: magic, version, the length of what follows as a little-endian u16,
// and a Python dictionary, padded with spaces to a multiple of 64 and ended by a new line.
func (s *Set) npyHeader(v *artifact.Values) ([]byte, error) {
	b := bytes.NewBufferString("\x93NUMPY\x01\x00??{'descr': '<f4', 'fortran_order': False, 'shape': (")
	for _, n := range v.Shape {
		fmt.Fprintf(b, "%d, ", n)
	}
	b.WriteString("), }")
	for (b.Len()+1)%64 != 0 {
		b.WriteByte(' ')
	}
	b.WriteByte('\n')
	const before = 10 // magic, version and length
	header := b.Bytes()
	if len(header)-before > 1<<16-1 {
		return nil, s.fail(v, "it has %d axes, too many for a .npy file; write safetensors", len(v.Shape))
	}
	binary.LittleEndian.PutUint16(header[before-2:], uint16(len(header)-before))
	return header, nil
}
