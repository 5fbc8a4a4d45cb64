package whisper

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// stateEps is the epsilon of every LayerNorm of Whisper, 1e-5 in float32, as graphs have it: a state dict does not say.
const stateEps = float64(float32(1e-5))

// publishedHeads are the numbers of heads of the Whispers that are published, by d_model: tiny, base, small, medium, large.
var publishedHeads = map[uint64]uint64{384: 6, 512: 8, 768: 12, 1024: 16, 1280: 20}

// state is a state dict while it is being recognised.
type state struct {
	c      *source.Catalogue
	byName map[string]*source.Tensor // canonical name to tensor
	others map[string]string         // canonical name to the type of a tensor without floats
	notes  []string                  // on both halves

	config     config // says nothing if there is none
	configPath string
}

// half is an encoder or decoder.
type half struct {
	sizes
	parameters []model.Parameter
	notes      []string
	guessed    bool // the heads
}

// FromState gives the models of a state dict: a file that holds tensors by name, and no graph. Names are those of Hugging Face or of
// OpenAI, weights are as PyTorch has them (linear [N,K]). An encoder and a decoder are a model each, and both together one of
// FamilyWhole, in that order. The number of heads, which tensors do not tell, comes from config.json in the model's folder or
// from the sizes that the catalogue states, else it is that of the published model of the same d_model, or not known; all other sizes
// that they give must agree with the tensors. The error wraps
// source.ErrNotRecognised if the names are not Whisper's, and is another one if a parameter is missing, left over, given twice or of
// the wrong shape. No weight is read but what is compared: a projection to logits that is stored apart with the
// embedding, and biases of keys with 0.
func FromState(c *source.Catalogue) ([]*model.Model, error) {
	s := &state{c: c, configPath: configBeside(c.Path)}
	if err := s.name(); err != nil {
		return nil, err
	}
	hasEncoder := s.has(prefix+"conv1.", prefix+"conv2.", prefix+"layers.0.self_attn.")
	hasDecoder := s.has(decoderPrefix+"embed_tokens.", decoderPrefix+"layers.0.self_attn.", decoderPrefix+"layers.0.encoder_attn.")
	if hasDecoder && !hasEncoder && s.has(prefix) {
		hasDecoder = false // the decoder of another encoder, as BART has it
	}
	if !hasEncoder && !hasDecoder {
		return nil, &source.Error{
			File: c.Path, Offset: -1, Next: "`npuw sources` lists what the file holds", Err: source.ErrNotRecognised,
			Problem: "no Whisper: its tensors are called neither as Hugging Face's nor as OpenAI's",
		}
	}
	config, err := readConfig(s.configPath)
	if err != nil {
		return nil, err
	}
	if config != nil {
		s.config = *config
	}
	var encoder, decoder *half
	if hasEncoder {
		if encoder, err = s.encoder(); err != nil {
			return nil, err
		}
	}
	if hasDecoder {
		if decoder, err = s.decoder(); err != nil {
			return nil, err
		}
	}
	if encoder != nil && decoder != nil && encoder.dModel != decoder.dModel {
		return nil, &source.Error{
			File: c.Path, Offset: -1, Err: source.ErrMismatch, Next: "save the model again",
			Problem: fmt.Sprintf("d_model is %d in the encoder, %d in the decoder", encoder.dModel, decoder.dModel),
		}
	}
	if err := s.leftOver(encoder, decoder); err != nil {
		return nil, err
	}
	return s.models(encoder, decoder), nil
}

// name fills byName.
func (s *state) name() error {
	s.byName, s.others = make(map[string]*source.Tensor, len(s.c.Tensors)), map[string]string{}
	bare := bareSide(s.c)
	zeroBiases := 0
	for i := range s.c.Tensors {
		t := &s.c.Tensors[i]
		name := stateName(t.Name, bare)
		if strings.HasSuffix(name, "_attn.k_proj.bias") {
			zero, err := isZero(s.c, t)
			if err != nil {
				return err
			}
			if zero {
				zeroBiases++
				continue
			}
		}
		if other := s.byName[name]; other != nil {
			return s.fail(t.Name, source.ErrParameters, fmt.Sprintf("is parameter %.200q, and so is %.200q", name, other.Name), "a Whisper has each parameter once: save it again")
		}
		s.byName[name] = t
	}
	for name, format := range s.c.Others {
		s.others[stateName(name, bare)] = format
	}
	if zeroBiases > 0 {
		s.notes = append(s.notes, noteZeroBiases(zeroBiases))
	}
	return nil
}

// has reports whether there are names that begin with each of some prefixes.
func (s *state) has(prefixes ...string) bool {
	found := make([]bool, len(prefixes))
	look := func(name string) {
		for i, p := range prefixes {
			found[i] = found[i] || strings.HasPrefix(name, p)
		}
	}
	for name := range s.byName {
		look(name)
	}
	for name := range s.others {
		look(name)
	}
	return !slices.Contains(found, false)
}

func (s *state) encoder() (*half, error) {
	h := &half{sizes: sizes{layers: countLayers(prefix, s.byName)}}
	err := s.measure(encoderMeasured(&h.sizes))
	if err == nil {
		err = s.readHeads(h, "encoder", s.config.ofEncoder(&h.sizes), statedOfEncoder(s.c, &h.sizes))
	}
	if err == nil {
		h.parameters, err = s.parameters(encoderSpecs(h.sizes))
	}
	return h, err
}

func (s *state) decoder() (*half, error) {
	h := &half{sizes: sizes{layers: countLayers(decoderPrefix, s.byName)}}
	err := s.measure(decoderMeasured(&h.sizes))
	if err == nil {
		err = s.readHeads(h, "decoder", s.config.ofDecoder(&h.sizes), statedOfDecoder(s.c, &h.sizes))
	}
	if err == nil {
		h.parameters, err = s.parameters(decoderSpecs(h.sizes))
	}
	if err == nil {
		err = s.addLogits(h)
	}
	return h, err
}

// addLogits adds the projection to logits to a decoder's parameters, unless it is the embedding of tokens.
func (s *state) addLogits(h *half) error {
	if s.byName[projOut] == nil && s.others[projOut] == "" {
		return nil
	}
	list, err := s.parameters([]spec{{projOut, "NK", []uint64{h.vocab, h.dModel}}})
	if err != nil {
		return err
	}
	embedding := s.byName[decoderPrefix+"embed_tokens.weight"]
	same, err := equal(s.c, s.byName[projOut], embedding)
	switch {
	case err != nil:
		return err
	case !same:
		h.parameters = append(h.parameters, list...)
	default:
		h.notes = append(h.notes, noteLogits(sameBytes(s.byName[projOut], embedding)))
	}
	return nil
}

func (s *state) measure(list []measured) error {
	for _, m := range list {
		t := s.byName[m.name]
		if t == nil {
			return s.missing(m.name)
		}
		if len(t.Shape) != m.rank {
			return s.fail(t.Name, source.ErrParameters, fmt.Sprintf("shape %v, expected %d axes", t.Shape, m.rank), "save the model again")
		}
		if *m.size = t.Shape[m.axis]; *m.size == 0 {
			return s.fail(t.Name, source.ErrParameters, fmt.Sprintf("shape %v holds nothing", t.Shape), "save the model again")
		}
	}
	return nil
}

// readHeads finds the number of heads of h, the half called side, and compares all sizes with what is said of them.
func (s *state) readHeads(h *half, side string, config, stated []statement) error {
	for _, x := range slices.Concat(stated, config) {
		if x.size != &h.heads || x.says == nil {
			continue
		}
		if *x.says < 1 || h.dModel%uint64(*x.says) != 0 {
			return &source.Error{
				File: s.c.Path, Offset: -1, Thing: x.field, Err: source.ErrMismatch, Next: "put the config.json of this very model beside it",
				Problem: fmt.Sprintf("%d heads are said to share d_model %d; a divisor of it was expected", *x.says, h.dModel),
			}
		}
		if h.heads == 0 {
			h.heads = uint64(*x.says)
		}
	}
	if h.heads == 0 {
		h.guessed = true
		if h.heads = publishedHeads[h.dModel]; h.heads > 0 {
			h.notes = append(h.notes, fmt.Sprintf("the %s has %d heads if it is as the published Whisper of d_model %d: no config.json is there to tell", side, h.heads, h.dModel))
		} else {
			h.notes = append(h.notes, fmt.Sprintf("nothing tells the number of heads of the %s, so what is made of it does not either, and cannot be run: put the model's config.json beside it", side))
		}
	}
	if err := agree(config, s.configPath, s.c.Path, "put the config.json of this very model beside it, or remove it"); err != nil {
		return err
	}
	return agree(stated, s.c.Path, s.c.Path, "the file contradicts itself: save the model again")
}

// parameters gives the parameters of some specs, each checked.
func (s *state) parameters(specs []spec) ([]model.Parameter, error) {
	list := make([]model.Parameter, 0, len(specs))
	for _, x := range specs {
		t := s.byName[x.name]
		if t == nil {
			return nil, s.missing(x.name)
		}
		if !slices.Equal(t.Shape, x.shape) {
			return nil, s.fail(t.Name, source.ErrParameters, fmt.Sprintf("shape %v, expected %v with axes %s", t.Shape, x.shape, x.axes),
				"its sizes contradict those of the other parameters: save the model again")
		}
		perm := make([]int, len(x.axes))
		for i := range perm {
			perm[i] = i
		}
		list = append(list, model.Parameter{
			Name: x.name, Axes: x.axes, Shape: x.shape, Tensor: *t, Perm: perm, Ways: []model.Way{model.ByState}, Origin: t.Name,
		})
	}
	return list, nil
}

// leftOver fails if a tensor is none of the parameters.
func (s *state) leftOver(halves ...*half) error {
	used := map[string]bool{projOut: false}
	for _, h := range halves {
		if h == nil {
			continue
		}
		used[projOut] = used[projOut] || h.vocab > 0 // as a parameter, or as a copy of one
		for i := range h.parameters {
			used[h.parameters[i].Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		if !used[name] {
			t := s.byName[name]
			return s.fail(t.Name, source.ErrParameters, fmt.Sprintf("of shape %v, is no parameter of a Whisper of these sizes", t.Shape), "save the model without it")
		}
	}
	return nil
}

// models puts halves together; one of the two may be nil.
func (s *state) models(encoder, decoder *half) []*model.Model {
	var list []*model.Model
	add := func(family string, attributes []model.Attribute, halves ...*half) {
		m := &model.Model{Family: family, Attributes: attributes, Notes: slices.Clone(s.notes)}
		for _, h := range halves {
			m.Parameters = append(m.Parameters, h.parameters...)
			m.Notes = append(m.Notes, h.notes...)
			m.Guessed = m.Guessed || h.guessed
		}
		list = append(list, m)
	}
	if encoder != nil {
		add(Family, encoderAttributes(encoder.sizes, stateEps), encoder)
	}
	if decoder != nil {
		add(FamilyDecoder, decoderAttributes(decoder.sizes, stateEps), decoder)
	}
	if encoder != nil && decoder != nil {
		add(FamilyWhole, wholeAttributes(list[0].Attributes, list[1].Attributes), encoder, decoder)
	}
	return list
}

// fail gives an error about the tensor called name.
func (s *state) fail(name string, sentinel error, problem, next string) error {
	return &source.Error{File: s.c.Path, Offset: -1, Thing: fmt.Sprintf("tensor %.200q", name), Problem: problem, Next: next, Err: sentinel}
}

func (s *state) missing(name string) error {
	if format := s.others[name]; format != "" {
		return &source.Error{
			File: s.c.Path, Offset: -1, Thing: fmt.Sprintf("%.200q", name), Err: source.ErrUnsupported,
			Problem: fmt.Sprintf("its type is %.50s, which is not read", format), Next: "give the model with float weights",
		}
	}
	return &source.Error{
		File: s.c.Path, Offset: -1, Thing: fmt.Sprintf("%.200q", name), Problem: "missing: no tensor is called so", Next: "save the whole model again",
		Err: source.ErrParameters,
	}
}
