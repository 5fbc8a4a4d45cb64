package whisper

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"npuw/artifact"
	"npuw/artifact/element"
	"npuw/runtime/cpu"
	"npuw/runtime/device"
	"npuw/schema/pyreader"
)

// refuse checks that New fails with a message, naming the file, and leaves nothing open.
func refuse(t *testing.T, name, path, message string) {
	t.Helper()
	d := newCPU(t, cpu.Options{})
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := New(t.Context(), d, m, Options{})
	if err == nil {
		e.Close()
		t.Errorf("%s: no error, want %q", name, message)
	} else if !strings.Contains(err.Error(), message) || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("%s: error %v, want the path and %q", name, err, message)
	}
}

func TestRefusesModels(t *testing.T) {
	t.Parallel()
	n := newNetwork(evenSizes, 13)
	set := func(name string, value int64) func(*artifact.Index) {
		return func(x *artifact.Index) {
			i := slices.IndexFunc(x.Model.Attributes, func(a artifact.Attribute) bool { return a.Name == name })
			x.Model.Attributes[i].Integer = value
		}
	}
	for _, c := range []struct {
		name, message string
		edit          func(*artifact.Index)
	}{
		{"family", `family "whisper-decoder"; an encoder was expected: "whisper-encoder", or "whisper", which has its decoder too`, func(x *artifact.Index) { x.Model.Family = "whisper-decoder" }},
		{"no attributes", `no attribute "layers"`, func(x *artifact.Index) { x.Model.Attributes = nil }},
		{"no eps", `no attribute "eps"`, func(x *artifact.Index) { x.Model.Attributes = x.Model.Attributes[:6] }},
		{"eps", `attribute "eps" is 0`, func(x *artifact.Index) { x.Model.Attributes[6].Real = 0 }},
		{"eps is no number", `attribute "eps" is NaN`, func(x *artifact.Index) { x.Model.Attributes[6].Real = math.NaN() }},
		{"kind", `attribute "layers" is of kind 2`, func(x *artifact.Index) { x.Model.Attributes[0].Kind = artifact.Text }},
		{"no layers", `attribute "layers" is 0`, set("layers", 0)},
		{"less than no mels", `attribute "mels" is -1`, set("mels", -1)},
		{"many positions", `attribute "positions" is 9223372036854775807`, set("positions", math.MaxInt64)},
		{"many heads in all", "at most 65536 heads in all", func(x *artifact.Index) { set("layers", 1024)(x); set("d_model", 1024)(x); set("heads", 1024)(x) }},
		{"heads", "d_model 32 is no multiple of heads 3", set("heads", 3)},
		{"more layers", `parameter "encoder.layers.2.self_attn_layer_norm.weight": not found`, set("layers", 3)},
		{"other sizes", `parameter "encoder.conv1.weight" has axes NCX and shape [32 8 3]; NCX and [32 9 3] were expected`, set("mels", 9)},
		{"other axes", `parameter "encoder.conv1.bias" has axes K and shape [32]; N and [32]`, func(x *artifact.Index) { x.Parameters[1].Axes = "K" }},
	} {
		refuse(t, c.name, packNetwork(t, n, plain(n, element.F32), c.edit), c.message)
	}
}

func TestRefusesPlaces(t *testing.T) {
	t.Parallel()
	n := newNetwork(evenSizes, 14)
	d := n.DModel
	all := plain(n, element.F32)
	const fc1, fc2 = "encoder.layers.0.fc1", "encoder.layers.0.fc2"
	with := func(ending string, edit func(*operand)) []operand { return change(all, ending, edit) }
	for _, c := range []struct {
		name, message string
		list          []operand
	}{
		{
			"scaled weight", `parameter "encoder.layers.0.fc1.weight" in operand "encoder.layers.0.fc1.weight": scaled by 2; 1 was expected`,
			with("0.fc1.weight", func(o *operand) { o.places = []placing{{fc1 + ".weight", 2, []uint64{0, 0}, []int{1, 0}, nil}} }),
		},
		{
			"scaled v", `parameter "encoder.layers.0.self_attn.v_proj.weight" in operand "qv": scaled by 2; 1 was expected`,
			fold(n, all, "qv", true, []float64{1, 2}, "encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.v_proj"),
		},
		{
			"bias scaled apart", `parameter "encoder.layers.0.self_attn.q_proj.bias" in operand "encoder.layers.0.self_attn.q_proj.bias": scaled by 1; 0.5 was expected`,
			with("0.self_attn.q_proj.weight", func(o *operand) { o.places[0].scale = 0.5 }),
		},
		{
			"bias scaled under its weight", `parameter "encoder.layers.0.fc1.bias" in operand "encoder.layers.0.fc1.weight": it begins at [32 0], scaled by 2; a row under its weight, scaled by 1, was expected`,
			change(without(all, "0.fc1.bias"), "0.fc1.weight", func(o *operand) {
				o.axes[0].Extent++
				o.places = append(o.places, placing{fc1 + ".bias", 2, []uint64{d, 0}, []int{1}, nil})
			}),
		},
		{
			"scaled positions", `parameter "encoder.embed_positions.weight" in operand "encoder.embed_positions.weight": scaled by 3; 1 was expected`,
			with("positions.weight", func(o *operand) { o.places[0].scale = 3 }),
		},
		{
			"scaled convolution", `parameter "encoder.conv2.weight" in operand "encoder.conv2.weight": scaled by 3; 1 was expected`,
			with("conv2.weight", func(o *operand) { o.places[0].scale = 3 }),
		},
		{
			"weight from row 1", `parameter "encoder.layers.0.fc1.weight" in operand "encoder.layers.0.fc1.weight": it has shape K=33→64 N=48→64 and the parameter begins at [1 0]`,
			with("0.fc1.weight", func(o *operand) {
				o.axes[0].Extent++
				o.places[0].to = []uint64{1, 0}
				o.fills = []artifact.Fill{{Begin: []uint64{0, 0}, Size: []uint64{1, n.FFN}}}
			}),
		},
		{
			"filled with ones", `operand "encoder.layers.0.fc1.weight", which holds ["encoder.layers.0.fc1.weight" "encoder.layers.0.fc1.bias"]: filled with 1`,
			with("0.fc1.weight", func(o *operand) {
				o.axes[0].Extent++
				o.fills = []artifact.Fill{{Begin: []uint64{d, 0}, Size: []uint64{1, n.FFN}, Value: 1}}
			}),
		},
		{
			"beside another", `parameter "encoder.layers.0.fc2.bias" in operand "encoder.layers.0.fc2.weight": it lies there beside ["encoder.layers.0.fc2.weight" "encoder.layers.0.fc2.bias"]`,
			with("0.fc2.weight", func(o *operand) {
				o.axes[0].Extent += 2
				for row := range uint64(2) {
					o.places = append(o.places, placing{fc2 + ".bias", 1, []uint64{n.FFN + row, 0}, []int{1}, nil})
				}
			}),
		},
		{
			"more columns", `parameter "encoder.layers.0.fc1.weight" in operand "encoder.layers.0.fc1.weight": it has 49 columns`,
			with("0.fc1.weight", func(o *operand) {
				o.axes[1].Extent++
				o.fills = []artifact.Fill{{Begin: []uint64{0, n.FFN}, Size: []uint64{d, 1}}}
			}),
		},
		{
			"within a head", `parameter "encoder.layers.0.self_attn.k_proj.weight" in operand "encoder.layers.0.self_attn.k_proj.weight": it begins at column 8 of 40; a multiple of the head size 16`,
			with("0.self_attn.k_proj.weight", func(o *operand) {
				o.axes[1].Extent += 8
				o.places[0].to = []uint64{0, 8}
				o.fills = []artifact.Fill{{Begin: []uint64{0, 0}, Size: []uint64{d, 8}}}
			}),
		},
		{
			"bias under another column", `parameter "encoder.layers.0.fc1.bias" in operand "encoder.layers.0.fc1.weight": it begins at [32 1]`,
			change(without(all, "0.fc1.bias"), "0.fc1.weight", func(o *operand) {
				o.axes[0].Extent, o.axes[1].Extent = d+1, n.FFN+1
				o.places = append(o.places, placing{fc1 + ".bias", 1, []uint64{d, 1}, []int{1}, nil})
				o.fills = []artifact.Fill{{Begin: []uint64{0, n.FFN}, Size: []uint64{d, 1}}, {Begin: []uint64{d, 0}, Size: []uint64{1, 1}}}
			}),
		},
	} {
		refuse(t, c.name, packNetwork(t, n, c.list, nil), c.message)
	}
}

func TestRefusesParametersInPieces(t *testing.T) {
	t.Parallel()
	n := newNetwork(evenSizes, 15)
	path := packNetwork(t, n, plain(n, element.F32), func(x *artifact.Index) {
		// The first operand's placement as two: the halves of its axis 0.
		p := x.Operands[0].Placements[0]
		p.From, p.To = slices.Clone(p.From), slices.Clone(p.To)
		half := p.From[0].Size / 2
		x.Operands[0].Placements[0].From[0].Size = half
		p.From[0].Begin, p.From[0].Size = half, half
		p.To[p.From[0].Axis] = half
		x.Operands[0].Placements = append(x.Operands[0].Placements, p)
	})
	refuse(t, "in pieces", path, `parameter "encoder.conv1.weight" in operand "encoder.conv1.weight": only 0 to 16 of its axis 0 lie there`)
}

func TestRefusesInputs(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 16)
	e := open(t, newCPU(t, cpu.Options{}), packNetwork(t, n, plain(n, element.F32), nil), Options{})
	for _, c := range []struct {
		name, message string
		edit          func([]float32) []float32
	}{
		{"none", "the input has 0 values; [7, 26] (mels, 2 x positions), 182, were expected", func([]float32) []float32 { return nil }},
		{"one more", "the input has 183 values", func(mel []float32) []float32 { return append(mel, 0) }},
		{"not a number", "the input's value 30 (mel 1, frame 4) is NaN", func(mel []float32) []float32 { mel[30] = float32(math.NaN()); return mel }},
		{"infinite", "the input's value 181 (mel 6, frame 25) is -Inf", func(mel []float32) []float32 { mel[181] = float32(math.Inf(-1)); return mel }},
	} {
		if _, err := e.Run(t.Context(), c.edit(n.input(16))); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.message)
		}
	}
	if _, err := e.Run(t.Context(), n.input(16)); err != nil {
		t.Errorf("a good input after bad ones: %v", err)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 17)
	d := newCPU(t, cpu.Options{})
	m, err := device.Load(t.Context(), d, packNetwork(t, n, plain(n, element.F32), nil), device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	closed, err := New(t.Context(), d, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(closed.Close(), closed.Close()); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if _, err := closed.Run(t.Context(), n.input(17)); !errors.Is(err, device.ErrClosed) {
		t.Errorf("Run of a closed encoder: %v, want %v", err, device.ErrClosed)
	}
	e, err := New(t.Context(), d, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), n.input(17)); !errors.Is(err, device.ErrClosed) {
		t.Errorf("Run after the model was closed: %v, want %v", err, device.ErrClosed)
	}
	if _, err := New(t.Context(), d, m, Options{}); !errors.Is(err, device.ErrClosed) {
		t.Errorf("New of a closed model: %v, want %v", err, device.ErrClosed)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 18)
	d := newCPU(t, cpu.Options{})
	path := packNetwork(t, n, plain(n, element.F32), nil)
	ctx, cancel := context.WithCancel(t.Context())
	e := open(t, d, path, Options{Trace: func(Step) error { cancel(); return nil }})
	if _, err := e.Run(ctx, n.input(18)); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want %v", err, context.Canceled)
	}
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := New(ctx, d, m, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("New: %v, want %v", err, context.Canceled)
	}
	if _, err := New(t.Context(), d, m, Options{Activations: element.F16}); err == nil || !strings.Contains(err.Error(), "activations in f16") {
		t.Errorf("f16 activations: %v", err)
	}
}

// Where New reads the mapped file itself, a file that was cut under its mapping is an error.
func TestTruncatedFile(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 22)
	d := newCPU(t, cpu.Options{})
	path := packNetwork(t, n, stack(n, plain(n, element.F32)), nil)
	m, err := device.Load(t.Context(), d, path, device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !m.Report.Segments[0].Mapped {
		t.Skip("this machine does not map files: " + m.Report.Segments[0].Why)
	}
	pyreader.Damage(t, path)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), d, m, Options{}); !errors.Is(err, device.ErrFault) {
		t.Errorf("New: %v, want %v", err, device.ErrFault)
	}
}

// small is a device whose memory ends after some allocations.
type small struct {
	device.Device
	left int
}

var errFull = errors.New("full")

func (s *small) Allocate(bytes int64, group int32) (device.Buffer, error) {
	if s.left--; s.left < 0 {
		return nil, errFull
	}
	return s.Device.Allocate(bytes, group)
}

// Whatever allocation fails, New closes the others: newCPU fails the test if any is left.
func TestAllocationsThatFail(t *testing.T) {
	t.Parallel()
	n := newNetwork(oddSizes, 19)
	d := newCPU(t, cpu.Options{})
	m, err := device.Load(t.Context(), d, packNetwork(t, n, stack(n, joinQKV(n, plain(n, element.F32), false, "qkv", 1, 1)), nil), device.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for left := 0; ; left++ {
		e, err := New(t.Context(), &small{d, left}, m, Options{})
		if err == nil {
			e.Close()
			if left < 10 {
				t.Errorf("only %d allocations", left)
			}
			return
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("after %d allocations: %v", left, err)
		}
	}
}
