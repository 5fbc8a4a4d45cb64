//go:build unix && !nommap

package device_test

import (
	"testing"

	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// A file that is truncated under a loaded model makes runs fail, of either device of a composite; the program goes on.
func TestTruncatedUnderModel(t *testing.T) {
	t.Parallel()
	gemmDevice := func() device.Part { return device.Part{Device: cpu.New(cpu.Options{})} }
	for name, d := range map[string]device.Device{
		"cpu":               newCPU(t, cpu.Options{}),
		"shadow":            newCPU(t, cpu.Options{Shadow: true}),
		"of another device": closing(t, device.NewComposite(named("npu", only("NOTHING")), gemmDevice())),
	} {
		s := newSample(t, nil)
		m := must(device.Load(t.Context(), d, s.path, device.LoadOptions{}))
		k, args := bind(t, d, gemm("gemm"))
		weights, _, err := m.Operand("third")
		check(t, err)
		args["b"] = device.Value{Buffer: weights}
		must(k.Run(t.Context(), args))
		check(t, s.cut(t, pageBytes))
		_, err = k.Run(t.Context(), args)
		wants(t, name, err, device.ErrFault)
		check(t, m.Close())
		_, err = k.Run(t.Context(), args)
		wants(t, name, err, device.ErrClosed)
	}
}
