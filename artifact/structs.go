package artifact

// structType is a struct of the index, as FORMAT.md, section 5, and npuw.fbs have it.
type structType struct {
	name        string
	size, align int
	fields      string // "offset name type", by FORMAT.md's row

	// Bytes between and after fields must be zero. They all lie in one word of eight bytes at gapAt: those under the mask gap.
	gapAt int
	gap   uint64
}

// The bytes of a word from one on.
const (
	fromByte1 = 1<<64 - 1<<8
	fromByte3 = 1<<64 - 1<<24
	fromByte4 = 1<<64 - 1<<32
	fromByte5 = 1<<64 - 1<<40
)

var (
	characters = structType{name: "u8", size: 1, align: 1}
	number     = structType{name: "u64", size: 8, align: 8, fields: "0 number u64"}

	axisStruct = structType{
		name: "Axis", size: 24, align: 8, gapAt: 16, gap: fromByte1,
		fields: "0 extent u64; 8 padded u64; 16 name u8",
	}
	digitStruct = structType{
		name: "Digit", size: 24, align: 8, gapAt: 16, gap: fromByte1,
		fields: "0 size u64; 8 stride u64; 16 axis u8",
	}
	planeStruct = structType{
		name: "Plane", size: 64, align: 8, gapAt: 56, gap: fromByte3,
		fields: "0 offset u64; 8 bytes u64; 16 pad_bits u64; 24 record_elements u64; 32 record_bytes u64; 40 block Range; " +
			"48 digits Range; 56 role u8; 57 element u8; 58 order u8",
	}
	placedAxisStruct = structType{
		name: "PlacedAxis", size: 32, align: 8, gapAt: 24, gap: fromByte1,
		fields: "0 begin u64; 8 size u64; 16 step u64; 24 axis u8",
	}
	placementStruct = structType{
		name: "Placement", size: 32, align: 8, gapAt: 24, gap: fromByte4,
		fields: "0 scale f64; 8 from Range; 16 to Range; 24 parameter u32",
	}
	fillStruct = structType{
		name: "Fill", size: 24, align: 8,
		fields: "0 value f64; 8 begin Range; 16 size Range",
	}
	segmentStruct = structType{
		name: "Segment", size: 48, align: 8, gapAt: 40, gap: fromByte5,
		fields: "0 name Text; 8 offset u64; 16 bytes u64; 24 digest Digest; 40 memory_group i32; 44 kind u8",
	}
	operandStruct = structType{
		name: "Operand", size: 136, align: 8, gapAt: 56, gap: fromByte5,
		fields: "0 name Text; 8 axes Range; 16 planes Range; 24 placements Range; 32 fills Range; 40 offset u64; 48 bytes u64; " +
			"56 segment u32; 60 encoding u8; 64 statistics Statistics",
	}
	parameterStruct = structType{
		name: "Parameter", size: 24, align: 4,
		fields: "0 name Text; 8 axes Text; 16 shape Range",
	}
	attributeStruct = structType{
		name: "Attribute", size: 40, align: 8, gapAt: 32, gap: fromByte1,
		fields: "0 name Text; 8 text Text; 16 integer i64; 24 real f64; 32 kind u8",
	}
	noteStruct = structType{
		name: "Note", size: 12, align: 4, gapAt: 4, gap: fromByte5,
		fields: "0 parameter u32; 4 operand u32; 8 kind u8",
	}
	xclbinStruct = structType{
		name: "Xclbin", size: 48, align: 8,
		fields: "0 name Text; 8 uuid_lo u64; 16 uuid_hi u64; 24 bytes u64; 32 digest Digest",
	}
	contractStruct = structType{
		name: "Contract", size: 56, align: 4,
		fields: "0 name Text; 8 operation Text; 16 kernel Text; 24 epilogue Text; 32 shape Range; 40 arguments Range; " +
			"48 xclbin u32; 52 instructions u32",
	}
	argumentStruct = structType{
		name: "Argument", size: 48, align: 8, gapAt: 40, gap: fromByte3,
		fields: "0 name Text; 8 axes Range; 16 planes Range; 24 bytes u64; 32 index u32; 36 memory_group i32; " +
			"40 kind u8; 41 role u8; 42 encoding u8",
	}
	bindingStruct = structType{
		name: "Binding", size: 12, align: 4,
		fields: "0 operand u32; 4 contract u32; 8 argument u32",
	}
	producerStruct = structType{
		name: "Producer", size: 20, align: 4,
		fields: "0 name Text; 8 recipe Text; 16 revision u32",
	}
	modelStruct = structType{name: "Model", size: 8, align: 4, fields: "0 family Text"}
)

// members are the structs that lie in others.
var members = map[string]*structType{
	"Text":   {name: "Text", size: 8, align: 4, fields: "0 at u32; 4 bytes u32"},
	"Range":  {name: "Range", size: 8, align: 4, fields: "0 first u32; 4 count u32"},
	"Digest": {name: "Digest", size: 16, align: 8, fields: "0 lo u64; 8 hi u64"},
	"Statistics": {
		name: "Statistics", size: 72, align: 8,
		fields: "0 elements u64; 8 inexact u64; 16 underflowed u64; 24 non_finite u64; 32 max_abs_error f64; 40 max_abs_value f64; " +
			"48 sum_xx f64; 56 sum_xd f64; 64 sum_dd f64",
	},
}

// slot is a field of the index's table.
type slot int

const (
	slotProducer slot = iota
	slotModel
	slotText
	slotNumbers
	slotAxes
	slotDigits
	slotPlanes
	slotPlacedAxes
	slotPlacements
	slotFills
	slotSegments
	slotOperands
	slotParameters
	slotAttributes
	slotNotes
	slotXclbins
	slotContracts
	slotArguments
	slotBindings
	slotCount
)

// slots are the fields of the index's table: a struct where it is single, else a vector of them.
var slots = [slotCount]struct {
	name   string
	of     *structType
	single bool
	most   int // entries, 0: as many as the index holds
}{
	slotProducer:   {"producer", &producerStruct, true, 0},
	slotModel:      {"model", &modelStruct, true, 0},
	slotText:       {"text", &characters, false, 0},
	slotNumbers:    {"numbers", &number, false, 0},
	slotAxes:       {"axes", &axisStruct, false, 0},
	slotDigits:     {"digits", &digitStruct, false, 0},
	slotPlanes:     {"planes", &planeStruct, false, 0},
	slotPlacedAxes: {"placed_axes", &placedAxisStruct, false, 0},
	slotPlacements: {"placements", &placementStruct, false, 0},
	slotFills:      {"fills", &fillStruct, false, 0},
	slotSegments:   {"segments", &segmentStruct, false, maxEntries},
	slotOperands:   {"operands", &operandStruct, false, maxEntries},
	slotParameters: {"parameters", &parameterStruct, false, maxEntries},
	slotAttributes: {"attributes", &attributeStruct, false, maxEntries},
	slotNotes:      {"notes", &noteStruct, false, maxEntries},
	slotXclbins:    {"xclbins", &xclbinStruct, false, maxEntries},
	slotContracts:  {"contracts", &contractStruct, false, maxEntries},
	slotArguments:  {"arguments", &argumentStruct, false, maxEntries},
	slotBindings:   {"bindings", &bindingStruct, false, maxEntries},
}
