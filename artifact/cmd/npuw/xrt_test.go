//go:build xrt

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"npuw/pipeline/recipe"
	"npuw/runtime/xrt/teststream"
	"npuw/schema/pyreader"
)

// These tests run on the real XRT, over the software NPU: see npuw/runtime/xrt.

const gemmText = `contract {
  name: "fc1"
  operation: "GEMM"
  kernel: "MLIR_AIE"
  xclbin: "gemm.xclbin"
  instructions: "fc1.bin"
  shape { axis: "M" extent: 50 padded: 64 }
  shape { axis: "K" extent: 64 }
  shape { axis: "N" extent: 128 }
  argument { name: "instr" index: 1 role: INSTRUCTIONS }
  argument { name: "a" index: 3 role: ACTIVATION format: BF16 axes: "MK" layout: "M* K* M4 K8" }
  argument { name: "b" index: 4 role: WEIGHT format: BF16 axes: "KN" layout: "N* K* K8 N8 K8 N4" operand: "encoder.layers.{i}.fc1.weight" }
  argument { name: "bias" index: 5 role: WEIGHT format: BF16 axes: "N" layout: "N*" operand: "encoder.layers.{i}.fc1.bias" }
  argument { name: "c" index: 6 role: OUTPUT format: F32 axes: "MN" layout: "M* N* M4 N4" }
}
`

// writeKernels writes contracts, and what they name, to a folder: an xclbin, and instructions for the software NPU.
func writeKernels(t *testing.T, folder string) {
	t.Helper()
	k, err := recipe.ParseKernels("kernels.txtpb", []byte(gemmText))
	must(t, err)
	stream, err := teststream.Encode(&k.Contracts[0])
	must(t, err)
	xclbin, err := os.ReadFile(filepath.Join(testdata, "..", "xclbin", "mlir_aie.xclbin"))
	must(t, err)
	for name, data := range map[string][]byte{"kernels.txtpb": []byte(gemmText), "fc1.bin": stream, "gemm.xclbin": xclbin} {
		must(t, os.WriteFile(filepath.Join(folder, name), data, 0o666))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// npuw runs the command and gives what it printed.
func npuw(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(args, &out, &errs); got != want {
		t.Fatalf("npuw %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, want, &out, &errs)
	}
	return out.String(), errs.String()
}

// The GEMMs that have contracts run on the NPU, and the output has the bits of the reference device.
func TestXRTRun(t *testing.T) {
	dir := pyreader.TempDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	writeKernels(t, dir)
	model := filepath.Join(testdata, "whisper-tiny-encoder")
	npuw(t, 0, "pack", model+".onnx", "-q", "--sync=false", "--kernels", at("kernels.txtpb"), "-o", at("model.npuw"))
	npuw(t, 0, "verify", "--kernels", dir, at("model.npuw"))
	arguments := []string{"run", at("model.npuw"), "-i", model + ".in.f32", "--activations", "bf16", "-o"}
	npuw(t, 0, append(arguments, at("cpu.f32"))...)
	onNPU := slices.Concat(arguments, []string{at("xrt.f32"), "--device", "xrt", "--kernels"})
	text, _ := npuw(t, 0, append(onNPU, dir)...)
	for _, line := range []string{"NPU 0: software NPU at ", "model.npuw on xrt+cpu: ", "\nkernels on xrt: 1 GEMM\n", "\nkernels on cpu: "} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in:\n%s", line, text)
		}
	}
	want, err := os.ReadFile(at("cpu.f32"))
	must(t, err)
	got, err := os.ReadFile(at("xrt.f32"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("other bits than on the reference device")
	}
	text, _ = npuw(t, 0, append(onNPU, dir, "--json", "--profile")...)
	var listing runListing
	must(t, json.Unmarshal([]byte(text), &listing))
	if !slices.Contains(listing.Placements, placementListing{"GEMM", "xrt", 1}) || listing.NPU == nil || listing.NPU.Name != "software NPU" {
		t.Errorf("NPU %+v, placements %+v", listing.NPU, listing.Placements)
	}
	ran := func(u usageListing) bool { return u.Name == "GEMM" && u.Device == "xrt" && u.Runs == 2 } // one a layer
	if !slices.ContainsFunc(listing.Kinds, ran) {
		t.Errorf("kinds %+v", listing.Kinds)
	}
	empty := pyreader.TempDir(t)
	if _, text = npuw(t, 1, append(onNPU, empty)...); !strings.Contains(text, "artifact and device do not fit") || !strings.Contains(text, empty) {
		t.Errorf("without the xclbin: %s", text)
	}
}

func TestXRTDevice(t *testing.T) {
	for mode, weights := range map[string]string{"": "stay in the pages of the artifact", "no-readonly-pin": "are copied: "} {
		t.Setenv("SWNPU_MODE", mode)
		text, _ := npuw(t, 0, "device")
		if !strings.HasPrefix(text, "NPU 0: software NPU at ") || !strings.Contains(text, "  weights          "+weights) || !strings.Contains(text, "\ncpu: ") {
			t.Errorf("mode %q:\n%s", mode, text)
		}
		text, _ = npuw(t, 0, "device", "--json")
		var listing deviceListing
		must(t, json.Unmarshal([]byte(text), &listing))
		if len(listing.NPUs) != 1 || listing.NPUs[0].Columns != 5 || listing.NPUs[0].Maps != (mode == "") || listing.Missing != "" {
			t.Errorf("mode %q: %+v", mode, listing)
		}
	}
}

// What is measured stands under the name of the device that it was measured on.
func TestXRTBench(t *testing.T) {
	dir := pyreader.TempDir(t)
	writeKernels(t, dir)
	source, model, plain := filepath.Join(testdata, "whisper-tiny-encoder.onnx"), filepath.Join(dir, "model.npuw"), filepath.Join(dir, "plain.npuw")
	npuw(t, 0, "pack", source, "-q", "--sync=false", "--kernels", filepath.Join(dir, "kernels.txtpb"), "-o", model)
	npuw(t, 0, "pack", source, "-q", "--sync=false", "-o", plain)
	onNPU := []string{"bench", "--runs", "3", "--device", "xrt", "--kernels", dir}
	text, _ := npuw(t, 0, append(onNPU, model)...)
	for _, line := range []string{"NPU 0: software NPU at ", "model.npuw on xrt+cpu (software NPU): ", "  fc1 GEMM M=50 K=64 N=128 on xrt (software NPU)\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in:\n%s", line, text)
		}
	}
	text, _ = npuw(t, 0, append(onNPU, "--json", model)...)
	var listing benchListing
	must(t, json.Unmarshal([]byte(text), &listing))
	l := &listing.Load
	if listing.NPU == nil || listing.NPU.Name != "software NPU" || !listing.Bound || l.Loads != 1 || l.MappedBytes == 0 || l.CopiedBytes != 0 {
		t.Errorf("%+v", listing)
	}
	if k := listing.Kernels; len(k) != 1 || k[0].Name != "fc1" || k[0].Device != "xrt" || k[0].WeightBytes != 16640 || k[0].MedianSeconds > k[0].SlowestSeconds {
		t.Errorf("kernels %+v", k)
	}
	text, _ = npuw(t, 0, append(onNPU, plain)...)
	if !strings.Contains(text, "no weights are bound to a kernel contract: the NPU has nothing to run\n") {
		t.Errorf("without contracts:\n%s", text)
	}
}
