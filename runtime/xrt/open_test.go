package xrt

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/xclbin"
	"npuw/artifact/xclbin/xclbintest"
	"npuw/runtime/device"
)

// refused loads a fixture, which must not be possible for a reason.
func refused(t *testing.T, d *Device, f fixture, kind error, message string) {
	t.Helper()
	m, err := device.Load(context.Background(), d, f.path, device.LoadOptions{})
	if err == nil {
		check(t, m.Close())
	}
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), message) {
		t.Errorf("%v; want %v, with %q", err, kind, message)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(*artifact.Index)
		message string
	}{
		"another digest":  {func(x *artifact.Index) { x.Xclbins[0].Digest.Lo++ }, "the one of this name there is another"},
		"another length":  {func(x *artifact.Index) { x.Xclbins[0].Bytes++ }, "gemm0.xclbin"},
		"another uuid":    {func(x *artifact.Index) { x.Xclbins[0].UUID[0]++ }, "the artifact is built for"},
		"another kernel":  {func(x *artifact.Index) { x.Contracts[0].Kernel = "OTHER" }, `has no kernel "OTHER"`},
		"no instructions": {func(x *artifact.Index) { x.Contracts[0].Instructions = kernel.None }, "0 words of instructions"},
		"no word count":   {func(x *artifact.Index) { x.Contracts[0].Arguments[0].Bytes = 0 }, "an argument with the role of instructions must say how many"},
		"half a word":     {func(x *artifact.Index) { x.Contracts[0].Arguments[0].Bytes = 6 }, "in words of 4"},
		"memory group":    {func(x *artifact.Index) { x.Contracts[0].Arguments[1].MemoryGroup = 7 }, "bound to memory group 7"},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, conditions{}, func(t *testing.T, r *rig) {
				f := newEdited(t, edits{index: c.edit}, small)
				d := r.device(f)
				refused(t, d, f, device.ErrMismatch, c.message)
				if r.total("context") != 0 {
					t.Error("it reached XRT")
				}
				check(t, d.Close())
				r.hasNone()
			})
		})
	}
}

// What is not for this device is left to others; what cannot be found is refused.
func TestOpenWithoutXclbin(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newEdited(t, edits{contract: func(c *kernel.Contract) { c.Xclbin = kernel.None }}, small)
		d := r.device(f)
		m := load(t, d, f)
		if len(m.Report.Unsupported) != 1 || !strings.Contains(m.Report.Unsupported[0].Why, "names no xclbin") {
			t.Errorf("report %+v", m.Report.Unsupported)
		}
		check(t, m.Close())
		if _, err := d.Open(small.Contract(t, "not loaded")); !errors.Is(err, device.ErrUnsupported) {
			t.Errorf("a contract of nothing: %v", err)
		}
		check(t, d.Close())
		d = r.deviceWith(Options{})
		refused(t, d, newFixture(t, small), device.ErrMismatch, "without a folder of them")
		check(t, d.Close())
		r.hasNone()
	})
}

// Of two xclbins with one uuid, XRT would take either for the other.
func TestTwoXclbinsOfOneUUID(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		d := r.device(f)
		m := load(t, d, f)
		other := newEdited(t, edits{xclbin: func(s *xclbinSpec) { s.UUID, s.VBNV = m.Index.Xclbins[0].UUID, "another" }}, small)
		d.find = Folder(other.folder)
		refused(t, d, other, device.ErrMismatch, "of another one")
		check(t, m.Close())
		check(t, d.Close())
		r.hasNone()
	})
}

// The folder's file may change after it has been found.
func TestXclbinChanges(t *testing.T) {
	onEach(t, conditions{}, func(t *testing.T, r *rig) {
		f := newFixture(t, small)
		path := f.folder + "/gemm0.xclbin"
		whole, err := os.ReadFile(path)
		check(t, err)
		damaged := append([]byte(nil), whole...)
		damaged[len(damaged)-1] ^= 1
		d := r.deviceWith(Options{Xclbins: func(*artifact.Xclbin) (string, error) { return path, nil }})
		for message, data := range map[string][]byte{"the artifact is built for": whole[:len(whole)-1], "; the artifact is built for": damaged} {
			check(t, os.WriteFile(path, data, 0o644))
			refused(t, d, f, device.ErrMismatch, message)
		}
		check(t, os.Remove(path))
		refused(t, d, f, device.ErrMismatch, "no such file")
		check(t, d.Close())
		r.hasNone()
	})
}

// Xclbins of other makes and ages are loaded too, by XRT as by our reader.
func TestXclbinsOfAnyMake(t *testing.T) {
	for name, edit := range map[string]func(*xclbinSpec){
		"a kernel in programmable logic and an empty section": func(s *xclbinSpec) {
			logic := xclbintest.MLIRAIEKernel("vadd", 2)
			logic.Type = "pl"
			s.Kernels = append([]xclbintest.Kernel{logic}, s.Kernels...)
			s.Extra = []xclbintest.Section{{Kind: uint32(xclbin.Bitstream), Name: "empty"}}
		},
		"two kernels for the NPU": func(s *xclbinSpec) {
			other := xclbintest.MLIRAIEKernel("OTHER", 3)
			other.ID++
			s.Kernels = append([]xclbintest.Kernel{other}, s.Kernels...)
		},
		"connections twice and to memory that is not used": func(s *xclbinSpec) {
			s.Banks = append(s.Banks, xclbintest.Bank{Type: 2, Tag: "unused"})
			s.Kernels[0].Arguments[3].Banks = []int{0, 0}
			s.Kernels[0].Arguments[7].Banks = []int{2}
		},
		"mirror data": func(s *xclbinSpec) { s.Tail = []byte("XCLBIN_MIRROR_DATA_START{}\nXCLBIN_MIRROR_DATA_END") },
		"no groups":   func(s *xclbinSpec) { s.NoGroups = true },
		"another platform": func(s *xclbinSpec) {
			s.VBNV, s.InterfaceUUID = "amd_npu_1_0", [16]byte{15: 7}
			s.StartColumns, s.ColumnWidth = []uint16{0, 1, 2, 3}, 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, conditions{}, func(t *testing.T, r *rig) {
				f := newEdited(t, edits{xclbin: edit}, small)
				d := r.device(f)
				s := newSession(t, d, f, 0)
				s.mustRun()
				s.right(r)
				s.close()
				check(t, d.Close())
				r.hasNone()
			})
		})
	}
}
