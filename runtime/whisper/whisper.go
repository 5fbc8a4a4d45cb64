// Package whisper is the encoder of Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision") as
// a sequence of kernel runs on any device, with its weights where the index of an artifact says they are.
//
//	index -- placements --> operands --> steps: a kernel and its arguments each -- Run --> activations
//
// Any recipe will do: q, k and v side by side in one operand or apart, a bias in a vector or as one more row of K under its weight,
// q scaled beforehand or not, a LayerNorm folded into what reads it or not, either order of axes, any layout, padding and encoding.
// What the index places in a way that the encoder does not know is an error of New that names parameter and operand.
package whisper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"npuw/artifact/element"
	"npuw/artifact/kernel"
	"npuw/runtime/device"
)

// Options say how an encoder computes.
type Options struct {
	// Activations is the element format of what GEMMs and convolutions read: F32, which 0 stands for, or BF16. The residual stream, the
	// scores before the softmax and the output are F32 either way.
	Activations element.Format
	// Trace, if there is one, is called after each run, in order. An error ends Run.
	Trace func(Step) error
}

// Step is one kernel run, for Options.Trace.
type Step struct {
	// Name says of what: "encoder.layers.0.fc1". It stands once in the encoder.
	Name       string
	Kernel     *kernel.Contract
	Elapsed    time.Duration // with the calls around it
	Bytes      uint64        // of all buffers that it reads and writes
	Flops      uint64        // multiplications and additions of a GEMM or CONV, 0 for others
	Rows, Cols uint64        // of the result

	output argument
}

// Output reads the result back, row-major. It can be called during Trace only: later runs use its buffer for others.
func (s *Step) Output() ([]float32, error) { return s.output.values() }

// Encoder is an encoder on a device, ready to run. Its methods may be called from several goroutines; runs take turns.
type Encoder struct {
	Sizes Sizes

	mu          sync.Mutex
	closed      bool
	trace       func(Step) error
	builder     *builder
	mel, output tensor
}

// New finds every parameter of the encoder in m, opens all kernels on d and allocates all buffers. The encoder must be closed
// before m is.
func New(ctx context.Context, d device.Device, m *device.Model, opts Options) (*Encoder, error) {
	e, err := newEncoder(ctx, d, m, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Report.Path, err)
	}
	return e, nil
}

func newEncoder(ctx context.Context, d device.Device, m *device.Model, opts Options) (*Encoder, error) {
	if opts.Activations == 0 {
		opts.Activations = element.F32
	}
	if opts.Activations != element.F32 && opts.Activations != element.BF16 {
		return nil, fmt.Errorf("activations in %v; f32 or bf16 was expected", opts.Activations)
	}
	sizes, err := readSizes(m.Index)
	if err != nil {
		return nil, err
	}
	b := &builder{
		locator: newLocator(m), device: d, sizes: sizes, format: opts.Activations,
		kernels: map[string]device.Kernel{}, tensors: map[string]tensor{},
	}
	if err := b.checkParameters(&sizes); err != nil {
		return nil, err
	}
	e := &Encoder{Sizes: sizes, trace: opts.Trace, builder: b}
	if e.mel, e.output, err = b.build(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return e, nil
}

// Run encodes mel, row-major [Mels, 2*Positions], into [Positions, DModel], row-major.
func (e *Encoder) Run(ctx context.Context, mel []float32) ([]float32, error) {
	if err := e.checkInput(mel); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("encoder: %w", device.ErrClosed)
	}
	host, err := e.mel.buffer.Host()
	if err != nil {
		return nil, err
	}
	if err := element.Encode(host[:len(mel)*e.mel.format.Size()], mel, e.mel.format); err != nil {
		return nil, err
	}
	if err := e.mel.buffer.ToDevice(); err != nil {
		return nil, err
	}
	for i := range e.builder.steps {
		if err := e.step(ctx, &e.builder.steps[i]); err != nil {
			return nil, err
		}
	}
	output := e.output.argument("y", kernel.Output, 'M', 'N')
	return output.values()
}

func (e *Encoder) step(ctx context.Context, s *step) error {
	start := time.Now()
	if _, err := s.kernel.Run(ctx, s.args); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if e.trace == nil {
		return nil
	}
	c := s.kernel.Contract()
	t := Step{Name: s.name, Kernel: c, Elapsed: time.Since(start), Flops: flops(c), output: s.output}
	t.Rows, t.Cols = s.output.Layout.Axes[0].Extent, s.output.Layout.Axes[1].Extent
	for _, a := range c.Arguments {
		t.Bytes += a.Bytes
	}
	return e.trace(t)
}

// flops counts the multiplications and additions of a contract.
func flops(c *kernel.Contract) uint64 {
	switch c.Operation {
	case kernel.GEMM:
		return 2 * c.Size('M') * c.Size('K') * c.Size('N')
	case kernel.Conv:
		return 2 * c.Size('Q') * c.Size('C') * c.Size('X') * c.Size('N')
	}
	return 0
}

func (e *Encoder) checkInput(mel []float32) error {
	frames := 2 * e.Sizes.Positions
	if uint64(len(mel)) != e.Sizes.Mels*frames {
		return fmt.Errorf("the input has %d values; [%d, %d] (mels, 2 x positions), %d, were expected", len(mel), e.Sizes.Mels, frames, e.Sizes.Mels*frames)
	}
	for i, x := range mel {
		if v := float64(x); math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("the input's value %d (mel %d, frame %d) is %v", i, uint64(i)/frames, uint64(i)%frames, v)
		}
	}
	return nil
}

// Close waits for a run to end, then closes kernels and buffers. Closing twice does nothing.
func (e *Encoder) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	return e.builder.close()
}
