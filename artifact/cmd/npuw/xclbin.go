package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"npuw/artifact/xclbin"
)

func xclbinCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "xclbin FILE.xclbin",
		Short: "Show uuid, kernels, arguments, memory groups and columns of an xclbin",
		Long: "Show what kernels an xclbin has and what they take, as XRT sees them, which need not be installed: each argument with its\n" +
			"index, its offset and size in bytes among the kernel's registers, and the memory group that a buffer for it must lie in.\n" +
			"PDIs and bitstreams are not looked at. --json has more.",
		Example:           "  npuw xclbin gemm.xclbin\n  npuw xclbin --json gemm.xclbin | jq '.kernels[].arguments[] | {index, name, memory_group}'",
		Args:              needs("FILE.xclbin"),
		ValidArgsFunction: completeFiles("xclbin"),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := xclbin.Open(args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), listXclbin(f))
		}
		return printXclbin(cmd.OutOrStdout(), f)
	}
	return c
}

// xclbinListing is what `npuw xclbin --json` prints. Its JSON is an interface: fields are added, never changed.
type xclbinListing struct {
	Path          string            `json:"path"`
	Bytes         int64             `json:"bytes"`
	Digest        string            `json:"xxh3_128"`
	Version       string            `json:"version"`
	UUID          string            `json:"uuid"`
	InterfaceUUID string            `json:"interface_uuid"`
	VBNV          string            `json:"vbnv"`
	Timestamp     uint64            `json:"timestamp"` // seconds since 1970
	Mode          string            `json:"mode"`
	Sections      []sectionListing  `json:"sections"`
	Memories      []memoryListing   `json:"memories"`
	Groups        []memoryListing   `json:"groups"` // what memory_group counts
	Kernels       []kernelListing   `json:"kernels"`
	Partition     *partitionListing `json:"partition"`
}

type sectionListing struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Offset uint64 `json:"offset"`
	Bytes  uint64 `json:"bytes"`
}

type memoryListing struct {
	Tag  string `json:"tag"`
	Type string `json:"type"`
	Used bool   `json:"used"`
	KiB  uint64 `json:"kib"`
	Base uint64 `json:"base"`
}

type kernelListing struct {
	Name       string                  `json:"name"`
	Type       string                  `json:"type"`
	Functional uint64                  `json:"functional"`
	ID         uint64                  `json:"id"`
	Instances  []instanceListing       `json:"instances"`
	Arguments  []kernelArgumentListing `json:"arguments"`
}

type instanceListing struct {
	Name    string `json:"name"`
	IP      int    `json:"ip"`      // -1: it has none
	IPType  string `json:"ip_type"` // empty without an IP, as subtype is but for a PS_KERNEL
	Subtype string `json:"subtype"`
}

type kernelArgumentListing struct {
	Name        string  `json:"name"`
	Index       int     `json:"index"` // -1: it has none
	Qualifier   string  `json:"qualifier"`
	Type        string  `json:"type"`
	Offset      uint64  `json:"offset"`
	Bytes       uint64  `json:"bytes"`
	HostOffset  uint64  `json:"host_offset"`
	HostBytes   uint64  `json:"host_bytes"`
	MemoryGroup int32   `json:"memory_group"` // -1: none
	Memories    []int32 `json:"memories"`
}

type partitionListing struct {
	Name               string       `json:"name"`
	OperationsPerCycle uint32       `json:"operations_per_cycle"`
	ColumnWidth        uint16       `json:"column_width"`
	StartColumns       []uint16     `json:"start_columns"`
	PDIs               []pdiListing `json:"pdis"`
}

type pdiListing struct {
	UUID    string   `json:"uuid"`
	Offset  int64    `json:"offset"`
	Bytes   int64    `json:"bytes"`
	Kernels []uint64 `json:"kernels"` // by id
}

func listXclbin(f *xclbin.File) xclbinListing {
	l := xclbinListing{
		Path: f.Path, Bytes: f.Size, Digest: f.Digest.String(), Version: f.Version, UUID: f.UUID.String(),
		InterfaceUUID: f.InterfaceUUID.String(), VBNV: f.VBNV, Timestamp: f.Timestamp, Mode: f.Mode.String(),
		Sections: []sectionListing{}, Memories: listMemories(f.Memories), Groups: listMemories(f.Groups), Kernels: []kernelListing{},
	}
	for _, s := range f.Sections {
		l.Sections = append(l.Sections, sectionListing{s.Kind.String(), s.Name, s.Offset, s.Size})
	}
	for i := range f.Kernels {
		l.Kernels = append(l.Kernels, listKernel(f, &f.Kernels[i]))
	}
	if p := f.Partition; p != nil {
		l.Partition = &partitionListing{p.Name, p.OperationsPerCycle, p.ColumnWidth, p.StartColumns, []pdiListing{}}
		for i := range p.PDIs {
			pdi := &p.PDIs[i]
			l.Partition.PDIs = append(l.Partition.PDIs, pdiListing{pdi.UUID.String(), pdi.Offset, pdi.Size, kernelsOf(pdi)})
		}
	}
	return l
}

func listMemories(memories []xclbin.Memory) []memoryListing {
	l := []memoryListing{}
	for _, m := range memories {
		l = append(l, memoryListing{m.Tag, m.Type.String(), m.Used, m.KiB, m.Base})
	}
	return l
}

func listKernel(f *xclbin.File, k *xclbin.Kernel) kernelListing {
	l := kernelListing{k.Name, k.Type, k.Functional, k.ID, []instanceListing{}, []kernelArgumentListing{}}
	for _, instance := range k.Instances {
		e := instanceListing{Name: instance.Name, IP: instance.IP}
		if instance.IP != xclbin.NoIP {
			ip := &f.IPs[instance.IP]
			if e.IPType = ip.Type.String(); ip.Type == xclbin.PSKernel {
				e.Subtype = ip.Subtype.String()
			}
		}
		l.Instances = append(l.Instances, e)
	}
	for _, a := range k.Arguments {
		l.Arguments = append(l.Arguments, kernelArgumentListing{
			a.Name, a.Index, a.Qualifier.String(), a.Type, a.Offset, a.Size, a.HostOffset, a.HostSize, a.MemoryGroup,
			append([]int32{}, a.Memories...),
		})
	}
	return l
}

// kernelsOf gives the ids of the kernels that a PDI is for.
func kernelsOf(pdi *xclbin.PDI) []uint64 {
	ids := []uint64{}
	for _, g := range pdi.Groups {
		ids = append(ids, g.Kernels...)
	}
	return ids
}

func printXclbin(w io.Writer, f *xclbin.File) error {
	fmt.Fprintf(w, "%s: xclbin of version %s, %d bytes, %d sections, mode %v\n", f.Path, f.Version, f.Size, len(f.Sections), f.Mode)
	fmt.Fprintf(w, "content   %v\nuuid      %v\n", f.Digest, f.UUID)
	if f.VBNV != "" || f.InterfaceUUID != (xclbin.UUID{}) {
		fmt.Fprintf(w, "platform  %s, interface %v\n", printable(f.VBNV), f.InterfaceUUID)
	}
	if f.Timestamp > 0 && f.Timestamp < 253402300800 { // which begins the year 10000
		fmt.Fprintf(w, "written   %s\n", time.Unix(int64(f.Timestamp), 0).UTC().Format(time.RFC3339))
	}
	printPartition(w, f.Partition)
	for i := range f.Kernels {
		if err := printKernel(w, f, &f.Kernels[i]); err != nil {
			return err
		}
	}
	if len(f.Groups) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "memory group\ttype\tKiB\taddress")
	for i, m := range f.Groups {
		unused := ""
		if !m.Used {
			unused = " (unused)"
		}
		fmt.Fprintf(t, "%d %s\t%v%s\t%d\t%#x\n", i, printable(m.Tag), m.Type, unused, m.KiB, m.Base)
	}
	return t.Flush()
}

func printPartition(w io.Writer, p *xclbin.Partition) {
	if p == nil {
		fmt.Fprint(w, "columns   none: the file has no AIE partition\n")
		return
	}
	fmt.Fprintf(w, "columns   %d, from column %s\n", p.ColumnWidth, anyOf(p.StartColumns, "%d"))
	for i := range p.PDIs {
		pdi := &p.PDIs[i]
		fmt.Fprintf(w, "pdi       %v, %d bytes, for kernel id %s\n", pdi.UUID, pdi.Size, anyOf(kernelsOf(pdi), "%#x"))
	}
}

// anyOf prints "1 or 2 or 3", or "none".
func anyOf[T uint16 | uint64](numbers []T, format string) string {
	if len(numbers) == 0 {
		return "none"
	}
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = fmt.Sprintf(format, n)
	}
	return strings.Join(texts, " or ")
}

func printKernel(w io.Writer, f *xclbin.File, k *xclbin.Kernel) error {
	fmt.Fprintf(w, "\nkernel %s (%s", printable(k.Name), printable(k.Type))
	if k.DPU() {
		fmt.Fprintf(w, ", id %#x", k.ID)
	}
	fmt.Fprint(w, ")")
	for i, instance := range k.Instances {
		if i == 0 {
			fmt.Fprint(w, ", instances")
		}
		fmt.Fprintf(w, " %s", printable(instance.Name))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "argument\toffset\tbytes\tkind\ttype\tmemory group")
	for _, a := range k.Arguments {
		index, group := fmt.Sprint(a.Index), "-"
		if a.Index == xclbin.NoIndex {
			index = "-"
		}
		if a.MemoryGroup != xclbin.NoGroup {
			group = fmt.Sprintf("%d %s", a.MemoryGroup, printable(f.Groups[a.MemoryGroup].Tag))
		}
		fmt.Fprintf(t, "%s %s\t%#x\t%d\t%v\t%s\t%s\n", index, printable(a.Name), a.Offset, a.Size, a.Qualifier, printable(a.Type), group)
	}
	return t.Flush()
}
