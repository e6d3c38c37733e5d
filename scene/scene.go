package scene

import (
	"math"
	"math/rand/v2"
)

// Split says which pairs of kind and colour a scene may hold.
type Split uint8

const (
	// Train leaves the held-out pairs away.
	Train Split = iota
	// Novel has held-out pairs only.
	Novel
	// Any has every pair.
	Any
)

// Options say what scenes are like. The zero value gives square training scenes of one to four objects.
type Options struct {
	Split                  Split
	MinObjects, MaxObjects int     // 0: 1 and 4
	Aspect                 float64 // width over height, 0: 1
	// CloseUp makes objects fill most of the picture; it is meant for scenes of one.
	CloseUp bool
	// Clean leaves away what hides an outline: patterns of objects and ground, light, blur and noise. A close-up then
	// stands near the middle.
	Clean bool
	// Monochrome is the share of scenes that are drawn in the lightness of one muted hue. No colour can be told in them, and
	// their captions name kinds alone: what a thing is cannot be learned from its colour there.
	Monochrome float64
	// Unnamed is the share of objects in colours of all kinds, which captions do not name. Training scenes keep away from the
	// neighbourhood of the colour that the object's kind is never to have.
	Unnamed float64
}

// Object is one thing in a scene. Lengths are shares of the scene's short side.
type Object struct {
	Kind, Colour int // indices of Kinds and Colours, Unnamed for a colour that has no name
	Pattern      Pattern
	X, Y, Radius float64
	Turn         float64 // radians

	rgb, second  [3]float64 // the shade of the colour, and the pattern's second one
	patternScale float64
	patternTurn  float64
	mirrored     bool
}

// Scene is a picture's content: geometry, light and noise. Objects are in drawing order, the front last.
type Scene struct {
	Objects []Object
	Width   float64 // of the scene, in shares of the short side
	Height  float64

	ground ground
	light  lamp
	blur   float64 // standard deviation in shares of the short side
	noise  float64 // standard deviation, of 1
	// monochrome is whether tint, a hue at full value, takes the place of colours.
	monochrome bool
	tint       [3]float64
	seed       uint64
}

type ground struct {
	style       groundStyle
	first       [3]float64
	second      [3]float64
	scale, turn float64
	phase       float64
}

type groundStyle uint8

const (
	plainGround groundStyle = iota
	stripedGround
	checkedGround
	dottedGround
	wavyGround
	cloudyGround
	groundStyles
)

type lamp struct {
	dx, dy, strength, vignette float64
}

// salts keep the random streams of one seed apart.
const (
	saltScene   = 0x7363656e65
	saltCaption = 0x776f726473
	saltNoise   = 0x6e6f697365
	saltTint    = 0x74696e74
)

// New makes the scene of a seed.
func New(o Options, seed uint64) *Scene {
	random := rand.New(rand.NewPCG(seed, saltScene))
	if o.MinObjects <= 0 {
		o.MinObjects = 1
	}
	if o.MaxObjects < o.MinObjects {
		o.MaxObjects = max(4, o.MinObjects)
	}
	if !(o.Aspect > 0) {
		o.Aspect = 1
	}
	s := &Scene{Width: math.Max(1, o.Aspect), Height: math.Max(1, 1/o.Aspect), seed: seed}
	s.ground = newGround(random)
	angle := random.Float64() * 2 * math.Pi
	s.light = lamp{dx: math.Cos(angle), dy: math.Sin(angle), strength: 0.30 * random.Float64(), vignette: 0.25 * random.Float64()}
	if random.IntN(3) == 0 {
		s.blur = 0.008 * random.Float64()
	}
	s.noise = 0.05 * random.Float64() * random.Float64()

	n := o.MinObjects + random.IntN(o.MaxObjects-o.MinObjects+1)
	for i := 0; i < n; i++ {
		s.add(random, o, n)
	}
	if o.Clean {
		s.clean(o.CloseUp)
	}
	if tints := rand.New(rand.NewPCG(seed, saltTint)); tints.Float64() < o.Monochrome {
		s.monochrome, s.tint = true, fromHSV(tints.Float64(), 0.4*tints.Float64(), 1)
	}
	return s
}

func (s *Scene) clean(centred bool) {
	s.ground.style, s.light, s.blur, s.noise = plainGround, lamp{}, 0, 0
	for i := range s.Objects {
		o := &s.Objects[i]
		o.Pattern = Plain
		if centred {
			o.X, o.Y = s.Width/2+0.5*(o.X-s.Width/2), s.Height/2+0.5*(o.Y-s.Height/2)
		}
	}
}

func newGround(random *rand.Rand) ground {
	// Muted, so that objects stand out in every colour: a hue with little saturation, neither black nor white.
	value, saturation := 0.32+0.42*random.Float64(), 0.30*random.Float64()
	hue := random.Float64()
	g := ground{style: groundStyle(random.IntN(int(groundStyles))), scale: 0.08 + 0.22*random.Float64(),
		turn: random.Float64() * math.Pi, phase: random.Float64() * 10}
	g.first = fromHSV(hue, saturation, value)
	g.second = fromHSV(hue+0.1*random.Float64(), saturation*0.8, value+(random.Float64()-0.5)*0.30)
	return g
}

func (s *Scene) add(random *rand.Rand, o Options, total int) {
	kind, colour := choosePair(random, o.Split)
	// Now and then one more of the same, so that captions can count.
	if len(s.Objects) > 0 && random.IntN(6) == 0 {
		if same := s.Objects[random.IntN(len(s.Objects))]; same.Colour != Unnamed {
			kind, colour = same.Kind, same.Colour
		}
	}
	object := Object{Kind: kind, Colour: colour, mirrored: random.IntN(2) == 0,
		patternScale: 0.20 + 0.14*random.Float64(), patternTurn: random.Float64() * math.Pi}
	if random.IntN(5) < 2 {
		object.Pattern = Pattern(1 + random.IntN(int(patterns)-1))
	}
	object.Turn = (2*random.Float64() - 1) * Kinds[kind].turn * math.Pi / 180
	if o.Unnamed > 0 && random.Float64() < o.Unnamed {
		object.Colour, object.rgb = Unnamed, unnamedColour(random, kind, o.Split)
	} else {
		for i, base := range Colours[colour].rgb {
			object.rgb[i] = clamp01(base + 0.07*(2*random.Float64()-1))
		}
	}
	object.second = shade(object.rgb, 0.45)
	if luminance(object.rgb) < 0.45 {
		object.second = shade(object.rgb, -0.42)
	}

	smallest, largest := 0.19, 0.32
	if total > 2 {
		smallest, largest = 0.17, 0.25
	}
	if o.CloseUp {
		smallest, largest = 0.36, 0.46
	}
	for try := 0; try < 40; try++ {
		r := smallest + (largest-smallest)*random.Float64()
		x, y := 0.8*r+(s.Width-1.6*r)*random.Float64(), 0.8*r+(s.Height-1.6*r)*random.Float64()
		// Early tries keep apart; later ones may overlap, never so far that the one behind is hidden.
		apart := 0.95 - 0.012*float64(try)
		if s.free(x, y, r, apart) {
			object.X, object.Y, object.Radius = x, y, r
			s.Objects = append(s.Objects, object)
			return
		}
	}
}

func (s *Scene) free(x, y, r, apart float64) bool {
	for _, other := range s.Objects {
		if math.Hypot(x-other.X, y-other.Y) < apart*(r+other.Radius) {
			return false
		}
	}
	return true
}

// unnamedColour draws a colour of any hue; no training scene has one near the held-out colour of a kind.
func unnamedColour(random *rand.Rand, kind int, split Split) [3]float64 {
	for {
		c := fromHSV(random.Float64(), 0.25+0.75*random.Float64(), 0.2+0.8*random.Float64())
		near := false
		for colour := range Colours {
			near = near || split == Train && HeldOut(kind, colour) && distance(c, Colours[colour].rgb) < keepAway
		}
		if !near {
			return c
		}
	}
}

// keepAway is the distance in red, green and blue within which an unnamed colour might pass for a named one: those vary by
// 0.12 at most, and no two of them are nearer to each other than 0.35.
const keepAway = 0.3

func distance(a, b [3]float64) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}

func choosePair(random *rand.Rand, split Split) (kind, colour int) {
	for {
		kind, colour = random.IntN(len(Kinds)), random.IntN(len(Colours))
		if held := HeldOut(kind, colour); split == Any || held == (split == Novel) {
			return kind, colour
		}
	}
}

func clamp01(x float64) float64 { return math.Min(1, math.Max(0, x)) }

func luminance(c [3]float64) float64 { return 0.3*c[0] + 0.59*c[1] + 0.11*c[2] }

// shade moves a colour towards black (amount > 0) or white (amount < 0).
func shade(c [3]float64, amount float64) [3]float64 {
	for i := range c {
		if amount > 0 {
			c[i] *= 1 - amount
		} else {
			c[i] += (1 - c[i]) * -amount
		}
	}
	return c
}

func fromHSV(hue, saturation, value float64) [3]float64 {
	value = clamp01(value)
	var c [3]float64
	for i, offset := range [3]float64{5, 3, 1} {
		k := math.Mod(offset+hue*6, 6)
		c[i] = value - value*saturation*clamp01(math.Min(k, 4-k))
	}
	return c
}
