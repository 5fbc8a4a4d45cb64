package export

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// maxHeader is what readers of safetensors accept: MAX_HEADER_SIZE in safetensors/src/tensor.rs of huggingface/safetensors.
const maxHeader = 100_000_000

// reserved is the member of the header that is no tensor.
const reserved = "__metadata__"

// WriteSafetensors writes a safetensors file (huggingface.co/docs/safetensors), whose names have the prefix before them:
//
//	u64, little-endian   n, the length of the header
//	n bytes              JSON: for each tensor dtype "F32", shape, and data_offsets from the end of the header; then spaces, so that
//	                     the data begins at a multiple of 8
//	...                  the data, without gaps, in the order of the header
//
// The metadata says format "pt", without which Hugging Face transformers does not load a file.
func (s *Set) WriteSafetensors(w io.Writer, prefix string) error {
	header, err := s.safetensorsHeader(prefix)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, v := range s.Parameters {
		if err := v.WriteFloat32(w); err != nil {
			return err
		}
	}
	return nil
}

// safetensorsHeader is all that stands before the data.
func (s *Set) safetensorsHeader(prefix string) ([]byte, error) {
	b := fmt.Appendf(make([]byte, 8), `{%q:{"format":"pt"}`, reserved)
	var offset int64
	for _, v := range s.Parameters {
		if prefix+v.Name == reserved {
			return nil, s.fail(v, "safetensors keeps this name for itself; write npz, or give a prefix")
		}
		name, err := json.Marshal(prefix + v.Name)
		if err != nil {
			return nil, err
		}
		shape, err := json.Marshal(append([]uint64{}, v.Shape...)) // [] for a scalar, never null
		if err != nil {
			return nil, err
		}
		end := offset + bytesOf(v)
		b = fmt.Appendf(b, `,%s:{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, name, shape, offset, end)
		offset = end
		if len(b) > maxHeader {
			return nil, s.fail(v, "the header of safetensors would be longer than %d bytes, which its readers refuse; write npz", maxHeader)
		}
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b, nil
}
