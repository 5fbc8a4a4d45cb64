package xclbin

import (
	"io"
	"slices"

	"npuw/artifact/kernel"
)

// Kernel is a kernel that XRT can open by its name.
type Kernel struct {
	Name       string
	Type       string // "dpu" for one on the NPU, "pl" for programmable logic, "ps", or what else the metadata says
	Functional uint64 // 0: DPU, 1: pre- or postprocessing
	ID         uint64 // dpu_kernel_id, by which PDIs are chosen
	Instances  []Instance
	Arguments  []Argument // by index, from 0 without gaps; then those without an index

	hasID bool
}

// Instance is a compute unit of a kernel.
type Instance struct {
	Name string
	IP   int // its position in File.IPs, or NoIP
}

// NoIP is the IP of an instance that stands in the metadata only.
const NoIP = -1

// NoIndex is the index of an argument that is not passed by position.
const NoIndex = -1

// NoGroup is the memory group of an argument that reaches no memory, as scalars do not.
const NoGroup = kernel.NoGroup

// Argument is one argument of a kernel. Sizes and offsets are in bytes.
type Argument struct {
	Name      string
	Type      string // in C: "uint64_t", "void*"; empty where the metadata has none
	Index     int    // its position in a call, or NoIndex
	Qualifier Qualifier
	// Offset and Size place it among the kernel's registers: what a command holds. For a buffer that is an address.
	Offset, Size         uint64
	HostOffset, HostSize uint64 // of the value on the host; HostSize is that of Type
	// MemoryGroup is the position in File.Groups of the memory that its buffer must lie in, or NoGroup: of all that the first instance
	// reaches the largest, as XRT has it. Memories has them all, ascending.
	MemoryGroup int32
	Memories    []int32
}

// Buffer reports whether a buffer object is passed for the argument.
func (a *Argument) Buffer() bool { return a.Qualifier == Global || a.Qualifier == Constant }

// Kernel gives the kernel of a name, nil when there is none.
func (f *File) Kernel(name string) *Kernel {
	for i := range f.Kernels {
		if f.Kernels[i].Name == name {
			return &f.Kernels[i]
		}
	}
	return nil
}

// DPU reports whether the kernel is one on the NPU.
func (k *Kernel) DPU() bool { return k.Type == "dpu" }

// Argument gives the argument of a name, nil when there is none.
func (k *Kernel) Argument(name string) *Argument {
	for i := range k.Arguments {
		if k.Arguments[i].Name == name {
			return &k.Arguments[i]
		}
	}
	return nil
}

// ArgumentAt gives the argument at an index, nil when there is none.
func (k *Kernel) ArgumentAt(index int) *Argument {
	if index < 0 || index >= k.indexed() {
		return nil
	}
	return &k.Arguments[index]
}

// indexed is the number of arguments that have an index.
func (k *Kernel) indexed() int {
	n := len(k.Arguments)
	for n > 0 && k.Arguments[n-1].Index == NoIndex {
		n--
	}
	return n
}

// GroupID is what XRT's kernel.group_id gives for an argument of a memory group, and what a buffer is allocated with: the group in
// bits 0 to 15, all ones for none, and the slot of the hardware context in bits 16 to 23. In the first context, slot 1, group 0
// is 0x10000 and none 0x1ffff. Bits 24 to 31 are for flags of the buffer.
func GroupID(slot uint8, group int32) uint32 { return uint32(slot)<<16 | uint32(uint16(group)) }

// SplitGroupID takes apart what XRT's kernel.group_id gave.
func SplitGroupID(id uint32) (slot uint8, group int32) {
	if slot, group = uint8(id>>16), int32(uint16(id)); group == 0xffff {
		group = NoGroup
	}
	return slot, group
}

// readKernels reads the metadata, and joins it with IP_LAYOUT and connectivity.
func (f *File) readKernels(r io.ReaderAt) error {
	if err := f.readMetadata(r); err != nil {
		return err
	}
	if err := f.joinIPs(); err != nil {
		return err
	}
	kind := Connectivity
	if _, grouped := f.part(r, GroupConnectivity); grouped {
		kind = GroupConnectivity
		if _, ok := f.part(r, MemTopology); ok { // XRT looks no further at the plain one; a fault of it is one all the same
			if _, err := f.readConnections(r, Connectivity, f.Memories); err != nil {
				return err
			}
		}
	}
	connections, err := f.readConnections(r, kind, f.Groups)
	if err != nil {
		return err
	}
	f.connect(connections)
	return nil
}

// joinIPs makes the instances of kernels: those of IP_LAYOUT in its order, then those that only the metadata has.
func (f *File) joinIPs() error {
	kernels := make(map[string]*Kernel, len(f.Kernels))
	named := make(map[*Kernel][]Instance, len(f.Kernels))
	for i := range f.Kernels {
		k := &f.Kernels[i]
		kernels[k.Name], named[k], k.Instances = k, k.Instances, nil
	}
	placed := make(map[string]bool, len(f.IPs))
	for i := range f.IPs {
		ip := &f.IPs[i]
		name, instance := ip.kernel()
		k := kernels[name]
		if k == nil {
			continue
		}
		if ip.Type == PSKernel && k.DPU() && k.hasID && uint64(ip.KernelID) != k.ID&kernelIDMask {
			p := part{thing: IPLayout.String(), offset: int64(f.Section(IPLayout).Offset)}
			return p.corrupt(uint64(ipEntries+i*ipStride+atIPKernelID), "%q has kernel id %#x, the metadata gives kernel %q id %#x",
				ip.Name, ip.KernelID, k.Name, k.ID)
		}
		k.Instances = append(k.Instances, Instance{instance, i})
		placed[ip.Name] = true
	}
	for i := range f.Kernels {
		k := &f.Kernels[i]
		for _, instance := range named[k] {
			if !placed[k.Name+":"+instance.Name] {
				k.Instances = append(k.Instances, instance)
			}
		}
	}
	return nil
}

// connect gives each argument the memories that its kernel's first instance reaches.
func (f *File) connect(connections []connection) {
	first := make(map[int32]*Kernel, len(f.Kernels))
	for i := range f.Kernels {
		if k := &f.Kernels[i]; len(k.Instances) > 0 && k.Instances[0].IP != NoIP {
			first[int32(k.Instances[0].IP)] = k
		}
	}
	for _, c := range connections {
		if k := first[c.ip]; k != nil && f.Groups[c.memory].mapped() {
			a := &k.Arguments[c.argument]
			a.Memories = append(a.Memories, c.memory)
		}
	}
	for i := range f.Kernels {
		for j := range f.Kernels[i].Arguments {
			a := &f.Kernels[i].Arguments[j]
			slices.Sort(a.Memories)
			a.Memories = slices.Compact(a.Memories)
			if n := len(a.Memories); n > 0 {
				a.MemoryGroup = a.Memories[n-1]
			}
		}
	}
}
