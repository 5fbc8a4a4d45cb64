package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"npuw/artifact"
	"npuw/artifact/kernel"
)

// benchListing is what `npuw bench --json` prints. Its JSON is an interface: fields are added, never changed.
type benchListing struct {
	Artifact string      `json:"artifact"`
	Device   string      `json:"device"`
	NPU      *npuListing `json:"npu,omitempty"` // missing where the device is the reference device
	Load     benchLoad   `json:"load"`
	Runs     int         `json:"runs"` // of each kernel, without the one to warm up
	// Bound is whether the kernels are contracts of the artifact that weights are bound to.
	Bound   bool          `json:"bound"`
	Kernels []benchKernel `json:"kernels"`
	// Skipped are contracts that the device cannot run, or not with memory of a sensible size.
	Skipped []contractListing `json:"skipped,omitempty"`
}

// benchLoad is what loading took: medians.
type benchLoad struct {
	Loads            int     `json:"loads"` // with digests checked, and as many without
	CheckedSeconds   float64 `json:"digests_checked_seconds"`
	UncheckedSeconds float64 `json:"digests_skipped_seconds"`
	MappedBytes      uint64  `json:"mapped_bytes"`
	CopiedBytes      uint64  `json:"copied_bytes"`
}

// benchKernel is what runs of one kernel took.
type benchKernel struct {
	Name           string                 `json:"name"`
	Operation      string                 `json:"operation"`
	Device         string                 `json:"device"` // that it ran on
	Shape          []artifact.AxisListing `json:"shape"`
	Weights        []string               `json:"weights"`      // operands
	WeightBytes    uint64                 `json:"weight_bytes"` // of all of them
	MedianSeconds  float64                `json:"median_seconds"`
	SlowestSeconds float64                `json:"slowest_seconds"`
	WeightGB       float64                `json:"weight_gb_per_second"` // 1e9 bytes, by the median
	GFlops         float64                `json:"gflops,omitempty"`     // a second, by the median; of a GEMM
}

// rate fills in what follows from the seconds of the runs, which it sorts.
func (k *benchKernel) rate(c *kernel.Contract, took []float64) {
	k.MedianSeconds = median(took)
	k.SlowestSeconds = took[len(took)-1]
	if k.MedianSeconds <= 0 { // too short for the clock
		return
	}
	k.WeightGB = float64(k.WeightBytes) / k.MedianSeconds / 1e9
	if c.Operation == kernel.GEMM {
		k.GFlops = 2 * float64(c.Size('M')) * float64(c.Size('K')) * float64(c.Size('N')) / k.MedianSeconds / 1e9
	}
}

func listShape(c *kernel.Contract) []artifact.AxisListing {
	shape := []artifact.AxisListing{}
	for _, a := range c.Shape {
		shape = append(shape, artifact.AxisListing{Name: string(rune(a.Name)), Extent: a.Extent, Padded: a.Padded})
	}
	return shape
}

// describe is "fc1 GEMM M=1500 K=512 N=2048".
func (k *benchKernel) describe() string {
	text := k.Name + " " + k.Operation
	for _, a := range k.Shape {
		text += fmt.Sprintf(" %s=%d", a.Name, a.Extent)
	}
	return text
}

func (l *benchListing) print(w io.Writer) error {
	name := l.Device
	if l.NPU != nil {
		l.NPU.print(w)
		name = fmt.Sprintf("%s (%s)", name, l.NPU.Name)
	}
	r := &l.Load
	fmt.Fprintf(w, "%s on %s: %d bytes mapped, %d bytes copied\n", l.Artifact, name, r.MappedBytes, r.CopiedBytes)
	fmt.Fprintf(w, "load, median of %d: %.3f ms with digests checked, %.3f ms without\n", r.Loads, 1e3*r.CheckedSeconds, 1e3*r.UncheckedSeconds)
	if !l.Bound {
		fmt.Fprintf(w, "no weights are bound to a kernel contract: %s\n", l.unbound())
	}
	if len(l.Kernels) > 0 {
		fmt.Fprintf(w, "kernels, %d runs each after one to warm up:\n", l.Runs)
		if err := l.printKernels(w); err != nil {
			return err
		}
	}
	for _, c := range l.Skipped {
		fmt.Fprintf(w, "contract %s was not measured: %s\n", c.Name, c.Why)
	}
	return nil
}

// unbound says what was measured where no weights are bound.
func (l *benchListing) unbound() string {
	switch {
	case l.NPU != nil:
		return "the NPU has nothing to run"
	case len(l.Kernels)+len(l.Skipped) == 0:
		return "and no GEMM can be measured, for want of an operand of axes K and N, or of the attribute positions"
	}
	return "measured is a GEMM with the largest matrix"
}

func (l *benchListing) printKernels(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "median ms\tslowest ms\tweight MB\tGB/s\tGFLOP/s\t  kernel\n")
	for _, k := range l.Kernels {
		flops := "-"
		if k.GFlops > 0 {
			flops = fmt.Sprintf("%.2f", k.GFlops)
		}
		device := k.Device
		if l.NPU != nil && device != "cpu" {
			device += " (" + l.NPU.Name + ")"
		}
		fmt.Fprintf(t, "%.3f\t%.3f\t%.3f\t%.3f\t%s\t  %s on %s\n", 1e3*k.MedianSeconds, 1e3*k.SlowestSeconds,
			float64(k.WeightBytes)/1e6, k.WeightGB, flops, k.describe(), device)
	}
	return t.Flush()
}
