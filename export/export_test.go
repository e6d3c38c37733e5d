package export

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pacl/pacl/imaging"
)

// referenceRuns and the functions below follow pycocotools' maskApi.c line by line (rleFrString, rleDecode, rleFrPoly); they
// share nothing with the encoder.
func referenceRuns(text string) []int {
	var counts []int
	for p := 0; p < len(text); {
		x, k, more := 0, 0, true
		for more {
			c := int(text[p]) - 48
			x |= (c & 0x1f) << (5 * k)
			more = c&0x20 != 0
			p++
			k++
			if !more && c&0x10 != 0 {
				x |= -1 << (5 * k)
			}
		}
		if len(counts) > 2 {
			x += counts[len(counts)-2]
		}
		counts = append(counts, x)
	}
	return counts
}

func referenceDecode(counts []int, h, w int) []bool {
	columns := make([]bool, 0, h*w)
	for i, count := range counts {
		for range count {
			columns = append(columns, i%2 == 1)
		}
	}
	rows := make([]bool, h*w)
	for i, on := range columns {
		rows[i%h*w+i/h] = on
	}
	return rows
}

func referencePolygon(xy []float64, h, w int) []bool {
	const scale = 5
	k := len(xy) / 2
	x, y := make([]int, k+1), make([]int, k+1)
	for j := range k {
		x[j], y[j] = int(scale*xy[2*j]+.5), int(scale*xy[2*j+1]+.5)
	}
	x[k], y[k] = x[0], y[0]
	abs := func(a int) int { return max(a, -a) }
	var u, v []int
	for j := range k {
		xs, xe, ys, ye := x[j], x[j+1], y[j], y[j+1]
		dx, dy := abs(xe-xs), abs(ys-ye)
		flip := dx >= dy && xs > xe || dx < dy && ys > ye
		if flip {
			xs, xe, ys, ye = xe, xs, ye, ys
		}
		if dx >= dy {
			s := float64(ye-ys) / float64(dx)
			if dx == 0 {
				s = 0
			}
			for d := 0; d <= dx; d++ {
				t := d
				if flip {
					t = dx - d
				}
				u, v = append(u, t+xs), append(v, int(float64(ys)+s*float64(t)+.5))
			}
		} else {
			s := float64(xe-xs) / float64(dy)
			for d := 0; d <= dy; d++ {
				t := d
				if flip {
					t = dy - d
				}
				v, u = append(v, t+ys), append(u, int(float64(xs)+s*float64(t)+.5))
			}
		}
	}
	var a []int
	for j := 1; j < len(u); j++ {
		if u[j] == u[j-1] {
			continue
		}
		xd := float64(u[j] - 1)
		if u[j] < u[j-1] {
			xd = float64(u[j])
		}
		xd = (xd+.5)/scale - .5
		if math.Floor(xd) != xd || xd < 0 || xd > float64(w-1) {
			continue
		}
		yd := math.Ceil(min(max((float64(min(v[j], v[j-1]))+.5)/scale-.5, 0), float64(h)))
		a = append(a, int(xd)*h+int(yd))
	}
	a = append(a, h*w)
	slices.Sort(a)
	previous := 0
	for j, t := range a {
		a[j], previous = t-previous, t
	}
	b := []int{a[0]}
	for j := 1; j < len(a); {
		if a[j] > 0 {
			b = append(b, a[j])
			j++
		} else {
			j++
			if j < len(a) {
				b[len(b)-1] += a[j]
				j++
			}
		}
	}
	return referenceDecode(b, h, w)
}

func wanted(m *imaging.Mask, id int) []bool {
	on := make([]bool, len(m.ID))
	for i, v := range m.ID {
		on[i] = int(v) == id
	}
	return on
}

func draw(rows ...string) *imaging.Mask {
	m := &imaging.Mask{Width: len(rows[0]), Height: len(rows)}
	for _, row := range rows {
		for _, c := range row {
			m.ID = append(m.ID, uint16(c-'0'))
		}
	}
	return m
}

// masks are shapes at which tracing goes wrong first: holes, parts in holes, corners that touch, edges of the picture.
var masks = map[string]*imaging.Mask{
	"one pixel":                   draw("0"),
	"void only":                   draw("99", "99"),
	"touches":                     draw("0110", "1001", "0110"),
	"hole":                        draw("0000", "0110", "0110", "0000"),
	"part in a hole":              draw("0000000", "0111110", "0100010", "0101010", "0100010", "0111110", "0000000"),
	"two holes below one another": draw("00000", "01110", "00000", "01210", "00000"),
	"hole at a corner":            draw("0000", "0100", "0010", "0000"),
	"diagonal hole reaches out":   draw("1000", "0100", "0000"),
	"stripes":                     draw("012012", "012012", "210210"),
	"comb":                        draw("0101010", "0101010", "0000000"),
}

func random(seed uint64, w, h, ids, grain int) *imaging.Mask {
	r := rand.New(rand.NewPCG(seed, 7))
	m := &imaging.Mask{Width: w, Height: h, ID: make([]uint16, w*h)}
	cells := make([]uint16, (w/grain+1)*(h/grain+1))
	for i := range cells {
		cells[i] = uint16(r.IntN(ids))
	}
	for i := range m.ID {
		m.ID[i] = cells[i/w/grain*(w/grain+1)+i%w/grain]
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	cases := map[string]*imaging.Mask{
		"noise": random(1, 61, 47, 3, 1), "blocks": random(2, 200, 150, 5, 7), "half noise": random(3, 64, 64, 2, 1),
	}
	for name, m := range masks {
		cases[name] = m
	}
	for name, m := range cases {
		t.Run(name, func(t *testing.T) { roundTrip(t, m, 4) })
	}
}

// fataler is what roundTrip needs of a test or a property.
type fataler interface {
	Fatalf(format string, args ...any)
}

func roundTrip(t fataler, m *imaging.Mask, labels int) {
	encoded, err := EncodeRLE(m, labels)
	if err != nil {
		t.Fatalf("%v", err)
	}
	outlines, err := Polygons(m, labels, PolygonOptions{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	for id := range labels {
		want := wanted(m, id)
		if got := referenceDecode(referenceRuns(encoded[id].Counts), m.Height, m.Width); !slices.Equal(got, want) {
			t.Fatalf("id %d: run lengths give another mask", id)
		}
		united := make([]bool, len(want))
		for _, list := range flatten(outlines[id]) {
			for i, on := range referencePolygon(list, m.Height, m.Width) {
				united[i] = united[i] || on
			}
		}
		if !slices.Equal(united, want) {
			t.Fatalf("id %d: polygons give another mask\n%v\n%v", id, united, want)
		}
		for _, part := range outlines[id] {
			if signed(part.Outer) <= 0 {
				t.Fatalf("id %d: the outside of a part runs the wrong way", id)
			}
			sum := signed(part.Outer)
			for _, hole := range part.Holes {
				if signed(hole) >= 0 {
					t.Fatalf("id %d: a hole runs the wrong way", id)
				}
				sum += signed(hole)
			}
			if cut := signed(part.Keyhole); cut != sum {
				t.Fatalf("id %d: the cut line encloses %g, outside less holes %g", id, cut, sum)
			}
		}
	}
}

func signed(ring Ring) float64 {
	sum := 0.0
	for i, p := range ring {
		q := ring[(i+1)%len(ring)]
		sum += p.X*q.Y - q.X*p.Y
	}
	return sum / 2
}

func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &imaging.Mask{Width: rapid.IntRange(1, 12).Draw(t, "width"), Height: rapid.IntRange(1, 12).Draw(t, "height")}
		m.ID = rapid.SliceOfN(rapid.Uint16Range(0, 2), m.Width*m.Height, m.Width*m.Height).Draw(t, "ids")
		roundTrip(t, m, 2)
	})
}

func TestSimplifiedPolygonsStayNear(t *testing.T) {
	m := &imaging.Mask{Width: 120, Height: 120, ID: make([]uint16, 120*120)}
	for i := range m.ID {
		distance := math.Hypot(float64(i%120)-60, float64(i/120)-60)
		if distance > 50 || distance < 20 {
			m.ID[i] = 1
		}
	}
	exact, err := Polygons(m, 1, PolygonOptions{})
	if err != nil {
		t.Fatal(err)
	}
	simple, err := Polygons(m, 1, PolygonOptions{Tolerance: 1})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := len(exact[0][0].Keyhole), len(simple[0][0].Keyhole); b >= a/3 {
		t.Errorf("simplified from %d to %d points only", a, b)
	}
	wrong := 0
	want := wanted(m, 0)
	for i, on := range referencePolygon(flatten(simple[0])[0], 120, 120) {
		if on != want[i] {
			wrong++
			if d := math.Hypot(float64(i%120)-60, float64(i/120)-60); math.Abs(d-50) > 2.5 && math.Abs(d-20) > 2.5 {
				t.Fatalf("pixel %d, %d is wrong, far from any edge", i%120, i/120)
			}
		}
	}
	if wrong > 300 {
		t.Errorf("%d pixels are wrong", wrong)
	}
}

func TestMinArea(t *testing.T) {
	m := draw("0100", "1100", "1110")
	got, err := Polygons(m, 1, PolygonOptions{MinArea: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(got[0]) != 1 {
		t.Errorf("%d parts, want the one of five pixels", len(got[0]))
	}
}

// TestKnownCounts compares with run lengths counted by hand, column by column.
func TestKnownCounts(t *testing.T) {
	for _, c := range []struct {
		mask *imaging.Mask
		want []int
	}{
		{draw("1001", "1001"), []int{2, 4, 2}},
		{draw("00", "01"), []int{0, 3, 1}},
		{draw("11"), []int{2}},
	} {
		got, err := EncodeRLE(c.mask, 1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, referenceRuns(got[0].Counts)); diff != "" {
			t.Errorf("%v: %s", c.mask.ID, diff)
		}
	}
}

func TestCOCO(t *testing.T) {
	set := NewCOCO([]string{"cat", "dog"})
	if err := set.Add("a.jpg", draw("0011", "0211", "0011"), RunLengths, PolygonOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := set.Add("b.jpg", draw("1122", "1122"), Outlines, PolygonOptions{}); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"info":{"description":"segmented by pacl","version":"1.0"},` +
		`"images":[{"id":1,"file_name":"a.jpg","width":4,"height":3},{"id":2,"file_name":"b.jpg","width":4,"height":2}],` +
		`"annotations":[` +
		`{"id":1,"image_id":1,"category_id":1,"segmentation":{"size":[3,4],"counts":"041M5"},"area":5,"bbox":[0,0,2,3],"iscrowd":0},` +
		`{"id":2,"image_id":1,"category_id":2,"segmentation":{"size":[3,4],"counts":"66"},"area":6,"bbox":[2,0,2,3],"iscrowd":0},` +
		`{"id":3,"image_id":2,"category_id":2,"segmentation":[[0,0,2,0,2,2,0,2]],"area":4,"bbox":[0,0,2,2],"iscrowd":0}],` +
		`"categories":[{"id":1,"name":"cat","supercategory":""},{"id":2,"name":"dog","supercategory":""}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	results, err := Results(draw("0011"), []string{"cat", "dog"}, []float64{.5, .25}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || results[1].Score != .25 || results[1].ImageID != 3 || results[1].CategoryID != 2 {
		t.Errorf("results %+v", results)
	}
}

// TestMerge writes two pictures into one set, and into two that are merged.
func TestMerge(t *testing.T) {
	labels := []string{"cat", "dog"}
	masks := []*imaging.Mask{draw("0011", "0211", "0011"), draw("1122", "1122")}
	whole := NewCOCO(labels)
	var paths []string
	for i, mask := range masks {
		name := string(rune('a'+i)) + ".jpg"
		one := NewCOCO(labels)
		for _, set := range []*COCO{whole, one} {
			if err := set.Add(name, mask, Shape(i), PolygonOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		text, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Join(t.TempDir(), name))
		if err := os.WriteFile(paths[i], text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	values := func(text []byte) (v any) {
		t.Helper()
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return v
	}
	var merged bytes.Buffer
	if err := Merge(&merged, paths); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(values(want), values(merged.Bytes())); diff != "" {
		t.Error(diff)
	}
	other, _ := json.Marshal(NewCOCO([]string{"bird"}))
	if err := os.WriteFile(paths[1], other, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Merge(&merged, paths); err == nil {
		t.Error("sets of different categories were merged")
	}
}

func TestLabelMe(t *testing.T) {
	file, err := NewLabelMe("p.jpg", draw("0101", "0111"), []string{"cat", "dog"}, PolygonOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Shapes) != 3 || file.Shapes[0].Label != "cat" || *file.Shapes[0].GroupID != 1 || file.Shapes[2].GroupID != nil {
		t.Errorf("shapes %+v", file.Shapes)
	}
	want := [][2]float64{{0, 0}, {1, 0}, {1, 2}, {0, 2}}
	if diff := cmp.Diff(want, file.Shapes[0].Points); diff != "" {
		t.Error(diff)
	}
}

func TestWritePNG(t *testing.T) {
	for _, top := range []uint16{2, 300} {
		m := draw("012", "210")
		m.ID[5] = top
		var buffer bytes.Buffer
		if err := WritePNG(&buffer, m); err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(&buffer)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range m.ID {
			var got uint16
			switch p := picture.(type) {
			case *image.Gray:
				got = uint16(p.Pix[i])
			case *image.Gray16:
				got = p.Gray16At(i%3, i/3).Y
			}
			if got != id {
				t.Errorf("pixel %d is %d, want %d", i, got, id)
			}
		}
	}
}

func TestLyingMask(t *testing.T) {
	bad := &imaging.Mask{Width: 3, Height: 3, ID: make([]uint16, 8)}
	if _, err := EncodeRLE(bad, 1); err == nil {
		t.Error("run lengths of a mask with too few ids")
	}
	if _, err := Polygons(bad, 1, PolygonOptions{}); err == nil {
		t.Error("polygons of a mask with too few ids")
	}
	if err := WritePNG(&bytes.Buffer{}, bad); err == nil {
		t.Error("PNG of a mask with too few ids")
	}
}

// TestPycocotools decodes our annotations with the published reader, where Python has it.
func TestPycocotools(t *testing.T) {
	if err := exec.Command("python3", "-c", "import pycocotools.mask, numpy").Run(); err != nil {
		t.Skip("python3 with pycocotools and numpy is not installed")
	}
	m := random(5, 90, 70, 4, 3)
	for _, shape := range []Shape{RunLengths, Outlines} {
		set := NewCOCO([]string{"a", "b", "c"})
		if err := set.Add("m.png", m, shape, PolygonOptions{}); err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(folder+"/coco.json", text, 0o666); err != nil {
			t.Fatal(err)
		}
		ids := new(bytes.Buffer)
		for _, id := range m.ID {
			ids.WriteByte(byte(id))
		}
		if err := os.WriteFile(folder+"/ids", ids.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		const script = `
import sys, numpy as np
from pycocotools.coco import COCO
coco = COCO(sys.argv[1] + "/coco.json")
want = np.fromfile(sys.argv[1] + "/ids", dtype=np.uint8).reshape(70, 90)
for a in coco.loadAnns(coco.getAnnIds()):
    assert (coco.annToMask(a).astype(bool) == (want == a["category_id"] - 1)).all(), a["id"]
`
		if out, err := exec.Command("python3", "-c", script, folder).CombinedOutput(); err != nil {
			t.Errorf("pycocotools: %v\n%s", err, out)
		}
	}
}

func BenchmarkPolygons(b *testing.B) {
	m := random(9, 1000, 750, 20, 9)
	for b.Loop() {
		if _, err := Polygons(m, 20, PolygonOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
