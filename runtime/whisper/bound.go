package whisper

import (
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/artifact/layout"
	"npuw/artifact/plane"
	"npuw/runtime/device"
)

// bound gives the contract of the index that one of the arguments' operands is bound to, for this operation in these sizes; nil
// when there is none.
func (b *builder) bound(stated *kernel.Contract, args []argument) *kernel.Contract {
	x := b.model.Index
	for _, a := range args {
		if a.operand == none {
			continue
		}
		for _, binding := range x.Bindings {
			c := &x.Contracts[binding.Contract]
			if binding.Operand == a.operand && c.Operation == stated.Operation && c.Arguments[binding.Argument].Name == a.Name &&
				sameSizes(c.Shape, stated.Shape) {
				return c
			}
		}
	}
	return nil
}

// sameSizes reports whether what is computed has the same sizes, as far as both name the axis.
func sameSizes(a, b []layout.Axis) bool {
	for _, x := range a {
		if slices.ContainsFunc(b, func(y layout.Axis) bool { return y.Name == x.Name && y.Extent != x.Extent }) {
			return false
		}
	}
	return true
}

// addBound adds a run of a kernel whose contract the index gives. Activations that it reads or writes otherwise than the encoder
// holds them go through a buffer of the contract's, by a SCALE of 1; an epilogue that it does not have is a run of its own.
func (b *builder) addBound(name string, c, stated *kernel.Contract, args []argument) error {
	fail := func(format string, values ...any) error {
		return fmt.Errorf("%s: contract %q %w", name, c.Name, fmt.Errorf(format, values...))
	}
	for _, a := range args {
		if c.Argument(a.Name) == nil {
			return fail("has no argument %q; bind a kernel that has one, or, for a bias, lay it under its weight", a.Name)
		}
	}
	for _, a := range c.Arguments {
		known := slices.ContainsFunc(args, func(g argument) bool { return g.Name == a.Name })
		if !known && a.Role != kernel.Instructions && a.Role != kernel.Constant {
			return fail("has an argument %q, for which the model has nothing", a.Name)
		}
	}
	unfused := c.Epilogue != stated.Epilogue
	if unfused && c.Epilogue != kernel.NoEpilogue {
		return fail("has the epilogue %s, where the model has none", c.Epilogue)
	}
	given := slices.Clone(args)
	output, last := args[len(args)-1], len(args)-1
	for i, a := range args[:last] {
		var err error
		if given[i], err = b.adapt(name, c.Argument(a.Name), a); err != nil {
			return fail("does not fit: %w", err)
		}
	}
	want := c.Argument(output.Name)
	direct := !unfused && alike(want, &output.Argument)
	if !direct {
		var err error
		if given[last], err = b.through(want, output); err != nil {
			return fail("does not fit: %w", err)
		}
	}
	k, err := b.open(c)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.append(name, k, given)
	switch {
	case direct:
		return nil
	case unfused:
		return b.move(name+".gelu", kernel.GELU, given[last], output)
	default:
		return b.move(name+".layout", kernel.Scale, given[last], output, scalar("scale", 1))
	}
}

// alike reports whether an argument lies just as another wants it.
func alike(want, a *kernel.Argument) bool {
	if want.Kind != a.Kind || a.Kind == kernel.ScalarArgument {
		return want.Kind == a.Kind
	}
	w, s := want.Storage(), a.Storage()
	planes := want.Encoding == plane.Plain && a.Encoding == plane.Plain || w.Equal(&s)
	return planes && want.Format == a.Format && want.Layout.Equal(a.Layout) && want.MemoryGroup == a.MemoryGroup
}

// binds reports whether the index binds an operand to argument want, one of its contracts'. artifact.Open has checked that it fits.
func (b *builder) binds(operand int, want *kernel.Argument) bool {
	x := b.model.Index
	return slices.ContainsFunc(x.Bindings, func(binding artifact.Binding) bool {
		return binding.Operand == operand && &x.Contracts[binding.Contract].Arguments[binding.Argument] == want
	})
}

// adapt gives an input as a contract wants it.
func (b *builder) adapt(name string, want *kernel.Argument, a argument) (argument, error) {
	switch {
	case b.binds(a.operand, want):
		return argument{Argument: *want, value: a.value, operand: a.operand}, nil
	case alike(want, &a.Argument):
		return a, nil
	case a.Role != kernel.Activation || want.Kind != kernel.BufferArgument:
		return a, want.Fits(a.Storage(), a.MemoryGroup)
	}
	to, err := b.through(want, a)
	if err != nil {
		return a, err
	}
	return to, b.move(name+"."+a.Name+".layout", kernel.Scale, a, to, scalar("scale", 1))
}

// through gives a buffer as a contract wants it for a, which has two axes.
func (b *builder) through(want *kernel.Argument, a argument) (argument, error) {
	if !slices.EqualFunc(want.Layout.Axes, a.Layout.Axes, func(x, y layout.Axis) bool { return x.Name == y.Name && x.Extent == y.Extent }) {
		return a, fmt.Errorf("argument %q has shape %s; %s was expected", want.Name, want.Layout.Shape(), a.Layout.Shape())
	}
	key := fmt.Sprintf("bound %+v %d", want.Storage(), want.MemoryGroup)
	t, ok := b.tensors[key]
	if !ok {
		var err error
		if t.buffer, err = b.allocate(want.Bytes, want.MemoryGroup); err != nil {
			return a, err
		}
		b.tensors[key] = t
	}
	return argument{Argument: *want, value: device.Value{Buffer: t.buffer}, operand: none}, nil
}
