package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"npuw/artifact/kernel"
	"npuw/runtime/device"
	"npuw/runtime/whisper"
)

// runListing is what `npuw run --json` prints. Its JSON is an interface: fields are added, never changed.
type runListing struct {
	Artifact    string      `json:"artifact"`
	Load        loadListing `json:"load"`
	Activations string      `json:"activations"`
	Shape       [2]uint64   `json:"shape"`   // of the output
	Seconds     float64     `json:"seconds"` // of the run, without loading
	Comparison  *comparison `json:"comparison,omitempty"`
	// NPU and Placements are missing where the device is a single one.
	NPU        *npuListing        `json:"npu,omitempty"`
	Placements []placementListing `json:"placements,omitempty"`
	Kinds      []usageListing     `json:"kinds,omitempty"`
	Steps      []usageListing     `json:"steps,omitempty"`
}

type loadListing struct {
	Device   string           `json:"device"`
	Checked  bool             `json:"digests_checked"`
	Seconds  float64          `json:"seconds"`
	Segments []segmentListing `json:"segments"`
	// Unsupported are the contracts that the device has no kernel for.
	Unsupported []contractListing `json:"unsupported,omitempty"`
}

type contractListing struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

type segmentListing struct {
	Name   string `json:"name"`
	Bytes  uint64 `json:"bytes"`
	Mapped bool   `json:"mapped"`
	Why    string `json:"why_copied,omitempty"`
}

func listLoad(r *device.Report) loadListing {
	l := loadListing{Device: r.Device, Checked: r.Checked, Seconds: r.Elapsed.Seconds(), Segments: []segmentListing{}}
	for _, s := range r.Segments {
		l.Segments = append(l.Segments, segmentListing{s.Name, s.Bytes, s.Mapped, s.Why})
	}
	for _, c := range r.Unsupported {
		l.Unsupported = append(l.Unsupported, contractListing{c.Name, c.Why})
	}
	return l
}

// usage is what runs of one kind took.
type usage struct {
	name, device string
	runs         int
	seconds      float64
	bytes, flops uint64
}

type usageListing struct {
	Name    string  `json:"name"`
	Device  string  `json:"device,omitempty"` // that kernels of a kind ran on, one of several
	Runs    int     `json:"runs"`
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
	Bytes   uint64  `json:"bytes"`
	GFlops  float64 `json:"gflops,omitempty"` // a second
}

// profile adds up runs, by kind of kernel and by step.
type profile struct {
	count       int
	kinds, runs []usage
	devices     map[*kernel.Contract]string // of kernels that run on one of several
}

func (p *profile) add(s *whisper.Step) {
	p.count++
	p.kinds = addUsage(p.kinds, operationName(s.Kernel), p.devices[s.Kernel], s)
	p.runs = addUsage(p.runs, anyNumber(s.Name), "", s)
}

// anyNumber puts a star for each number between dots: layers and heads go together.
func anyNumber(name string) string {
	parts := strings.Split(name, ".")
	for i, s := range parts {
		if _, err := strconv.ParseUint(s, 10, 64); err == nil {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, ".")
}

func addUsage(list []usage, name, device string, s *whisper.Step) []usage {
	i := slices.IndexFunc(list, func(u usage) bool { return u.name == name && u.device == device })
	if i < 0 {
		i, list = len(list), append(list, usage{name: name, device: device})
	}
	u := &list[i]
	u.runs++
	u.seconds += s.Elapsed.Seconds()
	u.bytes += s.Bytes
	u.flops += s.Flops
	return list
}

// list gives kinds by time, and steps in the order of their first run.
func (p *profile) list() (kinds, steps []usageListing) {
	kinds = listUsage(p.kinds)
	slices.SortStableFunc(kinds, func(a, b usageListing) int {
		switch {
		case a.Seconds > b.Seconds:
			return -1
		case a.Seconds < b.Seconds:
			return 1
		}
		return 0
	})
	return kinds, listUsage(p.runs)
}

func listUsage(list []usage) []usageListing {
	total := 0.0
	for _, u := range list {
		total += u.seconds
	}
	var out []usageListing
	for _, u := range list {
		l := usageListing{Name: u.name, Device: u.device, Runs: u.runs, Seconds: u.seconds, Bytes: u.bytes}
		if total > 0 && u.seconds > 0 {
			l.Share, l.GFlops = u.seconds/total, float64(u.flops)/u.seconds/1e9
		}
		out = append(out, l)
	}
	return out
}

func (r *runListing) print(w io.Writer) error {
	if r.NPU != nil {
		r.NPU.print(w)
	}
	r.Load.print(w, r.Artifact)
	fmt.Fprintf(w, "output [%d, %d] in %.3f s, activations %s\n", r.Shape[0], r.Shape[1], r.Seconds, r.Activations)
	if c := r.Comparison; c != nil && c.MaxAbsoluteError != nil {
		fmt.Fprintf(w, "cosine %.9f, max absolute error %.3g (tolerance %g), max relative error %.3g\n", *c.Cosine, *c.MaxAbsoluteError, c.Tolerance, *c.MaxRelativeError)
	} else if c != nil {
		fmt.Fprintln(w, "not compared: values are not finite")
	}
	printPlacements(w, r.Placements)
	if err := printUsage(w, "kernel", r.Kinds); err != nil {
		return err
	}
	return printUsage(w, "step", r.Steps)
}

func (l *loadListing) print(w io.Writer, path string) {
	var mapped, copied, all uint64
	why := map[string]int{}
	var reasons []string
	for _, s := range l.Segments {
		all += s.Bytes
		if s.Mapped {
			mapped++
			continue
		}
		copied++
		if why[s.Why]++; why[s.Why] == 1 {
			reasons = append(reasons, s.Why)
		}
	}
	digests := "digests checked"
	if !l.Checked {
		digests = "digests not checked"
	}
	fmt.Fprintf(w, "%s on %s: %d bytes, %d segments mapped, %d copied, %s, in %.3f s\n", path, l.Device, all, mapped, copied, digests, l.Seconds)
	for _, r := range reasons {
		fmt.Fprintf(w, "  %d copied because: %s\n", why[r], r)
	}
	for _, c := range l.Unsupported {
		fmt.Fprintf(w, "  contract %s is not used: %s\n", c.Name, c.Why)
	}
}

func printUsage(w io.Writer, title string, list []usageListing) error {
	if len(list) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\nruns\tms\tshare\tMB\tGFLOP/s\t  %s\n", title)
	for _, u := range list {
		rate := "-"
		if u.GFlops > 0 {
			rate = fmt.Sprintf("%.1f", u.GFlops)
		}
		name := u.Name
		if u.Device != "" {
			name += " on " + u.Device
		}
		fmt.Fprintf(t, "%d\t%.1f\t%.1f%%\t%.1f\t%s\t  %s\n", u.Runs, 1e3*u.Seconds, 100*u.Share, float64(u.Bytes)/1e6, rate, name)
	}
	return t.Flush()
}
