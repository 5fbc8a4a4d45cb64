package xrt

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"npuw/runtime/cpu"
	"npuw/runtime/device"
)

// session is a kernel of an artifact that is loaded on a device, with arguments for it.
type session struct {
	t       testing.TB
	fixture fixture
	number  int // of the contract
	device  device.Device
	model   *device.Model
	kernel  device.Kernel
	args    device.Arguments
}

// newSession loads a fixture and opens one of its contracts.
func newSession(t testing.TB, d device.Device, f fixture, contract int) *session {
	t.Helper()
	return sessionOf(t, d, f, load(t, d, f), contract)
}

// sessionOf opens a contract of a model that is loaded.
func sessionOf(t testing.TB, d device.Device, f fixture, m *device.Model, contract int) *session {
	t.Helper()
	return &session{t, f, contract, d, m, openKernel(t, d, m, contract), arguments(t, d, m, contract)}
}

func (s *session) run(ctx context.Context) error {
	_, err := s.kernel.Run(ctx, s.args)
	return err
}

// mustRun runs without a deadline.
func (s *session) mustRun() {
	s.t.Helper()
	check(s.t, s.run(context.Background()))
}

func (s *session) output() []byte { return output(s.t, s.args) }

// right fails the test if the output is not what the reference device gives, where the device computes.
func (s *session) right(r *rig) {
	s.t.Helper()
	if r.real && !bytes.Equal(s.output(), reference(s.t, s.fixture, s.number)) {
		s.t.Errorf("contract %d: other bits than on the reference device", s.number)
	}
}

// done closes kernel and activations.
func (s *session) done() {
	s.t.Helper()
	check(s.t, s.kernel.Close())
	closeActivations(s.t, s.kernel.Contract(), s.args)
}

// close closes all.
func (s *session) close() {
	s.t.Helper()
	s.done()
	check(s.t, s.model.Close())
}

// output reads what a run wrote back.
func output(t testing.TB, args device.Arguments) []byte {
	t.Helper()
	b := args["c"].Buffer
	check(t, b.FromDevice())
	host, err := b.Host()
	check(t, err)
	return slices.Clone(host)
}

// reference is what the reference device gives for a contract of a fixture.
func reference(t testing.TB, f fixture, contract int) []byte {
	t.Helper()
	d := cpu.New(cpu.Options{})
	s := newSession(t, d, f, contract)
	s.mustRun()
	got := s.output()
	s.close()
	check(t, d.Close())
	return got
}
