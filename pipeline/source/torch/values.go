package torch

import (
	"npuw/artifact/element"
	"npuw/pipeline/source"
)

// value is what a pickle makes: nil, bool, int64, float64, string, []byte, wide, tuple, *list, *dict, global, *storage, *tensor.
type value any

// wide is an integer past int64, little-endian in two's complement.
type wide []byte

type tuple []value

type list struct{ items []value }

// dict is a dict or an OrderedDict, in the order in which it was filled.
type dict struct{ entries []entry }

type entry struct{ key, value value }

// global is one of those in globals.
type global string

// storage is a persistent id: a reference to the bytes that tensors share.
type storage struct {
	key      string
	kind     storageKind
	elements int64
}

// tensor is what _rebuild_tensor_v2 and _v3 make.
type tensor struct {
	of            *storage
	kind          storageKind // of the elements; in a storage without type, v3 says it
	offset        int64       // of the first element, in elements
	shape, stride []int64
}

// storageKind is an element type, as the class of a storage or as a dtype names it.
type storageKind struct {
	name   string
	size   int64          // bytes; 0 for no kind at all
	format element.Format // 0: not one of floats that are read as they are
	float8 *source.Float8
}

// The globals that take arguments.
const (
	globalOrderedDict = global("collections OrderedDict")
	globalTensor      = global("torch._utils _rebuild_tensor_v2")
	globalTensorDtype = global("torch._utils _rebuild_tensor_v3")
	globalParameter   = global("torch._utils _rebuild_parameter")
)

var callable = map[global]bool{globalOrderedDict: true, globalTensor: true, globalTensorDtype: true, globalParameter: true}

// storageClasses are the classes of storages.
var storageClasses = map[global]storageKind{
	"torch DoubleStorage":          {"float64", 8, element.F64, nil},
	"torch FloatStorage":           {"float32", 4, element.F32, nil},
	"torch HalfStorage":            {"float16", 2, element.F16, nil},
	"torch BFloat16Storage":        {"bfloat16", 2, element.BF16, nil},
	"torch LongStorage":            {"int64", 8, 0, nil},
	"torch IntStorage":             {"int32", 4, 0, nil},
	"torch ShortStorage":           {"int16", 2, 0, nil},
	"torch CharStorage":            {"int8", 1, 0, nil},
	"torch ByteStorage":            {"uint8", 1, 0, nil},
	"torch BoolStorage":            {"bool", 1, 0, nil},
	"torch UntypedStorage":         {"untyped", 1, 0, nil},
	"torch.storage UntypedStorage": {"untyped", 1, 0, nil},
}

// dtypes are those that _rebuild_tensor_v3 gives to a storage without type.
var dtypes = map[global]storageKind{
	"torch float8_e4m3fn": {"float8_e4m3fn", 1, 0, source.E4M3},
	"torch float8_e5m2":   {"float8_e5m2", 1, 0, source.E5M2},
	"torch uint16":        {"uint16", 2, 0, nil},
	"torch uint32":        {"uint32", 4, 0, nil},
	"torch uint64":        {"uint64", 8, 0, nil},
}

// known reports whether g may stand in a checkpoint.
func (g global) known() bool {
	return callable[g] || storageClasses[g].size > 0 || dtypes[g].size > 0
}
