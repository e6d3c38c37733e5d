package scene

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/image/vector"
)

// Picture is a rendered scene.
type Picture struct {
	Width, Height int
	RGB           []uint8 // [H, W, 3]
	Object        []uint8 // [H, W]: 1 + index of the scene's object in front, 0 for ground
}

// Kinds returns the mask of kinds: at every pixel 1 + the kind's index, 0 for ground, as a [H, W] array.
func (p *Picture) Kinds(s *Scene) []uint8 {
	labels := make([]uint8, len(p.Object))
	for i, id := range p.Object {
		if id > 0 {
			labels[i] = uint8(s.Objects[id-1].Kind) + 1
		}
	}
	return labels
}

// canvas is a picture on its way, in linear steps of 1/255 kept as floats.
type canvas struct {
	width, height int
	scale         float64   // pixels per unit of the scene
	rgb           []float32 // [H, W, 3], 0 to 1
	object        []uint8   // [H, W]
	raster        vector.Rasterizer
	cover         image.Alpha
	shadow        []uint8 // [H, W] of one object's box
	shadowNext    []uint8
}

// Render draws the scene at width x height pixels; its short side fills the picture's.
func (s *Scene) Render(width, height int) *Picture {
	if width < 1 || height < 1 {
		panic(fmt.Sprintf("scene: render at %dx%d", width, height))
	}
	c := &canvas{width: width, height: height, scale: float64(min(width, height)),
		rgb: make([]float32, 3*width*height), object: make([]uint8, width*height)}
	c.paintGround(&s.ground)
	for i := range s.Objects {
		c.paintObject(&s.Objects[i], uint8(i+1), s.light)
	}
	c.shine(s.light)
	if s.monochrome {
		c.fade(s.tint)
	}
	if sigma := s.blur * c.scale; sigma > 0.3 {
		blurFloat(c.rgb, width, height, sigma)
	}
	picture := &Picture{Width: width, Height: height, RGB: make([]uint8, len(c.rgb)), Object: c.object}
	random := rand.NewPCG(s.seed, saltNoise)
	for i, v := range c.rgb {
		x := 255 * float64(v)
		if s.noise > 0.002 {
			// The sum of four bytes is near enough to a normal number.
			bits := random.Uint64()
			sum := float64(bits&255+bits>>8&255+bits>>16&255+bits>>24&255) - 510
			x += sum / 147.8 * 255 * s.noise
		}
		picture.RGB[i] = uint8(math.Min(255, math.Max(0, x+0.5)))
	}
	return picture
}

func (c *canvas) paintGround(g *ground) {
	sin, cos := math.Sincos(g.turn)
	for y := 0; y < c.height; y++ {
		v := (float64(y) + 0.5) / c.scale
		for x := 0; x < c.width; x++ {
			u := (float64(x) + 0.5) / c.scale
			mix := g.mix(u*cos+v*sin, v*cos-u*sin, 1/c.scale)
			at := c.rgb[3*(y*c.width+x):]
			for i := 0; i < 3; i++ {
				at[i] = float32(g.first[i] + (g.second[i]-g.first[i])*mix)
			}
		}
	}
}

// mix is the share of the second colour at a point; pixel is the pixel's width, over which edges are softened.
func (g *ground) mix(u, v, pixel float64) float64 {
	switch g.style {
	case stripedGround:
		return wave(u/g.scale+g.phase, pixel/g.scale)
	case checkedGround:
		a, b := wave(u/g.scale+g.phase, pixel/g.scale), wave(v/g.scale, pixel/g.scale)
		return a + b - 2*a*b
	case dottedGround:
		return dots(u/g.scale+g.phase, v/g.scale, pixel/g.scale)
	case wavyGround:
		return 0.5 + 0.5*math.Sin(2*math.Pi*u/g.scale+2*math.Sin(math.Pi*v/g.scale)+g.phase)
	case cloudyGround:
		return valueNoise(u/g.scale+g.phase, v/g.scale)*0.65 + valueNoise(2*u/g.scale+g.phase, 2*v/g.scale+7)*0.35
	}
	return 0
}

// wave is 0 in one half of each period and 1 in the other, with edges of the given width.
func wave(t, edge float64) float64 {
	t -= math.Floor(t)
	distance := math.Abs(t-0.5) - 0.25 // negative in the middle half
	return clamp01(0.5 - distance/math.Max(edge, 1e-6))
}

// dots is 1 within discs of radius 0.32 on a grid of period 1.
func dots(u, v, edge float64) float64 {
	u, v = u-math.Floor(u)-0.5, v-math.Floor(v)-0.5
	return clamp01(0.5 - (math.Hypot(u, v)-0.32)/math.Max(edge, 1e-6))
}

func valueNoise(u, v float64) float64 {
	i, j := math.Floor(u), math.Floor(v)
	fu, fv := smooth(u-i), smooth(v-j)
	a, b := int64(i), int64(j)
	top := lattice(a, b)*(1-fu) + lattice(a+1, b)*fu
	bottom := lattice(a, b+1)*(1-fu) + lattice(a+1, b+1)*fu
	return top*(1-fv) + bottom*fv
}

func smooth(t float64) float64 { return t * t * (3 - 2*t) }

func lattice(i, j int64) float64 {
	h := uint64(i)*0x9e3779b97f4a7c15 ^ uint64(j)*0xc2b2ae3d27d4eb4f
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return float64(h>>40) / (1 << 24)
}

// box is a range of pixels, ends excluded.
type box struct{ x0, y0, x1, y1 int }

func (c *canvas) paintObject(o *Object, id uint8, l lamp) {
	reach := 1.1 * o.Radius
	b := box{int((o.X - reach) * c.scale), int((o.Y - reach) * c.scale), int(math.Ceil((o.X + reach) * c.scale)), int(math.Ceil((o.Y + reach) * c.scale))}
	b.x0, b.y0, b.x1, b.y1 = max(0, b.x0), max(0, b.y0), min(c.width, b.x1), min(c.height, b.y1)
	if b.x0 >= b.x1 || b.y0 >= b.y1 {
		return
	}
	c.rasterize(o, outlines()[o.Kind][0], b, 0, 0)
	c.castShadow(o, b)
	for i := range outlines()[o.Kind] {
		if i > 0 {
			c.rasterize(o, outlines()[o.Kind][i], b, 0, 0)
		}
		c.fillPart(o, Kinds[o.Kind].parts[i].fill, id, b, l)
	}
}

// castShadow darkens the ground beside the object, whose coverage is in c.cover.
func (c *canvas) castShadow(o *Object, b box) {
	offset := int(math.Round(0.07 * o.Radius * c.scale))
	radius := max(1, offset)
	w, h := b.x1-b.x0, b.y1-b.y0
	if len(c.shadow) < w*h {
		c.shadow, c.shadowNext = make([]uint8, w*h), make([]uint8, w*h)
	}
	shadow := c.shadow[:w*h]
	copy(shadow, c.cover.Pix[:w*h])
	boxBlur(c.shadowNext[:w*h], shadow, w, h, radius)
	boxBlurColumns(shadow, c.shadowNext[:w*h], w, h, radius)
	for y := 0; y < h; y++ {
		py := y + b.y0 + offset
		if py >= c.height {
			break
		}
		for x := 0; x < w; x++ {
			px := x + b.x0 + offset
			if px >= c.width {
				break
			}
			if a := shadow[y*w+x]; a > 0 {
				factor := 1 - 0.35*float32(a)/255
				at := c.rgb[3*(py*c.width+px):]
				at[0], at[1], at[2] = at[0]*factor, at[1]*factor, at[2]*factor
			}
		}
	}
}

func (c *canvas) fillPart(o *Object, f fill, id uint8, b box, l lamp) {
	w := b.x1 - b.x0
	sin, cos := math.Sincos(o.patternTurn + o.Turn)
	inverse := 1 / (c.scale * o.Radius)
	pixel := inverse / o.patternScale
	var flat [3]float64
	switch f {
	case dark:
		flat = shade(o.rgb, 0.35)
	case light:
		flat = shade(o.rgb, -0.45)
	case cream:
		flat = [3]float64{0.96, 0.94, 0.86}
	case ink:
		flat = [3]float64{0.11, 0.11, 0.13}
	case wood:
		flat = [3]float64{0.47, 0.30, 0.17}
	}
	for y := b.y0; y < b.y1; y++ {
		cover := c.cover.Pix[(y-b.y0)*w : (y-b.y0+1)*w]
		v := ((float64(y) + 0.5) - o.Y*c.scale) * inverse
		for x := b.x0; x < b.x1; x++ {
			a := cover[x-b.x0]
			if a == 0 {
				continue
			}
			u := ((float64(x) + 0.5) - o.X*c.scale) * inverse
			colour := flat
			if f == whole {
				colour = o.rgb
				if o.Pattern != Plain {
					mix := o.mix(u*cos+v*sin, v*cos-u*sin, pixel)
					for i := range colour {
						colour[i] += (o.second[i] - colour[i]) * mix
					}
				}
				if a >= 128 {
					c.object[y*c.width+x] = id
				}
			}
			// The side towards the light is brighter.
			glow := 1 - 0.16*(u*l.dx+v*l.dy)
			alpha := float32(a) / 255
			at := c.rgb[3*(y*c.width+x):]
			for i := 0; i < 3; i++ {
				at[i] += (float32(math.Min(1, colour[i]*glow)) - at[i]) * alpha
			}
		}
	}
}

func (o *Object) mix(u, v, pixel float64) float64 {
	u, v = u/o.patternScale/2, v/o.patternScale/2
	switch o.Pattern {
	case Striped:
		return wave(u, pixel/2)
	case Dotted:
		return dots(u, v, pixel/2)
	case Checked:
		a, b := wave(u, pixel/2), wave(v, pixel/2)
		return a + b - 2*a*b
	}
	return 0
}

func (c *canvas) shine(l lamp) {
	if l.strength == 0 && l.vignette == 0 {
		return
	}
	for y := 0; y < c.height; y++ {
		v := 2*(float64(y)+0.5)/float64(c.height) - 1
		for x := 0; x < c.width; x++ {
			u := 2*(float64(x)+0.5)/float64(c.width) - 1
			factor := float32(1 - l.strength*0.5*(u*l.dx+v*l.dy) - l.vignette*0.5*(u*u+v*v))
			at := c.rgb[3*(y*c.width+x):]
			at[0], at[1], at[2] = at[0]*factor, at[1]*factor, at[2]*factor
		}
	}
}

// fade leaves the lightness of colours, from dark to light grey so that nothing looks black or white, in a tint.
func (c *canvas) fade(tint [3]float64) {
	for i := 0; i < len(c.rgb); i += 3 {
		at := c.rgb[i : i+3]
		value := 0.2 + 0.6*clamp01(luminance([3]float64{float64(at[0]), float64(at[1]), float64(at[2])}))
		for k := range at {
			at[k] = float32(value * tint[k])
		}
	}
}

// rasterize puts the coverage of an outline into c.cover, whose origin is the box's corner.
func (c *canvas) rasterize(o *Object, path []segment, b box, dx, dy float64) {
	w, h := b.x1-b.x0, b.y1-b.y0
	if len(c.cover.Pix) < w*h {
		c.cover.Pix = make([]uint8, w*h)
	}
	pix := c.cover.Pix[:w*h]
	clear(pix)
	target := image.Alpha{Pix: pix, Stride: w, Rect: image.Rect(0, 0, w, h)}
	c.raster.Reset(w, h)
	sin, cos := math.Sincos(o.Turn)
	r := o.Radius * c.scale / 100
	flip := 1.0
	if o.mirrored {
		flip = -1
	}
	at := func(p [2]float64) (float32, float32) {
		x, y := p[0]*flip, p[1]
		return float32((x*cos-y*sin)*r + o.X*c.scale - float64(b.x0) + dx), float32((x*sin+y*cos)*r + o.Y*c.scale - float64(b.y0) + dy)
	}
	for _, s := range path {
		x, y := at(s.p[0])
		switch s.command {
		case 'M':
			c.raster.MoveTo(x, y)
		case 'L':
			c.raster.LineTo(x, y)
		case 'Q':
			x1, y1 := at(s.p[1])
			c.raster.QuadTo(x, y, x1, y1)
		case 'C':
			x1, y1 := at(s.p[1])
			x2, y2 := at(s.p[2])
			c.raster.CubeTo(x, y, x1, y1, x2, y2)
		case 'Z':
			c.raster.ClosePath()
		}
	}
	c.raster.Draw(&target, target.Rect, image.Opaque, image.Point{})
}

type segment struct {
	command byte
	p       [3][2]float64
}

// outlines are the parsed paths of every kind's parts.
var outlines = sync.OnceValue(parseOutlines)

func parseOutlines() [][][]segment {
	all := make([][][]segment, len(Kinds))
	for i, kind := range Kinds {
		for _, p := range kind.parts {
			all[i] = append(all[i], parsePath(p.path))
		}
	}
	return all
}

func parsePath(path string) []segment {
	fields := strings.Fields(path)
	var out []segment
	number := func() float64 {
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			panic("scene: outline: " + err.Error())
		}
		fields = fields[1:]
		return value
	}
	for len(fields) > 0 {
		command := fields[0][0]
		fields = fields[1:]
		switch command {
		case 'O', 'o':
			cx, cy, rx, ry := number(), number(), number(), number()
			out = append(out, ellipse(cx, cy, rx, ry, command == 'o')...)
		case 'Z':
			out = append(out, segment{command: 'Z'})
		default:
			s := segment{command: command}
			for i := 0; i < map[byte]int{'M': 1, 'L': 1, 'Q': 2, 'C': 3}[command]; i++ {
				s.p[i] = [2]float64{number(), number()}
			}
			out = append(out, s)
		}
	}
	return out
}

// ellipse is four cubic curves, clockwise on the screen, or the other way round to cut a hole.
func ellipse(cx, cy, rx, ry float64, hole bool) []segment {
	const k = 0.5522847498 // of the radius: the control points of a quarter circle
	if hole {
		ry = -ry
	}
	p := func(x, y float64) [2]float64 { return [2]float64{cx + x*rx, cy + y*ry} }
	return []segment{
		{command: 'M', p: [3][2]float64{p(1, 0)}},
		{command: 'C', p: [3][2]float64{p(1, k), p(k, 1), p(0, 1)}},
		{command: 'C', p: [3][2]float64{p(-k, 1), p(-1, k), p(-1, 0)}},
		{command: 'C', p: [3][2]float64{p(-1, -k), p(-k, -1), p(0, -1)}},
		{command: 'C', p: [3][2]float64{p(k, -1), p(1, -k), p(1, 0)}},
		{command: 'Z'},
	}
}

// boxBlur sets each number of dst to the mean of src over 2*radius+1 columns, zeros outside.
func boxBlur(dst, src []uint8, w, h, radius int) {
	for y := 0; y < h; y++ {
		blurLine(dst[y*w:], src[y*w:], w, 1, radius)
	}
}

// boxBlurColumns is boxBlur over rows.
func boxBlurColumns(dst, src []uint8, w, h, radius int) {
	for x := 0; x < w; x++ {
		blurLine(dst[x:], src[x:], h, w, radius)
	}
}

func blurLine(dst, src []uint8, n, step, radius int) {
	sum := 0
	for i := 0; i < min(radius, n); i++ {
		sum += int(src[i*step])
	}
	for i := 0; i < n; i++ {
		if i+radius < n {
			sum += int(src[(i+radius)*step])
		}
		dst[i*step] = uint8(sum / (2*radius + 1))
		if i-radius >= 0 {
			sum -= int(src[(i-radius)*step])
		}
	}
}

// blurFloat blurs an RGB picture [h, w, 3] with a Gaussian of standard deviation sigma, edges replicated.
func blurFloat(rgb []float32, w, h int, sigma float64) {
	radius := int(math.Ceil(2.5 * sigma))
	weights := make([]float32, radius+1)
	total := float32(0)
	for i := range weights {
		weights[i] = float32(math.Exp(-float64(i*i) / (2 * sigma * sigma)))
		total += weights[i]
		if i > 0 {
			total += weights[i]
		}
	}
	for i := range weights {
		weights[i] /= total
	}
	line := make([]float32, 3*max(w, h))
	blur := func(first, step, n int) {
		for i := 0; i < n; i++ {
			copy(line[3*i:3*i+3], rgb[first+i*step:])
		}
		for i := 0; i < n; i++ {
			at := rgb[first+i*step : first+i*step+3]
			for ch := range at {
				sum := line[3*i+ch] * weights[0]
				for r := 1; r <= radius; r++ {
					sum += weights[r] * (line[3*max(0, i-r)+ch] + line[3*min(n-1, i+r)+ch])
				}
				at[ch] = sum
			}
		}
	}
	for y := 0; y < h; y++ {
		blur(3*y*w, 3, w)
	}
	for x := 0; x < w; x++ {
		blur(3*x, 3*w, h)
	}
}
