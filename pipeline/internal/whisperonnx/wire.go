package whisperonnx

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// message is the encoding of a protobuf message in pieces: bytes, and weights that are made while they are written.
type message []piece

type piece struct {
	bytes   []byte
	weights *tensor // in place of bytes
}

func (m message) size() int {
	n := 0
	for _, p := range m {
		n += len(p.bytes)
		if p.weights != nil {
			n += p.weights.bytes()
		}
	}
	return n
}

// encoded is m as one piece.
func encoded(m proto.Message) message {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // messages without required fields, made here
	}
	return message{{bytes: b}}
}

// field is contents as length-delimited field num.
func field(num protowire.Number, contents message) message {
	head := protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), uint64(contents.size()))
	return append(message{{bytes: head}}, contents...)
}

func (m message) write(w io.Writer) error {
	flush := func(b []byte) error {
		_, err := w.Write(b)
		return err
	}
	buffer := make([]byte, 0, 256<<10)
	for _, p := range m {
		var err error
		switch {
		case p.weights != nil:
			err = p.weights.write(buffer, flush)
		default:
			err = flush(p.bytes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
