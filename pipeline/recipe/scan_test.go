package recipe

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"

	"npuw/schema/releasepb"
)

// positions lists the fields of a message and where they stand.
func positions(f *field, indent string) string {
	var b strings.Builder
	for _, c := range f.fields {
		fmt.Fprintf(&b, "%s%s %d:%d\n%s", indent, c.name, c.at.line, c.at.column, positions(&c, indent+"  "))
	}
	return b.String()
}

// TestScan finds the fields in texts that are written in every way that protobuf text allows.
func TestScan(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "",
		"# operand {\nname: 'a # b' # c\n\tdescription: \"}\\\"{\\\\\" 'x'\n\n '\\'y' ;page_bytes:0x10": "name 2:1\ndescription 3:2\npage_bytes 5:9\n",
		"operand{}operand:<>operand {\n}":                               "operand 1:1\noperand 1:10\noperand 1:20\n",
		"operand: [{ name: 'a' },\r\n <name: 'ä' axes: 'N'>\n,{}]":      "operand 1:11\n  name 1:13\noperand 2:2\n  name 2:3\n  axes 2:13\noperand 3:2\n",
		"operand { parameter: ['a' \"b\" # ]\n , 'c'] parameter: 'd' }": "operand 1:1\n  parameter 1:23\n  parameter 2:4\n  parameter 2:9\n",
		"operand { pad_value: - # minus\n 1.5e-3f format: BF16 pad { multiple: 1, axis: 'N' }; keep_non_finite: true }": "" +
			"operand 1:1\n  pad_value 1:11\n  format 2:10\n  pad 2:23\n    multiple 2:29\n    axis 2:42\n  keep_non_finite 2:55\n",
		"operand { parameter: [] } name: 'x'": "operand 1:1\nname 1:27\n",
	} {
		if err := prototext.Unmarshal([]byte(text), &releasepb.Recipe{}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, positions(scan([]byte(text)), "")); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
