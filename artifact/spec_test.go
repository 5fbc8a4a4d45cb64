package artifact

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	fb "npuw/schema/npuwfb"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section cuts a text from after one mark to before another.
func section(t *testing.T, text, from, to string) string {
	t.Helper()
	_, text, found := strings.Cut(text, from)
	text, _, ends := strings.Cut(text, to)
	if !found || !ends {
		t.Fatalf("no text from %q to %q", from, to)
	}
	return text
}

// rows gives the cells of the table rows of a text, heads left out.
func rows(text string) [][]string {
	var list [][]string
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.Trim(line, "|\n "), "|"); strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|-") {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			list = append(list, cells)
		}
	}
	return list[1:]
}

// specStruct is a struct as a document or schema has it.
type specStruct struct {
	bytes  int
	fields string // "offset name type; ..."
}

var (
	fieldPattern = regexp.MustCompile(`(\d+) (\w+) (\w+)`)
	slotPattern  = regexp.MustCompile(`(\d+) (\w+): (\[\w+\]|\w+)(\*?)`)
	blockPattern = regexp.MustCompile(`(?s)(struct|table)\s+(\w+)\s*\{(.*?)\}`)
	enumPattern  = regexp.MustCompile(`(?s)enum\s+(\w+)\s*:\s*ubyte\s*\{(.*?)\}`)
	valuePattern = regexp.MustCompile(`(\w+)\s*=\s*(\d+)`)
	declPattern  = regexp.MustCompile(`(\w+)\s*:\s*(\[?\w+\]?)\s*;`)
)

func formatStructs(t *testing.T, text string) map[string]specStruct {
	all := map[string]specStruct{}
	for _, row := range rows(section(t, text, "### Structs, by byte", "Bytes between")) {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		fields := fieldPattern.FindAllString(strings.Split(row[2], "(")[0], -1)
		all[row[0]] = specStruct{n, strings.Join(fields, "; ")}
	}
	return all
}

func formatTables(t *testing.T, text string) map[string][]string {
	all := map[string][]string{}
	for _, item := range strings.Split(section(t, text, "### Tables, by slot", "### Structs"), "- **")[1:] {
		name, rest, _ := strings.Cut(item, "**")
		for i, m := range slotPattern.FindAllStringSubmatch(strings.Join(strings.Fields(rest), " "), -1) {
			if m[1] != fmt.Sprint(i) {
				t.Errorf("FORMAT.md: slot %s of %s is number %d", m[1], name, i)
			}
			all[name] = append(all[name], m[2]+": "+m[3]+m[4])
		}
	}
	return all
}

// schemaTypes are the scalar types of npuw.fbs in FORMAT.md's words, with their sizes.
var schemaTypes = map[string]struct {
	name string
	size int
}{"ubyte": {"u8", 1}, "uint": {"u32", 4}, "int": {"i32", 4}, "ulong": {"u64", 8}, "long": {"i64", 8}, "double": {"f64", 8}}

// schema reads npuw.fbs: structs laid out as FlatBuffers lays them out, tables, and enums.
func schema(t *testing.T, text string) (structs map[string]specStruct, tables map[string][]string, enums map[string]map[string]int) {
	structs, tables, enums = map[string]specStruct{}, map[string][]string{}, map[string]map[string]int{}
	text = regexp.MustCompile(`//.*`).ReplaceAllString(text, "")
	for _, m := range enumPattern.FindAllStringSubmatch(text, -1) {
		enums[m[1]] = map[string]int{}
		for _, v := range valuePattern.FindAllStringSubmatch(m[2], -1) {
			enums[m[1]][v[1]], _ = strconv.Atoi(v[2])
		}
	}
	aligns := map[string]int{}
	for _, m := range blockPattern.FindAllStringSubmatch(text, -1) {
		name, fields := m[2], []string(nil)
		at, most := 0, 1
		for _, f := range declPattern.FindAllStringSubmatch(m[3], -1) {
			kind := f[2]
			if m[1] == "table" {
				if _, isStruct := structs[kind]; isStruct || tables[kind] != nil {
					kind += "*"
				}
				tables[name] = append(tables[name], f[1]+": "+strings.Replace(kind, "ulong", "u64", 1))
				continue
			}
			size, align := 1, 1 // an enum
			if s, ok := structs[kind]; ok {
				size, align = s.bytes, aligns[kind]
			} else if scalar, ok := schemaTypes[kind]; ok {
				kind, size, align = scalar.name, scalar.size, scalar.size
			} else if enums[kind] != nil {
				kind = "u8"
			} else {
				t.Fatalf("npuw.fbs: type %s of %s.%s", kind, name, f[1])
			}
			at, most = (at+align-1)/align*align, max(most, align)
			fields = append(fields, fmt.Sprintf("%d %s %s", at, f[1], kind))
			at += size
		}
		if m[1] == "struct" {
			aligns[name] = most
			structs[name] = specStruct{(at + most - 1) / most * most, strings.Join(fields, "; ")}
		}
	}
	return structs, tables, enums
}

// codeStructs are those of this package.
func codeStructs() map[string]*structType {
	all := map[string]*structType{}
	for _, s := range []*structType{
		&axisStruct, &digitStruct, &segmentFacts, &operandFacts, &planeFacts, &placementFacts, &placedAxisStruct, &fillFacts,
		&statisticsStruct, &attributeFacts, &producerFacts, &noteStruct, &xclbinFacts, &contractFacts, &argumentFacts, &bindingStruct,
	} {
		all[s.name] = s
	}
	return all
}

// TestSpecification compares FORMAT.md, npuw.fbs and the code: the same tables, slots, structs, fields, offsets and sizes.
func TestSpecification(t *testing.T) {
	t.Parallel()
	document := readText(t, "../schema/FORMAT.md")
	structs, tables := formatStructs(t, document), formatTables(t, document)
	fbsStructs, fbsTables, _ := schema(t, readText(t, "../schema/npuw.fbs"))
	if !maps.Equal(structs, fbsStructs) {
		t.Errorf("structs of FORMAT.md and of npuw.fbs:\n%v\n%v", structs, fbsStructs)
	}
	if !reflect.DeepEqual(tables, fbsTables) {
		t.Errorf("tables of FORMAT.md and of npuw.fbs:\n%v\n%v", tables, fbsTables)
	}

	code := codeStructs()
	if len(code)+1 != len(structs) { // Digest is only ever part of others
		t.Errorf("%d structs in the code, %d in FORMAT.md", len(code), len(structs))
	}
	for name, s := range code {
		if want := structs[name]; s.size != want.bytes || s.fields != want.fields {
			t.Errorf("%s is %d bytes: %s; FORMAT.md: %d bytes: %s", name, s.size, s.fields, want.bytes, want.fields)
		}
		checkStruct(t, s)
	}
	if len(tableTypes) != len(tables) {
		t.Errorf("%d tables in the code, %d in FORMAT.md", len(tableTypes), len(tables))
	}
	for i, table := range tableTypes {
		var slots []string
		least := 4
		for _, s := range table.slots {
			slots = append(slots, s.name+": "+s.kind)
			if (s.of != nil) != (code[strings.TrimSuffix(s.kind, "*")] != nil) || s.of != nil && s.of.name+"*" != s.kind {
				t.Errorf("%s.%s is a %s", table.name, s.name, s.kind)
			}
			if s.of != nil {
				least += s.of.size
			}
		}
		if !slices.Equal(slots, tables[table.name]) {
			t.Errorf("%s has %q, in FORMAT.md %q", table.name, slots, tables[table.name])
		}
		if table.number != i || table.least != least || len(slots) > maxSlots {
			t.Errorf("%s is number %d and takes at least %d bytes, not %d", table.name, i, least, table.least)
		}
	}
}

// checkStruct checks what the code derives from a struct's fields: alignment and the bytes between them.
func checkStruct(t *testing.T, s *structType) {
	t.Helper()
	used, align := make([]bool, s.size), 1
	for _, f := range fieldPattern.FindAllStringSubmatch(s.fields, -1) {
		at, _ := strconv.Atoi(f[1])
		_, size := scalar(make([]byte, 16), f[3])
		align = max(align, min(size, 8))
		for i := range size {
			used[at+i] = true
		}
	}
	if align != s.align {
		t.Errorf("%s is aligned to %d, not %d", s.name, align, s.align)
	}
	for i, field := range used {
		masked := i >= s.gapAt && i < s.gapAt+8 && byte(s.gap>>(8*(i-s.gapAt))) == 0xff
		if masked == field {
			t.Errorf("byte %d of %s: of a field %v, must be zero %v", i, s.name, field, masked)
		}
	}
	if s.gap != 0 && s.gapAt+8 > s.size {
		t.Errorf("the gap of %s reaches outside it", s.name)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	document := readText(t, "../schema/FORMAT.md")
	_, _, enums := schema(t, readText(t, "../schema/npuw.fbs"))
	for name, want := range map[string]map[string]int{
		"ElementFormat": {"None": 0, "F32": int(element.F32), "F16": int(element.F16), "BF16": int(element.BF16), "F64": int(element.F64)},
		"SegmentKind":   {"Weights": int(Weights), "Instructions": int(Instructions)},
		"AttributeKind": {"Integer": int(Integer), "Real": int(Real), "Text": int(Text)},
		"ArgumentKind":  {"Buffer": int(kernel.BufferArgument), "Scalar": int(kernel.ScalarArgument)},
		"ArgumentRole": {
			"Activation": int(kernel.Activation), "Weight": int(kernel.Weight), "Output": int(kernel.Output),
			"Instructions": int(kernel.Instructions), "Constant": int(kernel.Constant),
		},
		"Encoding": {"Plain": 0}, "PlaneRole": {"Values": int(fb.PlaneRoleValues)}, "NoteKind": {"None": 0},
	} {
		if !maps.Equal(enums[name], want) {
			t.Errorf("%s: npuw.fbs has %v, the code %v", name, enums[name], want)
		}
	}
	for _, row := range rows(section(t, document, "### Element formats", "Encoding rounds")) {
		f, err := element.ParseFormat(row[1])
		if err != nil || fmt.Sprint(int(f)) != row[0] || fmt.Sprint(f.Size()) != row[2] {
			t.Errorf("element format %q of FORMAT.md is %d of %d bytes in the code: %v", row, f, f.Size(), err)
		}
	}
	for _, row := range rows(section(t, document, "## 4. Segments", "A host whose")) {
		if n, err := strconv.Atoi(row[1]); err != nil || SegmentKind(n).String() != row[0] {
			t.Errorf("segment kind %q of FORMAT.md is %v in the code", row, SegmentKind(n))
		}
	}
	document = strings.Join(strings.Fields(document), " ")
	for _, words := range []string{
		"(0 integer, 1 real, 2 text)", "`kind` 0 a buffer, 1 a scalar", "`role` 0 activation in, 1 weight, 2 output, 3 instructions, 4 a constant",
		fmt.Sprintf("| index | %d MiB |", MaxIndexBytes>>20), "1,048,576 each", fmt.Sprintf("%d each", maxBoxes), "| file_bytes | 2^62 |",
		fmt.Sprintf("| %d; %d; %d |", maxAxes, maxPlanes, maxDigits), fmt.Sprintf("| a string | %d bytes |", maxString),
		fmt.Sprintf("`offset` is a multiple of %d", OperandAlign), fmt.Sprintf("at least %d, at most %d, a multiple of 8", minIndexBytes, MaxIndexBytes),
	} {
		if !strings.Contains(document, words) {
			t.Errorf("FORMAT.md does not say %q", words)
		}
	}
}

func TestHeaderFields(t *testing.T) {
	t.Parallel()
	want := map[string]int{
		"magic": atMagic, "version": atVersion, "header_bytes": atHeaderBytes, "required_features": atRequiredFeatures,
		"optional_features": atOptionalFeatures, "file_bytes": atFileBytes, "page_bytes": atPageBytes, "index_offset": atIndexOffset,
		"index_bytes": atIndexBytes, "index_digest": atIndexDigest, "reserved": atReserved, "header_digest": atHeaderDigest,
	}
	end, seen := 0, 0
	for _, row := range rows(section(t, readText(t, "../schema/FORMAT.md"), "## 1. Header", "A reader looks at")) {
		at, err := strconv.Atoi(row[0])
		if at0, ok := want[row[2]]; err != nil || !ok || at0 != at || at != end {
			t.Errorf("%s is at %s in FORMAT.md, at %d in the code, and what is before ends at %d", row[2], row[0], at0, end)
		}
		end += map[string]int{"u8[8]": 8, "u32": 4, "u64": 8, "u64, u64": 16, "u8[160]": 160}[row[1]]
		seen++
	}
	if end != HeaderBytes || seen != len(want) {
		t.Errorf("the header's %d fields end at %d", seen, end)
	}
}
