package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"

	"npuw/artifact"
	"npuw/artifact/kernel"
)

// An artifact's key is a digest of everything that its bytes depend on, and of nothing else: whether to build is decided by it.
//
//	producer, version and revision -+
//	the plan: the index but for what is measured -+
//	what the recipe says, what the contracts say -+- key
//	the xclbins and instruction streams' bytes   -+
//	the parameters: names, axes, shapes, values  -+

// key works out what Artifact.Key must be.
func (a *Artifact) key(p Producer) Digest {
	h := sha256.New()
	say(h, "npuw artifact key 1", p.Name, p.Revision, p.ArtifactVersion, a.Family, a.Plan, a.Recipe.Name, a.Recipe.SHA256, a.Contracts, a.sourceDigest())
	for _, k := range a.Kernels {
		say(h, k.Contract, k.Xclbin.sum(), k.Instructions.sum())
	}
	return Digest(h.Sum(nil))
}

func (f *KernelFile) sum() Digest {
	if f == nil {
		return Digest{}
	}
	return f.SHA256
}

// sourceDigest works out what Artifact.Source must be; it is part of the key.
func (a *Artifact) sourceDigest() Digest {
	h := sha256.New()
	say(h, "npuw parameters 1", len(a.Parameters))
	for _, p := range a.Parameters {
		say(h, p.Name, p.Axes, p.Shape, p.Type, p.SHA256)
	}
	return Digest(h.Sum(nil))
}

// say hashes values so that different ones are different bytes: each as a quoted text, on a line.
func say(h hash.Hash, values ...any) {
	for _, v := range values {
		fmt.Fprintf(h, "%q\n", fmt.Sprint(v))
	}
}

// describe says of an artifact what its index tells: all but its path, size, digests and files.
func describe(x *artifact.Index, pageBytes uint64) (Artifact, error) {
	a := Artifact{Family: x.Model.Family, Recipe: Recipe{Name: x.Producer.Recipe}, Parameters: []Parameter{}, Kernels: []Kernel{}}
	list, err := json.Marshal(x.List(false))
	if err != nil {
		return a, err
	}
	a.Plan = sha256.Sum256(fmt.Appendf(list, "\n%d", pageBytes))
	for _, p := range x.Parameters {
		a.Parameters = append(a.Parameters, Parameter{Name: p.Name, Axes: p.Axes, Shape: append([]uint64{}, p.Shape...)})
	}
	for i := range x.Contracts {
		c := &x.Contracts[i]
		k := Kernel{Contract: c.Name, Operation: string(c.Operation), Kernel: c.Kernel, Bindings: []Binding{}}
		if c.Xclbin != kernel.None {
			k.Xclbin = &KernelFile{UUID: hex.EncodeToString(x.Xclbins[c.Xclbin].UUID[:])}
		}
		if c.Instructions != kernel.None {
			k.Instructions = &KernelFile{}
		}
		for _, b := range x.Bindings {
			if b.Contract == i {
				arg := &c.Arguments[b.Argument]
				k.Bindings = append(k.Bindings, Binding{x.Operands[b.Operand].Name, arg.Name, uint32(arg.Index)})
			}
		}
		a.Kernels = append(a.Kernels, k)
	}
	return a, nil
}

// tells reports whether a says of an artifact what its index tells: d is what describe gives.
func (a *Artifact) tells(d *Artifact) (bool, error) {
	bare := Artifact{Family: a.Family, Recipe: Recipe{Name: a.Recipe.Name}, Plan: a.Plan, Parameters: []Parameter{}, Kernels: []Kernel{}}
	for _, p := range a.Parameters {
		bare.Parameters = append(bare.Parameters, Parameter{Name: p.Name, Axes: p.Axes, Shape: p.Shape})
	}
	for _, k := range a.Kernels {
		if k.Xclbin != nil {
			k.Xclbin = &KernelFile{UUID: k.Xclbin.UUID}
		}
		if k.Instructions != nil {
			k.Instructions = &KernelFile{}
		}
		bare.Kernels = append(bare.Kernels, k)
	}
	got, err := json.Marshal(&bare)
	if err != nil {
		return false, err
	}
	want, err := json.Marshal(d)
	return bytes.Equal(got, want), err
}
