package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

var specials = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, -0.5, 1e-20, -1e20, 3.4e38, -3.4e38, 1e-40, -1e-45,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0x7f800001),
	math.Float32frombits(0x3f808000), math.Float32frombits(0x3f818000), 88.7, -87.5, -103.9, 5.75, -5.75, 12, -12,
}

// numbers returns n numbers, every third one special.
func numbers(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
		if r.IntN(3) == 0 {
			x[i] = specials[r.IntN(len(specials))]
		}
	}
	return x
}

func plain(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// near says whether a kernel's result is as good as the twin's: equal specials,
// finite numbers within the limit.
func near(got, want float32, limit float64) bool {
	g, w := float64(got), float64(want)
	switch {
	case math.IsNaN(w):
		return math.IsNaN(g)
	case math.IsInf(w, 0):
		return g == w || math.Abs(g) > 3.3e38 && g*w > 0
	case math.IsInf(g, 0):
		return math.Abs(w) > 3.3e38
	}
	return math.Abs(g-w) <= limit
}

// fenced runs f on a slice of n numbers that starts at every alignment and checks
// that nothing beside it changes.
func fenced(t *testing.T, n int, f func(dst []float32)) {
	t.Helper()
	for shift := range 3 {
		memory := make([]float32, n+40)
		for i := range memory {
			memory[i] = 777
		}
		from := 16 + shift
		f(memory[from : from+n : from+n])
		for i, v := range memory {
			if (i < from || i >= from+n) && v != 777 {
				t.Fatalf("size %d, shift %d: wrote at %d", n, shift, i-from)
			}
		}
	}
}

func fencedBF16(t *testing.T, n int, f func(dst []uint16)) {
	t.Helper()
	for shift := range 3 {
		memory := make([]uint16, n+80)
		for i := range memory {
			memory[i] = 777
		}
		from := 32 + shift
		f(memory[from : from+n : from+n])
		for i, v := range memory {
			if (i < from || i >= from+n) && v != 777 {
				t.Fatalf("size %d, shift %d: wrote at %d", n, shift, i-from)
			}
		}
	}
}

// checkVectors compares every kernel that walks over slices with its twin.
func checkVectors(t *testing.T, r *rand.Rand, n int, make1 func(r *rand.Rand, n int) []float32) {
	t.Helper()
	x, y := make1(r, n), make1(r, n)
	fencedBF16(t, n, func(dst []uint16) {
		active.toBF16(dst, x)
		for i, v := range x {
			if want := Float32ToBF16(v); dst[i] != want {
				t.Fatalf("toBF16(%x) = %x, expected %x", math.Float32bits(v), dst[i], want)
			}
		}
	})
	fencedBF16(t, 2*n, func(dst []uint16) {
		active.pairBF16(dst, x, y)
		for i := range x {
			if dst[2*i] != Float32ToBF16(x[i]) || dst[2*i+1] != Float32ToBF16(y[i]) {
				t.Fatalf("pair %d of %x, %x is %x, %x", i, math.Float32bits(x[i]), math.Float32bits(y[i]), dst[2*i], dst[2*i+1])
			}
		}
	})
	half := make([]uint16, n)
	toBF16Go(half, x)
	fenced(t, n, func(dst []float32) {
		active.fromBF16(dst, half)
		for i, h := range half {
			if math.Float32bits(dst[i]) != uint32(h)<<16 {
				t.Fatalf("fromBF16(%x) = %x", h, math.Float32bits(dst[i]))
			}
		}
	})
	fenced(t, n, func(dst []float32) {
		active.roundBF16(dst, x)
		for i, h := range half {
			if math.Float32bits(dst[i]) != uint32(h)<<16 {
				t.Fatalf("roundBF16(%v) = %x", x[i], math.Float32bits(dst[i]))
			}
		}
	})
	other := make([]uint16, n)
	toBF16Go(other, y)
	fencedBF16(t, 2*n, func(dst []uint16) {
		active.interleave(dst, half, other)
		for i := range half {
			if dst[2*i] != half[i] || dst[2*i+1] != other[i] {
				t.Fatalf("interleave of %d: pair %d is %x, %x", n, i, dst[2*i], dst[2*i+1])
			}
		}
	})
	for _, act := range []Activation{None, GELU, QuickGELU, ReLU, SiLU, GELUTanh} {
		fenced(t, n, func(dst []float32) {
			active.activate(dst, x, act)
			for i, v := range x {
				if want := act.of(v); !near(dst[i], want, 1e-6+2e-6*math.Abs(float64(want))) {
					t.Fatalf("%v(%v) = %v, expected %v", act, v, dst[i], want)
				}
			}
		})
	}
	want := make([]float32, n)
	// limit is relative to the terms of a result, which may cancel.
	compare := func(name string, limit float64, kernel, twin func(dst []float32)) {
		t.Helper()
		twin(want)
		fenced(t, n, func(dst []float32) {
			copy(dst, y)
			kernel(dst)
			for i := range dst {
				terms := 1 + math.Abs(float64(want[i]))
				if name == "axpy" || name == "normalize" {
					terms += math.Abs(float64(x[i])) + math.Abs(float64(y[i])) + 2*math.Abs(float64(x[i])*float64(y[i]))
				}
				if !near(dst[i], want[i], limit*terms) {
					t.Fatalf("%s of %d: [%d] = %v, expected %v (of %v, %v)", name, n, i, dst[i], want[i], x[i], y[i])
				}
			}
		})
	}
	compare("axpy", 1e-6, func(dst []float32) { active.axpy(dst, 0.75, x) },
		func(dst []float32) { copy(dst, y); axpyGo(dst, 0.75, x) })
	compare("scale", 0, func(dst []float32) { active.scale(dst, x, 0.75) },
		func(dst []float32) { scaleGo(dst, x, 0.75) })
	compare("normalize", 1e-6, func(dst []float32) { active.normalize(dst, x, y, x, 0.25, 1.5) },
		func(dst []float32) { normalizeGo(dst, x, y, x, 0.25, 1.5) })
	compare("exp", 3e-7, func(dst []float32) { active.expSum(dst, x, 1, 0) },
		func(dst []float32) { expSumGo(dst, x, 1, 0) })
	compare("weights", 3e-5, func(dst []float32) { active.expWeights(dst, x, 0.5, 1) },
		func(dst []float32) { expSumGo(dst, x, 0.5, 1) })
	for _, lines := range []int{1, 2, 20} {
		from, rise := make1(r, lines), make1(r, lines)
		if lines > 2 {
			from[lines-1], rise[lines-1] = from[1], rise[1] // the first of equal ones counts
		}
		winner, wantWinner := make([]int32, n+2), make([]int32, n)
		winner[0], winner[n+1] = -7, -7
		highestGo(want, wantWinner, x, from, rise)
		fenced(t, n, func(dst []float32) {
			active.highest(dst, winner[1:n+1], x, from, rise)
			for i, v := range dst {
				if winner[i+1] != wantWinner[i] || v != want[i] && !(v != v && want[i] != want[i]) {
					t.Fatalf("highest of %d lines at %v: %v of line %d, expected %v of %d", lines, x[i], v, winner[i+1], want[i], wantWinner[i])
				}
			}
		})
		if winner[0] != -7 || winner[n+1] != -7 {
			t.Fatalf("highest of %d: wrote beyond the winners", n)
		}
	}
	if n > 0 {
		if got, want := active.maximum(x), maximumGo(x); got != want && !(got != got && want != want) {
			t.Fatalf("maximum of %v = %v, expected %v", x, got, want)
		}
	}
}

func TestVectorsAgainstTwins(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		step := 1
		if raceEnabled {
			step = 13
		}
		for n := 1; n <= 131; n += step {
			checkVectors(t, r, n, numbers)
		}
	})
}

func TestReductionsAgainstTwins(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 14))
		for n := 1; n <= 200; n++ {
			x, y := plain(r, n), plain(r, n)
			limit := 1e-6 * float64(n)
			if got, want := active.dot(x, y), dotGo(x, y); !near(got, want, limit) {
				t.Fatalf("dot of %d = %v, expected %v", n, got, want)
			}
			mean, variance := active.moments(x)
			if m, v := momentsGo(x); !near(mean, m, 1e-6) || !near(variance, v, 3e-6) {
				t.Fatalf("moments of %d = %v, %v, expected %v, %v", n, mean, variance, m, v)
			}
			out := make([]float32, n)
			want := expSumGo(out, x, 1.25, 0.5)
			for _, got := range []float32{active.expSum(out, x, 1.25, 0.5), active.expWeights(out, x, 1.25, 0.5)} {
				if !near(got, want, 2e-6*float64(want)) {
					t.Fatalf("sum of %d exponentials = %v, expected %v", n, got, want)
				}
			}
		}
	})
}

// TestOnlineSoftmaxAgainstTwin takes rows in two parts, with -Inf, NaN and +Inf among the scores, beside guard bands.
func TestOnlineSoftmaxAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 32))
		for n := 1; n <= 150; n++ {
			for _, special := range []float32{0, float32(math.Inf(-1)), float32(math.NaN()), float32(math.Inf(1)), 1e-42} {
				one, two := plain(r, n), plain(r, n+3)
				if math.IsInf(float64(special), -1) || special != special {
					for i := range one {
						one[i] = float32(math.Inf(-1)) // the first part sees nothing
					}
				}
				if special != special {
					one[r.IntN(n)] = special // or NaN among nothing
				}
				if special != 0 {
					two[r.IntN(len(two))] = special
				}
				const guard, scale = 7, 1.25
				got, want := softmaxState{top: float32(math.Inf(-1))}, softmaxState{top: float32(math.Inf(-1))}
				for _, x := range [][]float32{one, two} {
					wide, half := make([]float32, len(x)+guard), make([]uint16, len(x)+guard)
					for i := range wide {
						wide[i], half[i] = 5, 5
					}
					expected := make([]float32, len(x))
					before := got
					coarse := got
					active.softmaxF32(wide[:len(x)], x, scale, &got)
					active.softmaxBF16(half[:len(x)], x, scale, &coarse)
					portable.softmaxF32(expected, x, scale, &want)
					same := func(name string, a, b float32, limit float64) {
						if a != a && b != b || a == b {
							return
						}
						if !(math.Abs(float64(a)-float64(b)) <= limit*(1+math.Abs(float64(b)))) {
							t.Fatalf("%d scores with %v after %+v: %s is %v, expected %v", len(x), special, before, name, a, b)
						}
					}
					if want.sum != want.sum {
						if got.sum == got.sum || coarse.sum == coarse.sum {
							t.Fatalf("%d scores with %v: the sums are %v and %v, expected NaN", len(x), special, got.sum, coarse.sum)
						}
						continue
					}
					same("top", got.top, want.top, 1e-6)
					same("sum", got.sum, want.sum, 1e-5)
					same("factor", got.factor, want.factor, 1e-6)
					same("coarse top", coarse.top, want.top, 1e-6)
					same("coarse sum", coarse.sum, want.sum, 2e-4)
					same("coarse factor", coarse.factor, want.factor, 1e-6)
					for i, e := range expected {
						same("exponential", wide[i], e, 1e-6)
						if y := BF16ToFloat32(half[i]); math.Abs(float64(y-e)) > float64(e)/240 {
							t.Fatalf("exponential %d of %d rounded is %v, expected %v", i, len(x), y, e)
						}
					}
					for i := range guard {
						if wide[len(x)+i] != 5 || half[len(x)+i] != 5 {
							t.Fatalf("%d scores: written beyond the end", len(x))
						}
					}
				}
			}
		}
	})
}

// TestPairPanels: pairs of rows of any strides, the rounding of float32 included.
func TestPairPanels(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(33, 34))
		for pairs := 1; pairs <= 9; pairs++ {
			stride := panelWidth + r.IntN(40)
			wide := numbers(r, 2*pairs*stride)
			half := make([]uint16, len(wide))
			for i := range half {
				half[i] = uint16(r.Uint32())
			}
			width := panelWidth + r.IntN(20)
			got, want := make([]float32, pairs*width+9), make([]float32, pairs*width+9)
			check := func(name string) {
				t.Helper()
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s of %d pairs: unit %d is %08x, expected %08x", name, pairs, i, math.Float32bits(got[i]), math.Float32bits(want[i]))
					}
				}
			}
			active.pairPanel(address(&got[0]), address(&half[0]), pairs, uintptr(2*stride), uintptr(4*width))
			pairPanelGo(address(&want[0]), address(&half[0]), pairs, uintptr(2*stride), uintptr(4*width))
			check("bfloat16")
			if active.pairPanelF32 == nil {
				continue
			}
			active.pairPanelF32(address(&got[0]), address(&wide[0]), pairs, uintptr(4*stride), uintptr(4*width))
			for p := range pairs {
				pairBF16Go(asBF16(want[p*width:])[:2*panelWidth], wide[2*p*stride:][:panelWidth], wide[(2*p+1)*stride:][:panelWidth])
			}
			check("float32")
		}
	})
}

// A row with -Inf has weight zero there; one NaN makes the whole row NaN.
func TestSoftmaxSpecials(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		row := make([]float32, 37)
		row[5] = float32(math.Inf(-1))
		Softmax(row)
		if row[5] != 0 || !near(row[0], 1.0/36, 1e-7) {
			t.Fatalf("softmax with -Inf: %v", row)
		}
		row[36] = float32(math.NaN())
		Softmax(row)
		for i, v := range row {
			if v == v {
				t.Fatalf("softmax with NaN: [%d] = %v", i, v)
			}
		}
	})
}

func TestExpWithinTwoUlp(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		x := make([]float32, 1<<16)
		for i := range x {
			x[i] = -87 + float32(i)*(175.0/float32(len(x)))
		}
		y := make([]float32, len(x))
		Exp(y, x)
		worst := 0.0
		for i, v := range x {
			want := math.Exp(float64(v))
			ulp := float64(math.Nextafter32(float32(want), float32(math.Inf(1))) - float32(want))
			worst = max(worst, math.Abs(float64(y[i])-want)/ulp)
		}
		if worst >= 2 {
			t.Fatalf("exp is off by %.2f units in the last place", worst)
		}
	})
}

func TestAdamWAgainstTwin(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(15, 16))
		for n := 1; n <= 70; n++ {
			var state, twin [3][]float32
			for i := range state {
				state[i] = plain(r, n)
				twin[i] = append([]float32(nil), state[i]...)
			}
			for i := range n {
				state[2][i] *= state[2][i]
				twin[2][i] = state[2][i]
			}
			a := AdamW{Rate: 0.01, Beta1: 0.9, Beta2: 0.98, Eps: 1e-8, Decay: 0.1, Step: 3}
			g := plain(r, n)
			a.Update(state[0], state[1], state[2], g)
			for i := range n {
				m := 0.9*float64(twin[1][i]) + 0.1*float64(g[i])
				v := 0.98*float64(twin[2][i]) + 0.02*float64(g[i])*float64(g[i])
				w := float64(twin[0][i])*(1-0.001) - 0.01*(m/(1-math.Pow(0.9, 3)))/(math.Sqrt(v/(1-math.Pow(0.98, 3)))+1e-8)
				if !near(state[0][i], float32(w), 1e-5*(1+math.Abs(w))) || !near(state[1][i], float32(m), 1e-6) || !near(state[2][i], float32(v), 1e-6*(1+v)) {
					t.Fatalf("size %d: w, m, v = %v, %v, %v, expected %v, %v, %v", n, state[0][i], state[1][i], state[2][i], w, m, v)
				}
			}
		}
	})
}

// FuzzVectors feeds the slice kernels any bits.
func FuzzVectors(f *testing.F) {
	f.Add(uint64(1), uint8(17))
	f.Add(uint64(99), uint8(64))
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		for _, set := range available() {
			before := active
			active = set
			checkVectors(t, rand.New(rand.NewPCG(seed, 5)), 1+int(size), func(r *rand.Rand, n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = math.Float32frombits(r.Uint32())
				}
				return x
			})
			active = before
		}
	})
}

// TestSoftmaxFour: four rows at once are four rows, to the bit, over several parts of their scores; NaN and +Inf make a row's sum NaN.
func TestSoftmaxFour(t *testing.T) {
	underEachSet(t, func(t *testing.T) {
		if active.softmaxFour == nil {
			t.Skip("this set has none")
		}
		r := rand.New(rand.NewPCG(35, 36))
		specials := []float32{float32(math.Inf(-1)), float32(math.NaN()), float32(math.Inf(1)), 1e-42, 3e38}
		for n := 1; n <= 270; n += 1 + n/60 {
			const rows, guard, scale = 4, 7, 1.25
			ldX, ldDst := n+r.IntN(9), n+guard+r.IntN(9)
			x, got, want := make([]float32, rows*ldX), make([]uint16, rows*ldDst), make([]uint16, rows*ldDst)
			var states, expected [rows]softmaxState
			for i := range rows {
				states[i].top = float32(math.Inf(-1))
			}
			expected = states
			for part := range 3 {
				for i := range x {
					x[i] = float32(4 * r.NormFloat64())
					if part == 0 && i/ldX%2 == 0 {
						x[i] = float32(math.Inf(-1)) // two rows have seen nothing yet
					}
				}
				if part == 1 {
					copy(x[ldX:2*ldX], make([]float32, n)) // the maximum of this row most likely stays
				}
				if special := r.IntN(3 * len(specials)); special < len(specials) {
					x[r.IntN(rows)*ldX+r.IntN(n)] = specials[special]
				}
				for i := range got {
					got[i], want[i] = 5, 5
				}
				active.softmaxFour(&got[0], uintptr(2*ldDst), &x[0], uintptr(4*ldX), n, scale, &states[0])
				for i := range rows {
					active.softmaxBF16(want[i*ldDst:i*ldDst+n], x[i*ldX:i*ldX+n], scale, &expected[i])
				}
				for i := range got {
					row, at := i/ldDst, i%ldDst
					if broken := expected[row].sum != expected[row].sum && at < n; got[i] != want[i] && !broken {
						t.Fatalf("%d scores, part %d: number %d of row %d is %04x, expected %04x", n, part, at, row, got[i], want[i])
					}
				}
				for i := range rows {
					if expected[i].sum != expected[i].sum { // then nothing else matters
						if states[i].sum == states[i].sum {
							t.Fatalf("%d scores, part %d: the sum of row %d is %v, expected NaN", n, part, i, states[i].sum)
						}
						continue
					}
					a, b := [3]float32{states[i].top, states[i].sum, states[i].factor}, [3]float32{expected[i].top, expected[i].sum, expected[i].factor}
					for k := range a {
						if math.Float32bits(a[k]) != math.Float32bits(b[k]) {
							t.Fatalf("%d scores, part %d: the state of row %d is %v, expected %v", n, part, i, a, b)
						}
					}
				}
			}
		}
	})
}
