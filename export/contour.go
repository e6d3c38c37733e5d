package export

import (
	"math"
	"slices"

	"github.com/pacl/pacl/imaging"
)

// Point is a place in a mask, in pixels from its upper left corner: pixel (x, y) covers [x, x+1] by [y, y+1].
type Point struct{ X, Y float64 }

// Ring is a closed line; its last point is joined to its first.
type Ring []Point

// Polygon is one connected part of a label with its holes.
type Polygon struct {
	// Outer runs clockwise as seen on the screen, the Holes the other way round.
	Outer Ring
	Holes []Ring
	// Keyhole is the same part as one line: each hole is joined to what surrounds it by a vertical cut that is walked down
	// and up again. COCO's polygons have no holes (several rings of one annotation are united), but its rasteriser counts
	// crossings along each ring, so that such a line leaves the hole empty.
	Keyhole Ring
}

// PolygonOptions says how closely polygons follow the mask.
type PolygonOptions struct {
	// Tolerance is the largest distance in pixels by which a simplified line may leave the edge of its label (Douglas and
	// Peucker). At 0 the polygons are the pixels' own outlines and give back the mask exactly.
	Tolerance float64
	// MinArea leaves out parts of fewer pixels.
	MinArea int
}

// Polygons traces the outlines of the ids 0 to labels-1. Pixels of an id that touch by a side are one part; those that
// touch only by a corner are two. The parts of an id are in reading order of their first pixels.
func Polygons(m *imaging.Mask, labels int, o PolygonOptions) ([][]Polygon, error) {
	if err := check(m); err != nil {
		return nil, err
	}
	t := tracer{mask: m, labels: labels, topEdge: make([]int32, len(m.ID))}
	t.trace()
	t.attach()
	return t.polygons(o), nil
}

// corner is a corner of the pixel lattice.
type corner struct{ x, y int32 }

// outline is one traced ring: the corners vertices[first:last] of the tracer, where the line turns.
type outline struct {
	id          int
	first, last int32
	// area in pixels: positive for the outside of a part, negative for a hole.
	area int
	// top is the vertex at which a hole is joined to what surrounds it: of its highest corners the leftmost.
	top int32
	// parent is the outline that the hole is joined to, -1 for the outside of a part; joint where.
	parent int32
	joint  corner
}

type tracer struct {
	mask     *imaging.Mask
	labels   int
	vertices []corner
	outlines []outline
	// topEdge [H, W] holds, for each pixel whose upper side is on an outline, 1 + the vertex that begins its straight line.
	topEdge []int32
}

// inside reports whether the pixel exists and has the id.
func (t *tracer) inside(x, y int32, id uint16) bool {
	return x >= 0 && y >= 0 && int(x) < t.mask.Width && int(y) < t.mask.Height && t.mask.ID[int(y)*t.mask.Width+int(x)] == id
}

// trace follows every outline once. Each has an upper side of some pixel of its id, by which it is found.
func (t *tracer) trace() {
	for y := range int32(t.mask.Height) {
		for x := range int32(t.mask.Width) {
			at := int(y)*t.mask.Width + int(x)
			id := t.mask.ID[at]
			if int(id) < t.labels && t.topEdge[at] == 0 && !t.inside(x, y-1, id) {
				t.follow(x, y, id)
			}
		}
	}
}

// The four directions of a side, clockwise, and for each the pixels ahead of its end: to the right of the line, where the
// label is, and to its left.
var directions = [4]struct{ step, right, left corner }{
	{corner{1, 0}, corner{0, 0}, corner{0, -1}},    // east
	{corner{0, 1}, corner{-1, 0}, corner{0, 0}},    // south
	{corner{-1, 0}, corner{-1, -1}, corner{-1, 0}}, // west
	{corner{0, -1}, corner{0, -1}, corner{-1, -1}}, // north
}

// follow walks along the upper side of pixel (x, y) with the label on the right until it comes back. Where two pixels of
// the id touch by a corner only it turns right, which keeps them apart.
func (t *tracer) follow(x, y int32, id uint16) {
	ring := outline{id: int(id), first: int32(len(t.vertices)), parent: -1}
	start, at, direction := corner{x, y}, corner{x, y}, 0
	for {
		t.vertices = append(t.vertices, at)
		vertex := int32(len(t.vertices))
		for {
			if direction == 0 {
				t.topEdge[int(at.y)*t.mask.Width+int(at.x)] = vertex
			}
			step := directions[direction].step
			// The shoelace formula for sides of length one.
			ring.area += int(at.x)*int(at.y+step.y) - int(at.x+step.x)*int(at.y)
			at.x, at.y = at.x+step.x, at.y+step.y
			d := directions[direction]
			right := t.inside(at.x+d.right.x, at.y+d.right.y, id)
			left := t.inside(at.x+d.left.x, at.y+d.left.y, id)
			if !right {
				direction = (direction + 1) % 4
				break
			}
			if left {
				direction = (direction + 3) % 4
				break
			}
		}
		if at == start && direction == 0 {
			break
		}
	}
	ring.area /= 2
	ring.last = int32(len(t.vertices))
	ring.top = ring.first
	for v := ring.first; v < ring.last; v++ {
		if a, b := t.vertices[v], t.vertices[ring.top]; a.y < b.y || a.y == b.y && a.x < b.x {
			ring.top = v
		}
	}
	t.outlines = append(t.outlines, ring)
}

// attach finds for each hole what lies above it: going up from its top, the first side of the same id.
func (t *tracer) attach() {
	for i := range t.outlines {
		hole := &t.outlines[i]
		if hole.area > 0 {
			continue
		}
		at := t.vertices[hole.top]
		y := at.y - 1
		for t.topEdge[int(y)*t.mask.Width+int(at.x)] == 0 {
			y--
		}
		hole.joint = corner{at.x, y}
		hole.parent = t.outlineOf(t.topEdge[int(y)*t.mask.Width+int(at.x)] - 1)
	}
}

// outlineOf finds the outline that a vertex belongs to.
func (t *tracer) outlineOf(vertex int32) int32 {
	i, _ := slices.BinarySearchFunc(t.outlines, vertex, func(o outline, v int32) int { return int(o.last) - int(v) - 1 })
	return int32(i)
}

// polygons puts the outlines together.
func (t *tracer) polygons(o PolygonOptions) [][]Polygon {
	result := make([][]Polygon, t.labels)
	children := make([][]int32, len(t.outlines))
	for i, ring := range t.outlines {
		if ring.parent >= 0 {
			children[ring.parent] = append(children[ring.parent], int32(i))
		}
	}
	for i, ring := range t.outlines {
		if ring.area <= 0 {
			continue
		}
		area := ring.area
		t.descend(children, int32(i), func(hole int32) { area += t.outlines[hole].area })
		if area < o.MinArea {
			continue
		}
		var part Polygon
		part.Outer = points(t.simple(int32(i), nil, o.Tolerance))
		t.descend(children, int32(i), func(hole int32) {
			part.Holes = append(part.Holes, points(t.simple(hole, nil, o.Tolerance)))
		})
		part.Keyhole = t.keyhole(children, int32(i), o.Tolerance)
		result[ring.id] = append(result[ring.id], part)
	}
	return result
}

// descend visits all holes that are joined to an outline, directly or through other holes.
func (t *tracer) descend(children [][]int32, ring int32, visit func(hole int32)) {
	stack := slices.Clone(children[ring])
	for len(stack) > 0 {
		hole := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		visit(hole)
		stack = append(stack, children[hole]...)
	}
}

// stop is a corner of an outline's line and the hole that is joined there, -1 for none.
type stop struct {
	corner
	hole int32
}

// simple returns the line of an outline from its top on, with the joints of the given holes in their places, simplified
// between the points that have to stay.
func (t *tracer) simple(ring int32, holes []int32, tolerance float64) []stop {
	o := t.outlines[ring]
	joints := make(map[int32][]stop, len(holes))
	for _, hole := range holes {
		joint := t.outlines[hole].joint
		line := t.topEdge[int(joint.y)*t.mask.Width+int(joint.x)] - 1
		joints[line] = append(joints[line], stop{joint, hole})
	}
	line := make([]stop, 0, int(o.last-o.first)+len(holes))
	for i := range o.last - o.first {
		v := o.top + i
		if v >= o.last {
			v -= o.last - o.first
		}
		line = append(line, stop{t.vertices[v], -1})
		here := joints[v]
		slices.SortFunc(here, func(a, b stop) int { return int(a.x - b.x) })
		line = append(line, here...)
	}
	if tolerance <= 0 {
		return line
	}
	return simplify(line, tolerance)
}

// keyhole writes a part as one line, with a stack for chains of holes that hang below one another.
func (t *tracer) keyhole(children [][]int32, ring int32, tolerance float64) Ring {
	type frame struct {
		line []stop
		next int
	}
	var result Ring
	add := func(c corner) {
		p := Point{float64(c.x), float64(c.y)}
		if n := len(result); n == 0 || result[n-1] != p {
			result = append(result, p)
		}
	}
	stack := []frame{{line: t.simple(ring, children[ring], tolerance)}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.line) {
			// Back to the hole's own beginning, and up the cut to where it was left.
			closing := top.line[0].corner
			stack = stack[:len(stack)-1]
			if len(stack) > 0 {
				add(closing)
				below := &stack[len(stack)-1]
				add(below.line[below.next-1].corner)
			}
			continue
		}
		here := top.line[top.next]
		top.next++
		add(here.corner)
		if here.hole >= 0 {
			stack = append(stack, frame{line: t.simple(here.hole, children[here.hole], tolerance)})
		}
	}
	return result
}

func points(line []stop) Ring {
	ring := make(Ring, len(line))
	for i, s := range line {
		ring[i] = Point{float64(s.x), float64(s.y)}
	}
	return ring
}

// simplify leaves out points that are within the tolerance of the line between those that stay. Joints stay, the first
// point stays, and so does the one farthest from it, so that a ring keeps at least three points.
func simplify(line []stop, tolerance float64) []stop {
	keep := make([]bool, len(line))
	keep[0] = true
	far, best := 0, 0.0
	for i, s := range line {
		if d := math.Hypot(float64(s.x-line[0].x), float64(s.y-line[0].y)); d > best {
			far, best = i, d
		}
		if s.hole >= 0 {
			keep[i] = true
		}
	}
	keep[far] = true
	closed := append(slices.Clone(line), line[0])
	from := 0
	for i := 1; i < len(closed); i++ {
		if i == len(line) || keep[i] {
			thin(closed, from, i, tolerance, keep)
			from = i
		}
	}
	kept := 0
	for _, k := range keep {
		if k {
			kept++
		}
	}
	if kept < 3 {
		return line
	}
	result := make([]stop, 0, kept)
	for i, s := range line {
		if keep[i] {
			result = append(result, s)
		}
	}
	return result
}

// thin marks the points between from and to that have to stay.
func thin(line []stop, from, to int, tolerance float64, keep []bool) {
	type span struct{ from, to int }
	stack := []span{{from, to}}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		worst, at := tolerance, -1
		for i := s.from + 1; i < s.to; i++ {
			if d := distance(line[i].corner, line[s.from].corner, line[s.to].corner); d > worst {
				worst, at = d, i
			}
		}
		if at >= 0 {
			keep[at] = true
			stack = append(stack, span{s.from, at}, span{at, s.to})
		}
	}
}

// distance is that of p from the segment from a to b.
func distance(p, a, b corner) float64 {
	px, py := float64(p.x-a.x), float64(p.y-a.y)
	bx, by := float64(b.x-a.x), float64(b.y-a.y)
	length := bx*bx + by*by
	if length == 0 {
		return math.Hypot(px, py)
	}
	along := min(1, max(0, (px*bx+py*by)/length))
	return math.Hypot(px-along*bx, py-along*by)
}
