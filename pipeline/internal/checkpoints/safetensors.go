package checkpoints

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"npuw/artifact/element"
)

// Safetensors gives the safetensors file of a state dict.
func Safetensors(list []Tensor) []byte {
	var header strings.Builder
	header.WriteString(`{"__metadata__":{"format":"pt"}`)
	at := 0
	for _, t := range list {
		name, _ := json.Marshal(t.Name)
		shape, _ := json.Marshal(append([]int{}, t.Shape...))
		fmt.Fprintf(&header, `,%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, dtype(t.Type), shape, at, at+len(t.Bytes))
		at += len(t.Bytes)
	}
	header.WriteString("}")
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(header.Len())), header.String()...)
	for _, t := range list {
		file = append(file, t.Bytes...)
	}
	return file
}

func dtype(f element.Format) string { return strings.ToUpper(f.String()) }

// WriteShards writes a state dict as some safetensors files and their index into dir, and gives the path of the index.
func WriteShards(dir string, list []Tensor, shards int) (string, error) {
	index := struct {
		Metadata map[string]int    `json:"metadata"`
		Map      map[string]string `json:"weight_map"`
	}{map[string]int{"total_size": 0}, map[string]string{}}
	for i := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, shards)
		part := list[i*len(list)/shards : (i+1)*len(list)/shards]
		for _, t := range part {
			index.Map[t.Name] = name
			index.Metadata["total_size"] += len(t.Bytes)
		}
		if err := os.WriteFile(filepath.Join(dir, name), Safetensors(part), 0o666); err != nil {
			return "", err
		}
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "model.safetensors.index.json")
	return path, os.WriteFile(path, text, 0o666)
}
