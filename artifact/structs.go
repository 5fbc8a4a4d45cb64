package artifact

// structType is a struct of the index, as FORMAT.md, section 5, and npuw.fbs have it.
type structType struct {
	name        string
	size, align int
	fields      string // "offset name type", by FORMAT.md's row

	// Bytes between fields must be zero. They all lie in one word of eight bytes at gapAt: those under the mask gap.
	gapAt int
	gap   uint64
}

// The bytes of a word from one on.
const (
	fromByte1 = 1<<64 - 1<<8
	fromByte2 = 1<<64 - 1<<16
	fromByte3 = 1<<64 - 1<<24
	fromByte4 = 1<<64 - 1<<32
	fromByte5 = 1<<64 - 1<<40
)

var (
	axisStruct = structType{
		name: "Axis", size: 24, align: 8, gapAt: 0, gap: fromByte1,
		fields: "0 name u8; 8 extent u64; 16 padded u64",
	}
	digitStruct = structType{
		name: "Digit", size: 24, align: 8, gapAt: 0, gap: fromByte1,
		fields: "0 axis u8; 8 size u64; 16 stride u64",
	}
	segmentFacts = structType{
		name: "SegmentFacts", size: 40, align: 8, gapAt: 32, gap: fromByte1 &^ fromByte4,
		fields: "0 offset u64; 8 bytes u64; 16 digest Digest; 32 kind u8; 36 memory_group i32",
	}
	operandFacts = structType{
		name: "OperandFacts", size: 24, align: 8, gapAt: 0, gap: fromByte5,
		fields: "0 segment u32; 4 encoding u8; 8 offset u64; 16 bytes u64",
	}
	planeFacts = structType{
		name: "PlaneFacts", size: 48, align: 8, gapAt: 40, gap: fromByte2,
		fields: "0 offset u64; 8 bytes u64; 16 pad_bits u64; 24 record_elements u64; 32 record_bytes u64; 40 role u8; 41 element u8",
	}
	placementFacts = structType{
		name: "PlacementFacts", size: 16, align: 8, gapAt: 0, gap: fromByte4,
		fields: "0 parameter u32; 8 scale f64",
	}
	placedAxisStruct = structType{
		name: "PlacedAxis", size: 32, align: 8, gapAt: 24, gap: fromByte1,
		fields: "0 begin u64; 8 size u64; 16 step u64; 24 axis u8",
	}
	fillFacts = structType{name: "FillFacts", size: 8, align: 8, fields: "0 value f64"}

	statisticsStruct = structType{
		name: "Statistics", size: 72, align: 8,
		fields: "0 elements u64; 8 inexact u64; 16 underflowed u64; 24 non_finite u64; 32 max_abs_error f64; 40 max_abs_value f64; " +
			"48 sum_xx f64; 56 sum_xd f64; 64 sum_dd f64",
	}
	attributeFacts = structType{
		name: "AttributeFacts", size: 24, align: 8, gapAt: 16, gap: fromByte1,
		fields: "0 integer i64; 8 real f64; 16 kind u8",
	}
	producerFacts = structType{name: "ProducerFacts", size: 4, align: 4, fields: "0 revision u32"}

	noteStruct = structType{
		name: "Note", size: 12, align: 4, gapAt: 0, gap: fromByte1 &^ fromByte4,
		fields: "0 kind u8; 4 parameter u32; 8 operand u32",
	}
	xclbinFacts = structType{
		name: "XclbinFacts", size: 40, align: 8,
		fields: "0 uuid_lo u64; 8 uuid_hi u64; 16 bytes u64; 24 digest Digest",
	}
	contractFacts = structType{name: "ContractFacts", size: 8, align: 4, fields: "0 xclbin u32; 4 instructions u32"}

	argumentFacts = structType{
		name: "ArgumentFacts", size: 24, align: 8, gapAt: 16, gap: fromByte3,
		fields: "0 index u32; 4 memory_group i32; 8 bytes u64; 16 kind u8; 17 role u8; 18 element u8",
	}
	bindingStruct = structType{name: "Binding", size: 12, align: 4, fields: "0 operand u32; 4 contract u32; 8 argument u32"}
)

// tableType is a table of the index.
type tableType struct {
	name   string
	number int // position in tableTypes
	slots  []slotType
	least  int // bytes that every such table takes: its first four and the structs that must be there
	most   int // how many of them one vector may refer to; 0: as many as the index holds
}

// slotType is a slot of a table: its name and type as in FORMAT.md, section 5, where * marks what must be there.
type slotType struct {
	name, kind string
	of         *structType // for a struct; else the slot holds the u32 distance to what it refers to
}

// maxSlots is the largest number of slots.
const maxSlots = 9

var (
	indexTable = tableType{name: "Index", number: 0, least: 4, slots: []slotType{
		{"producer", "Producer*", nil},
		{"model", "Model*", nil},
		{"segments", "[Segment]", nil},
		{"operands", "[Operand]", nil},
		{"parameters", "[Parameter]", nil},
		{"notes", "[Note]", nil},
		{"xclbins", "[Xclbin]", nil},
		{"contracts", "[Contract]", nil},
		{"bindings", "[Binding]", nil},
	}}
	producerTable = tableType{name: "Producer", number: 1, least: 8, slots: []slotType{
		{"name", "string", nil}, {"facts", "ProducerFacts*", &producerFacts}, {"recipe", "string", nil},
	}}
	modelTable     = tableType{name: "Model", number: 2, least: 4, slots: []slotType{{"family", "string", nil}, {"attributes", "[Attribute]", nil}}}
	attributeTable = tableType{name: "Attribute", number: 3, least: 28, most: maxEntries, slots: []slotType{
		{"name", "string", nil}, {"facts", "AttributeFacts*", &attributeFacts}, {"text", "string", nil},
	}}
	segmentTable = tableType{name: "Segment", number: 4, least: 44, most: maxEntries, slots: []slotType{
		{"name", "string", nil}, {"facts", "SegmentFacts*", &segmentFacts},
	}}
	operandTable = tableType{name: "Operand", number: 5, least: 100, most: maxEntries, slots: []slotType{
		{"name", "string", nil},
		{"facts", "OperandFacts*", &operandFacts},
		{"axes", "[Axis]", nil},
		{"planes", "[Plane]", nil},
		{"placements", "[Placement]", nil},
		{"fills", "[Fill]", nil},
		{"statistics", "Statistics*", &statisticsStruct},
	}}
	planeTable = tableType{name: "Plane", number: 6, least: 52, most: maxPlanes, slots: []slotType{
		{"facts", "PlaneFacts*", &planeFacts}, {"block", "[u64]", nil}, {"digits", "[Digit]", nil},
	}}
	placementTable = tableType{name: "Placement", number: 7, least: 20, most: maxBoxes, slots: []slotType{
		{"facts", "PlacementFacts*", &placementFacts}, {"from", "[PlacedAxis]", nil}, {"to", "[u64]", nil},
	}}
	fillTable = tableType{name: "Fill", number: 8, least: 12, most: maxBoxes, slots: []slotType{
		{"facts", "FillFacts*", &fillFacts}, {"begin", "[u64]", nil}, {"size", "[u64]", nil},
	}}
	parameterTable = tableType{name: "Parameter", number: 9, least: 4, most: maxEntries, slots: []slotType{
		{"name", "string", nil}, {"axes", "string", nil}, {"shape", "[u64]", nil},
	}}
	xclbinTable = tableType{name: "Xclbin", number: 10, least: 44, most: maxEntries, slots: []slotType{
		{"name", "string", nil}, {"facts", "XclbinFacts*", &xclbinFacts},
	}}
	contractTable = tableType{name: "Contract", number: 11, least: 12, most: maxEntries, slots: []slotType{
		{"name", "string", nil},
		{"operation", "string", nil},
		{"kernel", "string", nil},
		{"facts", "ContractFacts*", &contractFacts},
		{"shape", "[Axis]", nil},
		{"arguments", "[Argument]", nil},
		{"epilogue", "string", nil},
	}}
	argumentTable = tableType{name: "Argument", number: 12, least: 28, slots: []slotType{
		{"name", "string", nil}, {"facts", "ArgumentFacts*", &argumentFacts}, {"axes", "[Axis]", nil}, {"digits", "[Digit]", nil},
	}}
)

var tableTypes = [...]*tableType{
	&indexTable, &producerTable, &modelTable, &attributeTable, &segmentTable, &operandTable, &planeTable, &placementTable, &fillTable, &parameterTable, &xclbinTable, &contractTable, &argumentTable,
}
