package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"npuw/pipeline/source"
)

// jsonReader reads JSON strictly: no key twice, no number that is not an unsigned integer, nothing behind the end.
type jsonReader struct {
	d    *json.Decoder
	path string
	base int64 // offset in the file of the JSON's first byte
}

func newJSON(path string, base int64, text []byte) *jsonReader {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return &jsonReader{d, path, base}
}

// fail gives an error at the place that has been read up to.
func (j *jsonReader) fail(sentinel error, problem string) error {
	return &source.Error{File: j.path, Offset: j.base + j.d.InputOffset(), Problem: problem, Next: "download it again, or save the model again", Err: sentinel}
}

func (j *jsonReader) token() (json.Token, error) {
	t, err := j.d.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, j.fail(source.ErrCorrupt, "the JSON ends here")
	}
	if err != nil {
		return nil, j.fail(source.ErrCorrupt, fmt.Sprintf("no JSON: %.200v", err))
	}
	return t, nil
}

// object reads an object; value reads the value of each key.
func (j *jsonReader) object(value func(key string) error) error {
	if err := j.delimiter('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for j.d.More() {
		key, err := j.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return j.fail(source.ErrCorrupt, fmt.Sprintf("%.200q stands there twice", key))
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return j.delimiter('}')
}

func (j *jsonReader) delimiter(want json.Delim) error {
	t, err := j.token()
	if err == nil && t != want {
		err = j.fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected %v", fmt.Sprint(t), want))
	}
	return err
}

func (j *jsonReader) text() (string, error) {
	t, err := j.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", j.fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected a string", fmt.Sprint(t)))
	}
	return s, nil
}

func (j *jsonReader) number() (uint64, error) {
	t, err := j.token()
	if err != nil {
		return 0, err
	}
	text, _ := t.(json.Number)
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil {
		return 0, j.fail(source.ErrCorrupt, fmt.Sprintf("%.200q, expected a number from 0 to 2^63-1", fmt.Sprint(t)))
	}
	return n, nil
}

// numbers reads an array of at most as many numbers.
func (j *jsonReader) numbers(most int) ([]uint64, error) {
	if err := j.delimiter('['); err != nil {
		return nil, err
	}
	list := []uint64{}
	for j.d.More() {
		n, err := j.number()
		if err != nil {
			return nil, err
		}
		if list = append(list, n); len(list) > most {
			return nil, j.fail(source.ErrLimit, fmt.Sprintf("more than %d numbers", most))
		}
	}
	return list, j.delimiter(']')
}

// skip passes over a value.
func (j *jsonReader) skip() error {
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

// end fails if anything but white space is left.
func (j *jsonReader) end() error {
	if _, err := j.d.Token(); !errors.Is(err, io.EOF) {
		return j.fail(source.ErrCorrupt, "something stands behind the JSON")
	}
	return nil
}
