package report

import (
	"math"
	"strconv"

	"npuw/artifact"
)

// formats is what each element format takes, and what it costs. Errors are drawn on axes of whole decades.
type formats struct {
	Rows          []formatRow
	ErrorAxis     []tick // of the relative L2 error
	CosineAxis    []tick // of 1 - cosine
	More          string
	Bytes, Values string // of all
}

// tick is a mark on an axis.
type tick struct{ Left, Text string }

type formatRow struct {
	Name, Operands, Values, Bytes, Share, Width string
	Bits                                        string // of a value, with padding
	L2, Cosine                                  errorBars
}

// errorBars are the mean and the worst of an error over operands.
type errorBars struct {
	Mean, Worst, MeanWidth, WorstWidth string
	WorstOf                            string // an operand
}

// Axes of errors go from 10^lowest to 1.
const (
	lowestError  = -8
	lowestCosine = -16
)

// formatSum adds up the operands of a format.
type formatSum struct {
	name                    string
	operands                int
	values, bytes           uint64
	l2, cosine              float64 // sums; of 1 - cosine
	worstL2, worstCosine    float64
	worstL2At, worstCosinAt int
}

func newFormats(x *artifact.Index) formats {
	var f formats
	var list []*formatSum
	at := map[string]*formatSum{}
	all, missing := &formatSum{}, 0
	for i := range x.Operands {
		o := &x.Operands[i]
		all.add(o, i)
		name := o.FormatText()
		s := at[name]
		if s == nil {
			if len(list) == maxFormats {
				missing++
				continue
			}
			s = &formatSum{name: name}
			at[name], list = s, append(list, s)
		}
		s.add(o, i)
	}
	for _, s := range list {
		f.Rows = append(f.Rows, s.row(x, all.bytes))
	}
	f.Bytes, f.Values = size(all.bytes), about(all.values)
	f.ErrorAxis, f.CosineAxis = axis(lowestError, 2), axis(lowestCosine, 4)
	f.More = leftOut(missing, "operand")
	return f
}

func (s *formatSum) add(o *artifact.Operand, i int) {
	e, c := o.Statistics.RelativeL2(), max(1-o.Statistics.Cosine(), 0)
	if s.operands == 0 || e > s.worstL2 {
		s.worstL2, s.worstL2At = e, i
	}
	if s.operands == 0 || c > s.worstCosine {
		s.worstCosine, s.worstCosinAt = c, i
	}
	s.operands++
	s.values, s.bytes = add(s.values, o.Elements()), add(s.bytes, o.Bytes)
	s.l2, s.cosine = s.l2+e, s.cosine+c
}

func (s *formatSum) row(x *artifact.Index, bytes uint64) formatRow {
	n := float64(s.operands)
	return formatRow{
		Name: s.name, Operands: count(s.operands), Values: about(s.values), Bytes: size(s.bytes),
		Share: percent(float64(s.bytes), float64(bytes)), Width: share(float64(s.bytes), float64(bytes)),
		Bits: strconv.FormatFloat(8*float64(s.bytes)/float64(max(s.values, 1)), 'f', 2, 64),
		L2: errorBars{
			small(s.l2 / n), small(s.worstL2), decades(s.l2/n, lowestError), decades(s.worstL2, lowestError), clean(x.Operands[s.worstL2At].Name),
		},
		Cosine: errorBars{
			cosine(1 - s.cosine/n), cosine(1 - s.worstCosine), decades(s.cosine/n, lowestCosine), decades(s.worstCosine, lowestCosine),
			clean(x.Operands[s.worstCosinAt].Name),
		},
	}
}

// decades is how far an error reaches on an axis from 10^lowest to 1.
func decades(x float64, lowest int) string {
	if x == 0 {
		return "0%"
	}
	return share(math.Log10(x)-float64(lowest), float64(-lowest))
}

// axis marks every few decades of an axis from 10^lowest to 1.
func axis(lowest, every int) []tick {
	var list []tick
	for e := lowest; e <= 0; e += every {
		text := "10" + superscript(e)
		if e == 0 {
			text = "1"
		}
		list = append(list, tick{share(float64(e-lowest), float64(-lowest)), text})
	}
	return list
}
