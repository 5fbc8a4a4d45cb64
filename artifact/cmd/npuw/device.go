package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"npuw/artifact/kernel"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/runtime/xrt"
)

func deviceCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "device",
		Short: "List the NPUs of this machine, and what their drivers can do",
		Long: "List the devices that `npuw run` can compute on: NPUs, through XRT, and the reference device, which is the processor.\n" +
			"Of an NPU: driver, XRT, columns of compute cores, whether weights can stay in the pages of the artifact or are copied,\n" +
			"and how much memory this process may lock. Without an NPU it says what is missing; that is no error.",
		Example: "  npuw device --json | jq '.npus[].driver'",
		Args:    needs(),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := listDevices()
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		list.print(cmd.OutOrStdout())
		return nil
	}
	return c
}

// deviceListing is what `npuw device --json` prints. Its JSON is an interface: fields are added, never changed.
type deviceListing struct {
	NPUs      []npuListing     `json:"npus"`
	Missing   string           `json:"missing,omitempty"` // what it takes to use an NPU, where none can be
	Reference referenceListing `json:"reference"`
}

type npuListing struct {
	Index   int    `json:"index"`
	Name    string `json:"name"` // the device's own: that of a stand-in says so
	Address string `json:"address"`
	Driver  string `json:"driver,omitempty"`
	XRT     string `json:"xrt"`
	Columns int    `json:"columns,omitempty"`
	// Maps is whether weights stay in the artifact's own pages.
	Maps    bool   `json:"maps"`
	MapsWhy string `json:"why_copied,omitempty"` // where they do not
	// MemlockBytes is what this process may lock in memory, null: all.
	MemlockBytes *int64 `json:"memlock_bytes"`
}

type referenceListing struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Workers      int    `json:"workers"`
}

// listDevices asks every device. That there is no NPU, or none that this process can use, is part of the list.
func listDevices() (*deviceListing, error) {
	l := &deviceListing{NPUs: []npuListing{}, Reference: referenceListing{"cpu", runtime.GOARCH, runtime.GOMAXPROCS(0)}}
	found, err := xrt.List()
	var memlock *xrt.MemlockError
	switch {
	case errors.Is(err, device.ErrUnsupported) || errors.As(err, &memlock):
		l.Missing = err.Error()
	case err != nil:
		return nil, err
	}
	for i := range found {
		l.NPUs = append(l.NPUs, listNPU(&found[i]))
	}
	return l, nil
}

func listNPU(i *xrt.Info) npuListing {
	n := npuListing{i.Index, i.Name, i.Address, i.Driver, i.XRT, i.Columns, i.Maps, i.MapsWhy, nil}
	if i.MemlockBytes != math.MaxInt64 {
		n.MemlockBytes = &i.MemlockBytes
	}
	return n
}

func (l *deviceListing) print(w io.Writer) {
	for i := range l.NPUs {
		l.NPUs[i].print(w)
	}
	if l.Missing != "" {
		fmt.Fprintf(w, "no NPU can be used: %s\n", l.Missing)
	}
	r := &l.Reference
	fmt.Fprintf(w, "%s: the reference device, on %s with %d workers\n", r.Name, r.Architecture, r.Workers)
}

func (n *npuListing) print(w io.Writer) {
	known := func(s string) string {
		if s == "" {
			return "not known"
		}
		return s
	}
	columns, memory, weights := "", "all", "stay in the pages of the artifact"
	if n.Columns > 0 {
		columns = fmt.Sprintf(", %d columns", n.Columns)
	}
	if n.MemlockBytes != nil {
		memory = fmt.Sprintf("%d bytes", *n.MemlockBytes)
	}
	if !n.Maps {
		weights = "are copied: " + n.MapsWhy
	}
	fmt.Fprintf(w, "NPU %d: %s at %s%s\n", n.Index, n.Name, known(n.Address), columns)
	fmt.Fprintf(w, "  driver           %s\n  XRT              %s\n", known(n.Driver), n.XRT)
	fmt.Fprintf(w, "  weights          %s\n  lockable memory  %s\n", weights, memory)
}

// openDevice opens the device that --device names, for the artifact at path, and says which NPU is in it; nil: none.
func (f *runFlags) openDevice(path string) (d device.Device, npu *npuListing, err error) {
	reference := cpu.Options{Workers: f.jobs}
	if f.device == "cpu" {
		return cpu.New(reference), nil, nil
	}
	found, err := xrt.List()
	if err != nil {
		return nil, nil, err
	}
	options := xrt.Options{Xclbins: xrt.Folder(f.kernels)}
	if info, err := os.Stat(path); err == nil { // else its load will tell
		options.NeedBytes = info.Size()
	}
	x, err := xrt.Open(options)
	if err != nil {
		return nil, nil, err
	}
	info := listNPU(&found[options.Index])
	gemm := []kernel.Operation{kernel.GEMM} // those without an xclbin, as attention has, run on the reference device
	c := device.NewComposite(device.Part{Device: x, Operations: gemm}, device.Part{Device: cpu.New(reference), Operations: gemm})
	return c, &info, nil
}

// placementListing says on which device kernels of an operation run.
type placementListing struct {
	Operation string `json:"operation"`
	Device    string `json:"device"`
	Kernels   int    `json:"kernels"`
}

// listPlacements counts the open kernels of a device that is made of several, in the order in which they were opened. It gives the
// device of each, by its contract.
func listPlacements(d device.Device) ([]placementListing, map[*kernel.Contract]string) {
	c, ok := d.(*device.Composite)
	if !ok {
		return nil, nil
	}
	var list []placementListing
	devices := map[*kernel.Contract]string{}
	for _, p := range c.Placements() {
		devices[p.Contract] = p.Device
		operation := operationName(p.Contract)
		i := slices.IndexFunc(list, func(l placementListing) bool { return l.Operation == operation && l.Device == p.Device })
		if i < 0 {
			i, list = len(list), append(list, placementListing{Operation: operation, Device: p.Device})
		}
		list[i].Kernels++
	}
	return list, devices
}

// printPlacements prints "kernels on xrt: 4 GEMM", a line for each device.
func printPlacements(w io.Writer, list []placementListing) {
	var devices []string
	kernels := map[string][]string{}
	for _, p := range list {
		if kernels[p.Device] == nil {
			devices = append(devices, p.Device)
		}
		kernels[p.Device] = append(kernels[p.Device], fmt.Sprintf("%d %s", p.Kernels, p.Operation))
	}
	for _, d := range devices {
		fmt.Fprintf(w, "kernels on %s: %s\n", d, strings.Join(kernels[d], ", "))
	}
}

// operationName is "GEMM", or "CONV + GELU" with an epilogue.
func operationName(c *kernel.Contract) string {
	if c.Epilogue == kernel.NoEpilogue {
		return string(c.Operation)
	}
	return string(c.Operation) + " + " + string(c.Epilogue)
}
