// Package strictjson reads JSON of model files strictly and in bounds: no key twice, sizes that are unsigned integers, nothing behind the
// end. Every error is a *source.Error with the offset in the file.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"npuw/pipeline/source"
)

// Reader reads one JSON text from its beginning on.
type Reader struct {
	d    *json.Decoder
	path string
	base int64 // offset in the file of the JSON's first byte
}

// New reads text, which begins at byte base of the file at path.
func New(path string, base int64, text []byte) *Reader {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return &Reader{d, path, base}
}

// Fail gives an error at the place that has been read up to.
func (j *Reader) Fail(sentinel error, problem string) error {
	return &source.Error{File: j.path, Offset: j.base + j.d.InputOffset(), Problem: problem, Next: "download it again, or save the model again", Err: sentinel}
}

func (j *Reader) token() (json.Token, error) {
	t, err := j.d.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, j.Fail(source.ErrCorrupt, "the JSON ends here")
	}
	if err != nil {
		return nil, j.Fail(source.ErrCorrupt, fmt.Sprintf("no JSON: %.200v", err))
	}
	return t, nil
}

// Object reads an object; value reads the value of each key.
func (j *Reader) Object(value func(key string) error) error {
	if err := j.delimiter('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for j.d.More() {
		key, err := j.Text()
		if err != nil {
			return err
		}
		if seen[key] {
			return j.Fail(source.ErrCorrupt, fmt.Sprintf("%.200q stands there twice", key))
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return j.delimiter('}')
}

func (j *Reader) delimiter(want json.Delim) error {
	t, err := j.token()
	if err == nil && t != want {
		err = j.Fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected %v", fmt.Sprint(t), want))
	}
	return err
}

// Text reads a string.
func (j *Reader) Text() (string, error) {
	t, err := j.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", j.Fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected a string", fmt.Sprint(t)))
	}
	return s, nil
}

// Number reads an unsigned integer of at most 63 bits.
func (j *Reader) Number() (uint64, error) {
	t, err := j.token()
	if err != nil {
		return 0, err
	}
	text, _ := t.(json.Number)
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil {
		return 0, j.Fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected a number from 0 to 2^63-1", fmt.Sprint(t)))
	}
	return n, nil
}

// Real reads a number of any kind.
func (j *Reader) Real() (float64, error) {
	t, err := j.token()
	if err != nil {
		return 0, err
	}
	text, _ := t.(json.Number)
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, j.Fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected a number", fmt.Sprint(t)))
	}
	return x, nil
}

// Numbers reads an array of at most as many numbers.
func (j *Reader) Numbers(most int) ([]uint64, error) {
	if err := j.delimiter('['); err != nil {
		return nil, err
	}
	list := []uint64{}
	for j.d.More() {
		n, err := j.Number()
		if err != nil {
			return nil, err
		}
		if list = append(list, n); len(list) > most {
			return nil, j.Fail(source.ErrLimit, fmt.Sprintf("more than %d numbers", most))
		}
	}
	return list, j.delimiter(']')
}

// Skip passes over a value.
func (j *Reader) Skip() error {
	for depth := 0; ; {
		t, err := j.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// End fails if anything but white space is left.
func (j *Reader) End() error {
	if _, err := j.d.Token(); !errors.Is(err, io.EOF) {
		return j.Fail(source.ErrCorrupt, "something stands behind the JSON")
	}
	return nil
}
