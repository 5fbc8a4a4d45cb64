package device

import "npuw/artifact"

// Binder is a Device of compiled kernels: before it opens a contract, it must know the artifact that the contract is part of, which
// says which xclbin and which instructions belong to it.
type Binder interface {
	Device
	// Bind makes the contracts of an index known, which Open then takes by their addresses: &index.Contracts[i]. segment gives the
	// buffer of segment i, and is called until release, which ends the binding; kernels that are open by then stay so.
	Bind(index *artifact.Index, segment func(i int) (Buffer, error)) (release func(), err error)
}

// Bind binds the index on those parts that are a Binder.
func (c *Composite) Bind(index *artifact.Index, segment func(i int) (Buffer, error)) (release func(), err error) {
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	for _, p := range c.parts {
		b, ok := p.Device.(Binder)
		if !ok {
			continue
		}
		r, err := b.Bind(index, segment)
		if err != nil {
			release()
			return nil, err
		}
		releases = append(releases, r)
	}
	return release, nil
}
