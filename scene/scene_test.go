package scene

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pacl/pacl/caption"
	"github.com/pacl/pacl/imaging"
)

var _ caption.Source = (*Source)(nil)

func TestSeedDecidesScene(t *testing.T) {
	for seed := uint64(0); seed < 20; seed++ {
		one := New(Options{}, seed).Render(64, 48)
		two := New(Options{}, seed).Render(64, 48)
		other := New(Options{}, seed+1000).Render(64, 48)
		if !bytes.Equal(one.RGB, two.RGB) || !bytes.Equal(one.Object, two.Object) {
			t.Errorf("seed %d gives two pictures", seed)
		}
		if bytes.Equal(one.RGB, other.RGB) {
			t.Errorf("seeds %d and %d give the same picture", seed, seed+1000)
		}
	}
}

func TestHeldOutPairs(t *testing.T) {
	held := 0
	for kind := range Kinds {
		free := 0
		for colour := range Colours {
			if HeldOut(kind, colour) {
				held++
			} else {
				free++
			}
		}
		if free < 7 {
			t.Errorf("%s is left with %d colours in training", Kinds[kind].Name(), free)
		}
	}
	if pairs := len(Kinds) * len(Colours); held < pairs/15 || held > pairs/7 {
		t.Errorf("%d of %d pairs are held out, expected about a tenth", held, pairs)
	}
	for seed := uint64(0); seed < 500; seed++ {
		for _, o := range New(Options{}, seed).Objects {
			if HeldOut(o.Kind, o.Colour) {
				t.Fatalf("training scene %d holds a held-out %s %s", seed, Colours[o.Colour].Name(), Kinds[o.Kind].Name())
			}
		}
		for _, o := range New(Options{Split: Novel}, seed).Objects {
			if !HeldOut(o.Kind, o.Colour) {
				t.Fatalf("novel scene %d holds a %s %s of training", seed, Colours[o.Colour].Name(), Kinds[o.Kind].Name())
			}
		}
	}
}

// TestMasks checks that every object is visible, that masks at two sizes agree, and that a pixel of an object without
// pattern has about the object's colour.
func TestMasks(t *testing.T) {
	shares := 0
	for seed := uint64(0); seed < 60; seed++ {
		s := New(Options{MinObjects: 2}, seed)
		small, large := s.Render(60, 60), s.Render(240, 240)
		pixels := make([]int, len(s.Objects)+1)
		for _, id := range large.Object {
			pixels[id]++
		}
		for i, o := range s.Objects {
			area := 3.14 * o.Radius * o.Radius * 240 * 240
			if float64(pixels[i+1]) < 0.03*area {
				t.Errorf("seed %d: the %s shows %d pixels of a disc of %.0f", seed, Kinds[o.Kind].Name(), pixels[i+1], area)
			}
		}
		for y := 0; y < 60; y++ {
			for x := 0; x < 60; x++ {
				if small.Object[y*60+x] == large.Object[(4*y+2)*240+4*x+2] {
					shares++
				}
			}
		}
	}
	if share := float64(shares) / (60 * 3600); share < 0.97 {
		t.Errorf("masks at 60 and 240 pixels agree on %.3f of the pixels", share)
	}
}

func TestCaptions(t *testing.T) {
	var english, korean []string
	for seed := uint64(0); seed < 400; seed++ {
		s := New(Options{}, seed)
		english = append(english, s.Caption(English, seed))
		korean = append(korean, s.Caption(Korean, seed))
		if again := New(Options{}, seed); again.Caption(English, 3) != s.Caption(English, 3) {
			t.Fatalf("seed %d: caption 3 changes", seed)
		}
	}
	all := strings.Join(english, "\n") + "\n" + strings.Join(korean, "\n")
	for _, kind := range Kinds {
		for _, word := range kind.Words() {
			if !strings.Contains(all, word) {
				t.Errorf("no caption has the word %s", word)
			}
		}
	}
	for _, phrase := range []string{"two ", "to the left of", "above", "striped", " and ", "왼쪽에", "두 개", "줄무늬"} {
		if !strings.Contains(all, phrase) {
			t.Errorf("no caption has %q", phrase)
		}
	}
	for _, wrong := range []string{"a orange", "a umbrella", "an red", "  ", "별가", "나무이", "집와 ", "나무과 ", "there is two"} {
		if strings.Contains(all, wrong) {
			t.Errorf("a caption has %q", wrong)
		}
	}
}

func TestParticles(t *testing.T) {
	for _, test := range []struct{ word, subject, and string }{
		{"별", "별이", "별과"}, {"나무", "나무가", "나무와"}, {"컵", "컵이", "컵과"}, {"cat", "cat가", "cat와"},
	} {
		if got := withParticle(test.word, "이", "가"); got != test.subject {
			t.Errorf("subject of %s is %s, expected %s", test.word, got, test.subject)
		}
		if got := withParticle(test.word, "과", "와"); got != test.and {
			t.Errorf("%s and: %s, expected %s", test.word, got, test.and)
		}
	}
}

func TestSource(t *testing.T) {
	source := NewSource(SourceOptions{First: 7, Count: 5, Width: 32, Height: 24})
	again := NewSource(SourceOptions{First: 7, Count: 5, Width: 32, Height: 24})
	if source.Hash() != again.Hash() || source.Hash() == NewSource(SourceOptions{First: 8, Count: 5}).Hash() {
		t.Error("the hash does not follow from the options")
	}
	keys := map[string]bool{}
	for {
		sample, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		data, err := sample.Read()
		if err != nil {
			t.Fatal(err)
		}
		im, err := imaging.Decode(data, imaging.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if im.Width != 32 || im.Height != 24 || len(sample.Texts) != 3 {
			t.Errorf("%s: %dx%d with %d captions", sample.Key, im.Width, im.Height, len(sample.Texts))
		}
		keys[sample.Key] = true
	}
	if len(keys) != 5 {
		t.Errorf("%d keys, expected 5", len(keys))
	}
}

func TestWriters(t *testing.T) {
	dir := t.TempDir()
	o := SourceOptions{First: 3, Count: 4, Width: 40, Height: 40}
	if err := WriteWebDataset(t.Context(), dir+"/web", o, nil); err != nil {
		t.Fatal(err)
	}
	source, err := caption.Open(dir+"/web/scenes-00000.tar", caption.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for i := 0; i < o.Count; i++ {
		sample, err := source.Next()
		if err != nil {
			t.Fatal(err)
		}
		want := New(o.Options, o.First+uint64(i)).Caption(English, 0)
		if !slices.Contains(sample.Texts, want) {
			t.Errorf("%s has captions %q, expected %q", sample.Key, sample.Texts, want)
		}
	}
	if err := WriteSegmentation(t.Context(), dir+"/set", o, nil); err != nil {
		t.Fatal(err)
	}
	seed := o.First + 2
	mask, err := imaging.OpenMask(dir + "/set/masks/" + sceneKey(seed) + ".png")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Aspect: 1}, seed)
	if want := s.Render(40, 40).Mask(s); !slices.Equal(mask.ID, want.ID) {
		t.Error("the mask read back differs")
	}
}

func TestShadesStayApart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < 50; i++ {
		hue := random.Float64()
		for _, v := range fromHSV(hue, random.Float64(), random.Float64()) {
			if v < 0 || v > 1 {
				t.Fatalf("hue %g gives %g", hue, v)
			}
		}
	}
	seen := map[[32]byte]string{}
	for _, kind := range Kinds {
		s := &Scene{Width: 1, Height: 1, Objects: []Object{{Kind: slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name() == kind.Name() }), X: 0.5, Y: 0.5, Radius: 0.4, patternScale: 1}}}
		sum := sha256.Sum256(s.Render(64, 64).Object)
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s have the same outline", kind.Name(), other)
		}
		seen[sum] = kind.Name()
	}
}

// Objects in unnamed colours keep away from what their kind is never to look like, and neither theirs nor the captions of
// monochrome scenes name a colour.
func TestWithoutColourNames(t *testing.T) {
	words := func(language Language) (all []string) {
		for _, c := range Colours {
			if language == Korean {
				all = append(all, c.Korean...)
			} else {
				all = append(all, c.English...)
			}
		}
		return all
	}
	for _, o := range []Options{{Unnamed: 1}, {Monochrome: 1}} {
		for seed := uint64(0); seed < 300; seed++ {
			s := New(o, seed)
			for _, object := range s.Objects {
				if held := object.Colour != Unnamed && HeldOut(object.Kind, object.Colour); held || (object.Colour == Unnamed) != (o.Unnamed == 1) {
					t.Fatalf("%+v, scene %d: colour %d of kind %d", o, seed, object.Colour, object.Kind)
				}
				for i, c := range Colours {
					if d := distance(object.rgb, c.rgb); o.Unnamed == 1 && HeldOut(object.Kind, i) && d < keepAway {
						t.Fatalf("scene %d: an unnamed colour is only %.2f from %s, which %s never has", seed, d, c.Name(), Kinds[object.Kind].Name())
					}
				}
			}
			for _, language := range []Language{English, Korean} {
				caption := s.Caption(language, seed)
				for _, word := range words(language) {
					if slices.Contains(strings.Fields(caption), word) {
						t.Fatalf("%+v, scene %d: %q names the colour %s", o, seed, caption, word)
					}
				}
			}
		}
	}
}

// A monochrome scene has one hue, and neither black nor white.
func TestMonochrome(t *testing.T) {
	for seed := uint64(0); seed < 20; seed++ {
		s := New(Options{Monochrome: 1}, seed)
		s.noise, s.blur = 0, 0
		p := s.Render(48, 48)
		for i := 0; i < len(p.RGB); i += 3 {
			brightest := 0.0
			for k := range 3 {
				brightest = max(brightest, float64(p.RGB[i+k]))
			}
			if brightest < 0.2*255-1 || brightest > 0.8*255+1 {
				t.Fatalf("scene %d: brightest channel %g", seed, brightest)
			}
			for k := range 3 {
				if math.Abs(float64(p.RGB[i+k])-brightest*s.tint[k]) > 1 {
					t.Fatalf("scene %d: %v is not of the tint %v", seed, p.RGB[i:i+3], s.tint)
				}
			}
		}
	}
}
