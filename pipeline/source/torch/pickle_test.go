package torch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"npuw/pipeline/source"
)

// run gives the value of a pickle.
func run(text string) (value, error) {
	m := &machine{text: []byte(text), path: "f"}
	return m.run()
}

func TestValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]value{
		"N.": nil, "\x88.": true, "\x89.": false, "K\xff.": int64(255), "M\xff\xff.": int64(65535), "J\xfe\xff\xff\xff.": int64(-2),
		"\x8a\x00.": int64(0), "\x8a\x01\xff.": int64(-1), "\x8a\x02\xff\x00.": int64(255), "\x8a\x09123456789.": wide("123456789"),
		"\x8b\x02\x00\x00\x00\x00\x80.": int64(-32768), "G\x3f\xf8\x00\x00\x00\x00\x00\x00.": 1.5,
		"X\x02\x00\x00\x00hi.": "hi", "\x8c\x02hi.": "hi", "\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi.": "hi", "T\x02\x00\x00\x00hi.": "hi", "U\x02hi.": "hi",
		"B\x01\x00\x00\x00x.": []byte("x"), "C\x01x.": []byte("x"), "\x8e\x01\x00\x00\x00\x00\x00\x00\x00x.": []byte("x"),
		").": tuple(nil), "K\x01\x85.": tuple{int64(1)}, "K\x01K\x02\x86.": tuple{int64(1), int64(2)}, "NNN\x87.": tuple{nil, nil, nil}, "(NNNNt.": tuple{nil, nil, nil, nil},
		"].": &list{}, "]Na.": &list{items: []value{nil}}, "](NNe.": &list{items: []value{nil, nil}},
		"}K\x01Ns.": &dict{entries: []entry{{int64(1), nil}}}, "}(K\x01NK\x02Nu.": &dict{entries: []entry{{int64(1), nil}, {int64(2), nil}}},
		"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00K\x07\x94h\x00\x86.": tuple{int64(7), int64(7)},
		"K\x05q\x01r\x01\x02\x00\x00h\x01j\x01\x02\x00\x00\x87.":          tuple{int64(5), int64(5), int64(5)},
		"Nq\x00h\x00\x86.":                      tuple{nil, nil},
		"ccollections\nOrderedDict\n.":          globalOrderedDict,
		"ccollections\nOrderedDict\n)R.":        &dict{},
		"ccollections\nOrderedDict\n)R}b.":      &dict{}, // attributes do not count
		"\x8c\x05torch\x8c\x0bHalfStorage\x93.": global("torch HalfStorage"),
		"NK\x010.":                              nil,
		"N(K\x01K\x021.":                        nil,
	} {
		if got, err := run(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %#v, %v; expected %#v", text, got, err, want)
		}
	}
}

// What a pickle could do by the globals it names is refused by name, and nothing is run.
func TestRefusesPickles(t *testing.T) {
	t.Parallel()
	long := func(op byte, n uint64) string {
		return string(binary.LittleEndian.AppendUint64([]byte{op}, n))
	}
	const storageID = "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
	for name, x := range map[string]struct {
		text string
		want error
		says []string
	}{
		"os.system":                     {"cos\nsystem\n(X\x02\x00\x00\x00lstR.", source.ErrUnsupported, []string{`"os.system"`, "nothing was run", "safetensors"}},
		"posix.system, protocol 4":      {"\x80\x04\x8c\x05posix\x8c\x06system\x93.", source.ErrUnsupported, []string{`"posix.system"`, "nothing was run"}},
		"builtins.eval":                 {"c__builtin__\neval\n.", source.ErrUnsupported, []string{`"__builtin__.eval"`}},
		"a module of torch":             {"ctorch.nn.modules.linear\nLinear\n.", source.ErrUnsupported, []string{"torch.nn.modules.linear.Linear"}},
		"another function":              {"ctorch._utils\n_rebuild_sparse_tensor\n.", source.ErrUnsupported, []string{"_rebuild_sparse_tensor"}},
		"a name with a newline":         {"\x80\x04\x8c\x0bcollections\x8c\x0c\nOrderedDict\x93.", source.ErrUnsupported, []string{`OrderedDict`}},
		"an instance":                   {"(cos\nsystem\no.", source.ErrUnsupported, []string{"os.system"}},
		"INST":                          {"(ios\nsystem\n.", source.ErrUnsupported, []string{"operation 0x69", "nothing was run"}},
		"NEWOBJ":                        {"ccollections\nOrderedDict\n)\x81.", source.ErrUnsupported, []string{"operation 0x81"}},
		"an extension":                  {"\x82\x01.", source.ErrUnsupported, []string{"operation 0x82"}},
		"a persistent line":             {"P1\n.", source.ErrUnsupported, []string{"operation 0x50"}},
		"zero":                          {"\x00", source.ErrUnsupported, []string{"operation 0x00"}},
		"protocol 6":                    {"\x80\x06N.", source.ErrUnsupported, []string{"protocol 6"}},
		"empty":                         {"", source.ErrTruncated, nil},
		"no end":                        {"N", source.ErrTruncated, nil},
		"two values":                    {"NN.", source.ErrCorrupt, []string{"2 values"}},
		"no value":                      {".", source.ErrCorrupt, []string{"0 values"}},
		"an open mark":                  {"N(.", source.ErrCorrupt, []string{"ends with"}},
		"text past the end":             {"X\xff\xff\xff\xffhi", source.ErrTruncated, nil},
		"text of 2^64-1":                {long(0x8d, 1<<64-1), source.ErrTruncated, nil},
		"a frame past the end":          {"\x95\x00", source.ErrTruncated, nil},
		"a number cut":                  {"J\x00", source.ErrTruncated, nil},
		"a float cut":                   {"G\x00", source.ErrTruncated, nil},
		"no line":                       {"ccollections", source.ErrCorrupt, []string{"a line"}},
		"a long line":                   {"c" + strings.Repeat("m", maxName+1) + "\nx\n", source.ErrCorrupt, []string{"a line"}},
		"an empty stack":                {"0", source.ErrCorrupt, []string{"takes 1 values from a stack of 0"}},
		"below a mark":                  {"N(\x85.", source.ErrCorrupt, []string{"takes 1 values from a stack of 0"}},
		"no mark":                       {"Nt.", source.ErrCorrupt, []string{"a mark that is not there"}},
		"nothing kept":                  {"h\x00.", source.ErrCorrupt, []string{"recalls value 0"}},
		"keeps nothing":                 {"q\x00.", source.ErrCorrupt, nil},
		"an item of no list":            {"NNa.", source.ErrCorrupt, []string{"None"}},
		"items of no list":              {"}(Ne.", source.ErrCorrupt, nil},
		"a pair of no dict":             {"NNNs.", source.ErrCorrupt, []string{"None"}},
		"pairs of no dict":              {"](NNu.", source.ErrCorrupt, nil},
		"half a pair":                   {"}(Nu.", source.ErrCorrupt, []string{"a key without a value"}},
		"attributes of a text":          {"U\x00}b.", source.ErrCorrupt, nil},
		"a global of numbers":           {"\x80\x04K\x01K\x02\x93.", source.ErrCorrupt, []string{"names a global by 1 and 2"}},
		"a number applied":              {"K\x01)R.", source.ErrCorrupt, []string{"applies 1"}},
		"a class applied":               {"ctorch\nFloatStorage\n)R.", source.ErrCorrupt, []string{"applies torch FloatStorage"}},
		"applied to no tuple":           {"ccollections\nOrderedDict\nNR.", source.ErrCorrupt, []string{"to None"}},
		"arguments of a dict":           {"ccollections\nOrderedDict\nN\x85R.", source.ErrCorrupt, []string{"to 1 arguments"}},
		"a tensor of nothing":           {"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89)tR.", source.ErrCorrupt, []string{"makes a tensor of None"}},
		"a tensor from nothing":         {"ctorch._utils\n_rebuild_tensor_v2\n(" + storageID + "N))\x89)tR.", source.ErrCorrupt, []string{"from None on"}},
		"a shape of a number":           {"ctorch._utils\n_rebuild_tensor_v2\n(" + storageID + "K\x00K\x01)\x89)tR.", source.ErrCorrupt, []string{"shape or strides that are 1"}},
		"a shape of texts":              {"ctorch._utils\n_rebuild_tensor_v2\n(" + storageID + "K\x00U\x01a\x85)\x89)tR.", source.ErrCorrupt, []string{`"a" in it`}},
		"a type of no tensor":           {"ctorch._utils\n_rebuild_tensor_v3\n(" + storageID + "K\x00))\x89)NtR.", source.ErrCorrupt, []string{"of type None"}},
		"a parameter of None":           {"ctorch._utils\n_rebuild_parameter\n(N\x89)tR.", source.ErrCorrupt, []string{"a parameter of None"}},
		"too few arguments":             {"ctorch._utils\n_rebuild_tensor_v2\n)R.", source.ErrCorrupt, []string{"to 0 arguments"}},
		"no persistent id":              {"NQ.", source.ErrCorrupt, []string{"refers to None"}},
		"an id of another kind":         {"(X\x06\x00\x00\x00moduleNNNNtQ.", source.ErrCorrupt, []string{"expected a storage"}},
		"an id without a class":         {"(X\x07\x00\x00\x00storageNNNNtQ.", source.ErrCorrupt, []string{"class None"}},
		"an id of a class that is none": {"(X\x07\x00\x00\x00storageccollections\nOrderedDict\nU\x010NK\x01tQ.", source.ErrCorrupt, []string{"collections OrderedDict"}},
		"a negative storage":            {"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nU\x010NJ\xff\xff\xff\xfftQ.", source.ErrCorrupt, []string{"-1 elements"}},
		"a view of a storage":           {"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nU\x010NK\x01(U\x010K\x00K\x01ttQ.", source.ErrUnsupported, []string{"a view of another"}},
		"too many values":               {strings.Repeat("N", maxValues+1), source.ErrLimit, []string{"1048576 values"}},
		"too many marks":                {strings.Repeat("(", maxValues+1), source.ErrLimit, []string{"1048576 values"}},
	} {
		v, err := run(x.text)
		if v != nil || !errors.Is(err, x.want) {
			t.Errorf("%s: %v, %v, expected %v", name, v, err, x.want)
			continue
		}
		for _, part := range x.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, expected %q in it", name, err, part)
			}
		}
	}
}

// A dict that is recalled many times is looked at within bounds.
func TestManyOfOneDict(t *testing.T) {
	t.Parallel()
	inner := "}q\x01(" + strings.Repeat("U\x01nK\x01", 5000) + "u"
	text := "}(U\x01a" + inner + strings.Repeat("U\x01bh\x01", 100000) + "U\x01cK\x02u."
	v, err := run(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(v.(*dict).numbers()); got != "map[a.n:1 b.n:1 c:2]" {
		t.Error(got)
	}
}
