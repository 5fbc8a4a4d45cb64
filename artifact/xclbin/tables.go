package xclbin

import (
	"io"
	"strings"
)

// Memory is an entry of a topology: a memory bank, or a group of banks.
type Memory struct {
	Type MemoryType
	Used bool
	KiB  uint64
	Base uint64 // address
	Tag  string // its name: "HOST", "SRAM"
}

// mapped reports whether XRT counts connections to the entry.
func (m *Memory) mapped() bool { return m.Used && m.Type != Streaming && m.Type != StreamingConnection }

// IP is an entry of IP_LAYOUT: an instance of a kernel, or a block of hardware.
type IP struct {
	Type IPType
	Base uint64
	Name string // of an instance "KERNEL:INSTANCE"
	// Subtype, Functional and KernelID (12 bits) are those of a PSKernel, else 0.
	Subtype    Subtype
	Functional uint8
	KernelID   uint16
}

// readTopology reads the first section of a kind as a topology, nil when there is none.
func (f *File) readTopology(r io.ReaderAt, kind Kind) ([]Memory, error) {
	p, ok := f.part(r, kind)
	if !ok {
		return nil, nil
	}
	b, n, err := p.table(topologyEntries, topologyStride)
	if err != nil {
		return nil, err
	}
	memories := make([]Memory, n)
	for i := range memories {
		at := uint64(i) * topologyStride
		e := b[at:][:topologyStride]
		m := Memory{
			Type: MemoryType(e[atMemoryType]), Used: e[atMemoryUsed] != 0,
			KiB: le.Uint64(e[atMemorySize:]), Base: le.Uint64(e[atMemoryBase:]),
		}
		if m.Tag, err = p.text(e[atMemoryTag:], topologyEntries+at+atMemoryTag, "a tag"); err != nil {
			return nil, err
		}
		memories[i] = m
	}
	return memories, nil
}

func (f *File) readIPs(r io.ReaderAt) ([]IP, error) {
	p, ok := f.part(r, IPLayout)
	if !ok {
		return nil, nil
	}
	b, n, err := p.table(ipEntries, ipStride)
	if err != nil {
		return nil, err
	}
	ips := make([]IP, n)
	for i := range ips {
		at := uint64(i) * ipStride
		e := b[at:][:ipStride]
		ip := IP{Type: IPType(le.Uint32(e[atIPType:])), Base: le.Uint64(e[atIPBase:])}
		if ip.Type == PSKernel {
			ip.Subtype, ip.Functional = Subtype(e[atIPProperty]&3), e[atIPProperty]>>4&3
			ip.KernelID = le.Uint16(e[atIPKernelID:]) & kernelIDMask
		}
		if ip.Name, err = p.text(e[atIPName:], ipEntries+at+atIPName, "a name"); err != nil {
			return nil, err
		}
		ips[i] = ip
	}
	return ips, nil
}

// kernelIDMask is what IP_LAYOUT keeps of a kernel's id.
const kernelIDMask = 0xfff

// kernel is the name of the kernel that an IP is an instance of, and that of the instance.
func (ip *IP) kernel() (kernel, instance string) {
	kernel, instance, ok := strings.Cut(ip.Name, ":")
	if !ok {
		return "", ""
	}
	return kernel, instance
}

// connection says that an argument of an IP reaches a memory. All three are positions, those of the last two in their tables.
type connection struct {
	argument, ip, memory int32
}

// readConnections reads the first section of a kind as connections of IPs with the given memories, nil when there is none. Without an
// IP_LAYOUT they connect nothing and are not looked at.
func (f *File) readConnections(r io.ReaderAt, kind Kind, memories []Memory) ([]connection, error) {
	p, ok := f.part(r, kind)
	if _, hasIPs := f.part(r, IPLayout); !ok || !hasIPs {
		return nil, nil
	}
	b, n, err := p.table(connectionEntries, connectionStride)
	if err != nil {
		return nil, err
	}
	arguments := f.argumentsOfIPs()
	connections := make([]connection, n)
	for i := range connections {
		at := uint64(i) * connectionStride
		e := b[at:][:connectionStride]
		c := connection{int32(le.Uint32(e[atConnectionArg:])), int32(le.Uint32(e[atConnectionIP:])), int32(le.Uint32(e[atConnectionMemory:]))}
		at += connectionEntries
		switch {
		case c.ip < 0 || int(c.ip) >= len(f.IPs):
			return nil, p.corrupt(at+atConnectionIP, "connection %d is of IP %d of %d", i, c.ip, len(f.IPs))
		case c.memory < 0 || int(c.memory) >= len(memories):
			return nil, p.corrupt(at+atConnectionMemory, "connection %d is with memory %d of %d", i, c.memory, len(memories))
		case c.argument < 0 || arguments[c.ip] >= 0 && int(c.argument) >= arguments[c.ip]:
			return nil, p.corrupt(at+atConnectionArg, "connection %d is of argument %d of %q, which has %d",
				i, c.argument, f.IPs[c.ip].Name, max(0, arguments[c.ip]))
		}
		connections[i] = c
	}
	return connections, nil
}

// argumentsOfIPs gives the number of arguments of each IP, -1 where the metadata does not know its kernel.
func (f *File) argumentsOfIPs() []int {
	counts := make([]int, len(f.IPs))
	for i := range counts {
		counts[i] = -1
	}
	for i := range f.Kernels {
		k := &f.Kernels[i]
		for _, instance := range k.Instances {
			if instance.IP != NoIP {
				counts[instance.IP] = k.indexed()
			}
		}
	}
	return counts
}
