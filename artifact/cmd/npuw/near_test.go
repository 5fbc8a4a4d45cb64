package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	t.Parallel()
	names := []string{"encoder.conv1.weight", "encoder.conv1.bias", "encoder.embed_positions.weight"}
	for i := range 3 {
		for _, what := range []string{"q_proj.weight", "q_proj.bias", "k_proj.weight", "fc1.weight"} {
			names = append(names, fmt.Sprintf("encoder.layers.%d.%s", i, what))
		}
	}
	for _, test := range []struct{ wanted, want string }{
		{"encoder.conv1.weigth", "encoder.conv1.weight"},
		{"conv1.weight", "encoder.conv1.weight"},
		{"conv1", "encoder.conv1.weight encoder.conv1.bias"},
		{"model.encoder.conv1.bias", "encoder.conv1.bias"},
		{"encoder.layers.1.q_pro.weight", "encoder.layers.1.q_proj.weight encoder.layers.0.q_proj.weight encoder.layers.1.k_proj.weight"},
		{"fc1.weight", "encoder.layers.0.fc1.weight encoder.layers.1.fc1.weight encoder.layers.2.fc1.weight"},
		{"embeddings", ""},
		{"", ""},
		{strings.Repeat("encoder.", 1000), ""},
	} {
		if got := strings.Join(near(test.wanted, names), " "); got != test.want {
			t.Errorf("near(%.100q): %s, want %s", test.wanted, got, test.want)
		}
	}
	if got := near("encoder", nil); got != nil {
		t.Errorf("near of no names: %q", got)
	}
}
