// Package xclbin reads xclbin files: the containers, called axlf, in which compiled NPU kernels come. It says which kernels one has
// and what they take, as XRT sees them, without XRT and without trusting the file.
//
//	0    header: magic, length, time, mode, interface uuid, platform, uuid
//	448  number of sections
//	456  section headers: kind, name, offset, size
//	...  the sections
//	...  often JSON that mirrors headers and sections, up to the length
//
// Everything is little-endian. What a kernel is stands in three places: EMBEDDED_METADATA (XML) names it with its arguments,
// IP_LAYOUT has its instances, and GROUP_CONNECTIVITY says into which entry of GROUP_TOPOLOGY each of its buffers must go.
// AIE_PARTITION has the columns that it takes and the PDIs that configure them; those, and bitstreams, are located but never
// read.
//
// The layout is that of XRT's xclbin.h; which of several sections counts, and what is an error, follows its xrt::xclbin.
package xclbin

import "strconv"

const magic = "xclbin2\x00"

// Where the fields of the header are, and of a section header.
const (
	atMagic         = 0
	atLength        = 304
	atTimestamp     = 312
	atPatch         = 328
	atMajor         = 330
	atMinor         = 331
	atMode          = 332
	atInterfaceUUID = 336
	atVBNV          = 352
	atUUID          = 416
	atSections      = 448
	headerBytes     = 456

	atKind             = 0
	atSectionName      = 4
	atSectionOffset    = 24
	atSectionSize      = 32
	sectionHeaderBytes = 40
)

// The tables that begin with a count (i32 at 0): where their entries begin, how long one is, and where its fields are.
const (
	topologyEntries = 8
	topologyStride  = 40
	atMemoryType    = 0
	atMemoryUsed    = 1
	atMemorySize    = 8
	atMemoryBase    = 16
	atMemoryTag     = 24

	ipEntries    = 8
	ipStride     = 80
	atIPType     = 0
	atIPProperty = 4 // of a processor kernel: bits 0-1 subtype, 4-5 functional
	atIPKernelID = 6 // of a processor kernel: bits 0-11
	atIPBase     = 8
	atIPName     = 16

	connectionEntries  = 4
	connectionStride   = 12
	atConnectionArg    = 0
	atConnectionIP     = 4
	atConnectionMemory = 8
)

// The fields of AIE_PARTITION, of its PDIs and of their CDO groups. An array is a count (u32) and an offset in the section (u32).
const (
	atPartitionName = 4
	atOperations    = 8
	atColumnWidth   = 32
	atStartColumns  = 40
	atPDIs          = 120
	partitionBytes  = 184

	atPDIUUID   = 0
	atPDIImage  = 16
	atPDIGroups = 24
	pdiStride   = 96

	atGroupName    = 0
	atGroupType    = 4
	atGroupPDI     = 8
	atGroupKernels = 16
	atGroupBefore  = 24
	groupStride    = 96
)

// Bounds on what is read, however large a file says that it is. Real files stay far below.
const (
	maxSections      = 10_000
	maxEntries       = 1 << 16 // of one table; also of all arrays in AIE_PARTITION together
	maxMetadataBytes = 4 << 20
	maxMetadataDepth = 64
	maxNameBytes     = 256 // of a text in AIE_PARTITION
)

// Kind says what a section holds.
type Kind uint32

// The kinds of sections that this package reads, or that NPU files have.
const (
	Bitstream         Kind = 0
	EmbeddedMetadata  Kind = 2
	MemTopology       Kind = 6
	Connectivity      Kind = 7
	IPLayout          Kind = 8
	BuildMetadata     Kind = 14
	PDISection        Kind = 18
	GroupTopology     Kind = 26
	GroupConnectivity Kind = 27
	AIEPartition      Kind = 32
)

var kindNames = []string{
	"BITSTREAM", "CLEARING_BITSTREAM", "EMBEDDED_METADATA", "FIRMWARE", "DEBUG_DATA", "SCHED_FIRMWARE", "MEM_TOPOLOGY",
	"CONNECTIVITY", "IP_LAYOUT", "DEBUG_IP_LAYOUT", "DESIGN_CHECK_POINT", "CLOCK_FREQ_TOPOLOGY", "MCS", "BMC", "BUILD_METADATA",
	"KEYVALUE_METADATA", "USER_METADATA", "DNA_CERTIFICATE", "PDI", "BITSTREAM_PARTIAL_PDI", "PARTITION_METADATA",
	"EMULATION_DATA", "SYSTEM_METADATA", "SOFT_KERNEL", "ASK_FLASH", "AIE_METADATA", "GROUP_TOPOLOGY", "GROUP_CONNECTIVITY",
	"SMARTNIC", "AIE_RESOURCES", "OVERLAY", "VENDER_METADATA", "AIE_PARTITION", "IP_METADATA", "AIE_RESOURCES_BIN",
	"AIE_TRACE_METADATA",
}

func (k Kind) String() string { return nameOf(kindNames, uint64(k)) }

// Mode says for which target a file was built.
type Mode uint16

var modeNames = []string{"flat", "pr", "tandem-stage2", "tandem-stage2-with-pr", "hw-emu", "sw-emu", "hw-emu-pr"}

func (m Mode) String() string { return nameOf(modeNames, uint64(m)) }

// MemoryType is the type of an entry of a topology.
type MemoryType uint8

// The types of entries that are no memory: XRT does not count connections to them.
const (
	Streaming           MemoryType = 3
	StreamingConnection MemoryType = 9
)

var memoryTypeNames = []string{
	"DDR3", "DDR4", "DRAM", "STREAMING", "PREALLOCATED_GLOB", "ARE", "HBM", "BRAM", "URAM", "STREAMING_CONNECTION", "HOST", "PS_KERNEL",
}

func (t MemoryType) String() string { return nameOf(memoryTypeNames, uint64(t)) }

// IPType is the type of an entry of IP_LAYOUT.
type IPType uint32

// The types of entries that are instances of kernels.
const (
	PLKernel IPType = 1 // programmable logic
	PSKernel IPType = 7 // a processor's, a DPU among them
)

var ipTypeNames = []string{"MB", "KERNEL", "DNASC", "DDR4_CONTROLLER", "MEM_DDR4", "MEM_HBM", "MEM_HBM_ECC", "PS_KERNEL"}

func (t IPType) String() string { return nameOf(ipTypeNames, uint64(t)) }

// Subtype tells the processor kernels apart.
type Subtype uint8

// The subtypes of a PSKernel.
const (
	PS  Subtype = 0
	DPU Subtype = 1 // one on the NPU
)

var subtypeNames = []string{"PS", "DPU"}

func (s Subtype) String() string { return nameOf(subtypeNames, uint64(s)) }

// Qualifier is the address qualifier of an argument: what is passed for it.
type Qualifier uint8

// The address qualifiers. A buffer object is passed for Global and Constant.
const (
	Scalar   Qualifier = 0
	Global   Qualifier = 1
	Constant Qualifier = 2
	Local    Qualifier = 3
	Stream   Qualifier = 4
)

var qualifierNames = []string{"scalar", "global", "constant", "local", "stream"}

func (q Qualifier) String() string { return nameOf(qualifierNames, uint64(q)) }

// CDOType is the type of a CDO group.
type CDOType uint8

var cdoTypeNames = []string{"UNKNOWN", "PRIMARY", "LITE", "PREPOST"}

func (t CDOType) String() string { return nameOf(cdoTypeNames, uint64(t)) }

// nameOf is the name of a value, or its number where it has none.
func nameOf(names []string, v uint64) string {
	if v < uint64(len(names)) {
		return names[v]
	}
	return strconv.FormatUint(v, 10)
}
