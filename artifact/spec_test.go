package artifact

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/artifact/plane"
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

// formatSlots are the slots of the index's table: name and type.
func formatSlots(t *testing.T, text string) []string {
	var all []string
	for i, row := range rows(section(t, text, "### The table's slots", "### Structs")) {
		if row[0] != fmt.Sprint(i) {
			t.Errorf("FORMAT.md: slot %s is number %d", row[0], i)
		}
		kind, _, _ := strings.Cut(row[2], ":")
		all = append(all, row[1]+": "+kind)
	}
	return all
}

// schemaTypes are the scalar types of npuw.fbs in FORMAT.md's words, with their sizes.
var schemaTypes = map[string]struct {
	name string
	size int
}{"ubyte": {"u8", 1}, "uint": {"u32", 4}, "int": {"i32", 4}, "ulong": {"u64", 8}, "long": {"i64", 8}, "double": {"f64", 8}}

// schema reads npuw.fbs: structs laid out as FlatBuffers lays them out, the slots of the table, and enums.
func schema(t *testing.T, text string) (structs map[string]specStruct, table []string, enums map[string]map[string]int) {
	structs, enums = map[string]specStruct{}, map[string]map[string]int{}
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
				kind = strings.Trim(kind, "[]")
				if scalar, ok := schemaTypes[kind]; ok {
					kind = scalar.name
				}
				table = append(table, f[1]+": "+kind)
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
	return structs, table, enums
}

// TestSpecification compares FORMAT.md, npuw.fbs and the code: the same slots, structs, fields, offsets and sizes.
func TestSpecification(t *testing.T) {
	t.Parallel()
	document := readText(t, "../schema/FORMAT.md")
	structs, table := formatStructs(t, document), formatSlots(t, document)
	fbsStructs, fbsTable, _ := schema(t, readText(t, "../schema/npuw.fbs"))
	if !maps.Equal(structs, fbsStructs) {
		t.Errorf("structs of FORMAT.md and of npuw.fbs:\n%v\n%v", structs, fbsStructs)
	}
	if !slices.Equal(table, fbsTable) {
		t.Errorf("slots of FORMAT.md and of npuw.fbs:\n%q\n%q", table, fbsTable)
	}
	code := maps.Clone(members)
	var slotNames []string
	for _, s := range slots {
		slotNames = append(slotNames, s.name+": "+s.of.name)
		if len(s.of.name) > 3 { // else a number
			code[s.of.name] = s.of
		}
	}
	if !slices.Equal(table, slotNames) {
		t.Errorf("slots of FORMAT.md and of the code:\n%q\n%q", table, slotNames)
	}
	if len(code) != len(structs) {
		t.Errorf("%d structs in the code, %d in FORMAT.md", len(code), len(structs))
	}
	for name, s := range code {
		if want := structs[name]; s.size != want.bytes || s.fields != want.fields {
			t.Errorf("%s is %d bytes: %s; FORMAT.md: %d bytes: %s", name, s.size, s.fields, want.bytes, want.fields)
		}
		checkStruct(t, s)
	}
}

// checkStruct checks what the code derives from a struct's fields: alignment and the bytes between them.
func checkStruct(t *testing.T, s *structType) {
	t.Helper()
	used, align := make([]bool, s.size), 1
	for _, f := range fieldPattern.FindAllStringSubmatch(s.fields, -1) {
		at, _ := strconv.Atoi(f[1])
		_, size := scalar(make([]byte, 16), f[3])
		least := min(size, 8)
		if m := members[f[3]]; m != nil {
			size, least = m.size, m.align
		}
		align = max(align, least)
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
		"ElementFormat": {
			"None": 0, "F32": int(element.F32), "F16": int(element.F16), "BF16": int(element.BF16), "F64": int(element.F64),
			"I8": int(element.I8), "U8": int(element.U8), "I4": int(element.I4), "U4": int(element.U4), "NF4": int(element.NF4),
			"BFP16": int(element.BFP16), "E8M0": int(element.E8M0),
		},
		"SegmentKind":   {"Weights": int(Weights), "Instructions": int(Instructions)},
		"AttributeKind": {"Integer": int(Integer), "Real": int(Real), "Text": int(Text)},
		"ArgumentKind":  {"Buffer": int(kernel.BufferArgument), "Scalar": int(kernel.ScalarArgument)},
		"ArgumentRole": {
			"Activation": int(kernel.Activation), "Weight": int(kernel.Weight), "Output": int(kernel.Output),
			"Instructions": int(kernel.Instructions), "Constant": int(kernel.Constant),
		},
		"Encoding":    {"Plain": int(plane.Plain), "Scaled": int(plane.Scaled)},
		"PlaneRole":   {"Values": int(plane.Values), "Scales": int(plane.Scales), "Zeros": int(plane.Zeros), "Minimums": int(plane.Minimums)},
		"NoteKind":    {"None": 0, "Folded": Folded},
		"NibbleOrder": {"LowFirst": 0, "HighFirst": 1},
	} {
		if !maps.Equal(enums[name], want) {
			t.Errorf("%s: npuw.fbs has %v, the code %v", name, enums[name], want)
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

// TestElementFormats compares FORMAT.md's tables of element formats and of NF4 with the code.
func TestElementFormats(t *testing.T) {
	t.Parallel()
	document := readText(t, "../schema/FORMAT.md")
	last := element.Format(0)
	for _, row := range rows(section(t, document, "### Element formats", "Decoding is exact")) {
		f, err := element.ParseFormat(row[1])
		if err != nil || fmt.Sprint(int(f)) != row[0] || fmt.Sprint(f.Bits()) != row[2] || fmt.Sprint(f.Values()) != row[3] || f != last+1 {
			t.Errorf("element format %q of FORMAT.md is %d of %d bits in the code: %v", row, f, f.Bits(), err)
		}
		last = f
	}
	if (last + 1).Known() {
		t.Errorf("FORMAT.md does not have %v", last+1)
	}
	var entries []string
	for i, row := range slices.DeleteFunc(rows("|\n"+section(t, document, "**nf4**", "**bfp16**")), func(row []string) bool { return len(row) != 8 }) {
		if i%2 == 1 {
			entries = append(entries, row...)
		}
	}
	codes, values := make([]byte, 16), make([]float32, 16)
	for i := range codes {
		codes[i] = byte(i)
	}
	if err := element.ToFloat32(values, codes, element.NF4); err != nil || len(entries) != len(values) {
		t.Fatalf("NF4 of FORMAT.md: %q: %v", entries, err)
	}
	for i, text := range entries {
		if v, err := strconv.ParseFloat(text, 32); err != nil || float32(v) != values[i] {
			t.Errorf("NF4 %d is %s in FORMAT.md, %v in the code: %v", i, text, values[i], err)
		}
	}
}

// TestEncodings compares FORMAT.md's table of encodings with the code: all of its schemes, and no others.
func TestEncodings(t *testing.T) {
	t.Parallel()
	stated := map[element.Scheme]bool{}
	for _, row := range rows(section(t, readText(t, "../schema/FORMAT.md"), "is made of the elements that stand for its index:", "All are decoded")) {
		formats := map[string][]element.Format{}
		for part := range strings.SplitSeq(row[1], "; ") {
			role, list, found := strings.Cut(part, ": ")
			if !found {
				t.Fatalf("planes %q", row[1])
			}
			for name := range strings.SplitSeq(list, ", ") {
				if f, err := element.ParseFormat(name); err == nil {
					formats[role] = append(formats[role], f)
				}
			}
		}
		if row[0] == "0 plain" {
			for f := element.Format(0); f < 20; f++ {
				s := plane.Storage{Planes: []plane.Plane{{Format: f}}}
				if err := s.Validate(); slices.Contains(formats["values 0"], f) == strings.Contains(err.Error(), "format") {
					t.Errorf("values in %v: FORMAT.md has %v, the code says: %v", f, formats["values 0"], err)
				}
			}
			continue
		}
		for _, codes := range formats["codes 0"] {
			for _, scales := range formats["scales 1"] {
				switch _, zeros := formats["zeros 2"]; {
				case strings.Contains(row[1], "zeros 2: the format of the codes"):
					stated[element.Scheme{Codes: codes, Scales: scales, Zeros: codes}] = true
				case zeros || len(formats["minimums 3"]) == 0:
					stated[element.Scheme{Codes: codes, Scales: scales}] = true
				}
				for _, minimums := range formats["minimums 3"] {
					stated[element.Scheme{Codes: codes, Scales: scales, Minimums: minimums}] = true
				}
			}
		}
	}
	for n := range 15 * 15 * 15 * 15 {
		s := element.Scheme{Codes: element.Format(n % 15), Scales: element.Format(n / 15 % 15), Zeros: element.Format(n / 225 % 15), Minimums: element.Format(n / 3375)}
		if err := s.Validate(); (err == nil) != stated[s] {
			t.Errorf("%+v is in FORMAT.md: %v; the code says: %v", s, stated[s], err)
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
