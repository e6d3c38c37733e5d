package serve

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/models/builtin"
	"github.com/pacl/pacl/readout"
)

// chromium starts Debian's Chromium, or skips the test where PACL_BROWSER is not set. PACL_BROWSER is 1, or the browser's
// path; pictures of the page go to PACL_SCREENSHOTS where that is set.
func chromium(t *testing.T, language string) context.Context {
	t.Helper()
	path := os.Getenv("PACL_BROWSER")
	if path == "" {
		t.Skip("PACL_BROWSER=1 runs the page in a browser")
	}
	if path == "1" {
		found, err := exec.LookPath("chromium")
		if err != nil {
			t.Fatalf("PACL_BROWSER: %v", err)
		}
		path = found
	}
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options,
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("lang", language), chromedp.Flag("accept-lang", language),
		chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true),
	)
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	tab, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	limited, cancel := context.WithTimeout(tab, 90*time.Second)
	t.Cleanup(cancel)
	// What the page throws or logs as an error fails the test.
	chromedp.ListenTarget(limited, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page threw: %v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError {
				t.Errorf("the page logged: %v", e.Args)
			}
		}
	})
	return limited
}

// on runs steps in the page and names the first that fails.
func on(t *testing.T, ctx context.Context, steps ...chromedp.Action) {
	t.Helper()
	for i, step := range steps {
		if err := chromedp.Run(ctx, step); err != nil {
			var state string
			_ = chromedp.Run(ctx, chromedp.Evaluate(`document.getElementById('notice')?.innerText + ' | ' + document.getElementById('status')?.innerText`, &state))
			t.Fatalf("step %d: %v; the page says %q", i+1, err, state)
		}
	}
}

// until waits for a condition in the page, across the moments in which one page makes room for another.
func until(condition string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		deadline := time.Now().Add(20 * time.Second)
		for {
			var holds bool
			err := chromedp.Evaluate("Boolean("+condition+")", &holds).Do(ctx)
			switch {
			case err == nil && holds:
				return nil
			case ctx.Err() != nil:
				return ctx.Err()
			case time.Now().After(deadline):
				return fmt.Errorf("%s did not become true: %v", condition, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func screenshot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("PACL_SCREENSHOTS")
	if folder == "" {
		return
	}
	var data []byte
	on(t, ctx, chromedp.Sleep(150*time.Millisecond), chromedp.FullScreenshot(&data, 100))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// give hands a file to the page's own input, as the file chooser does.
func give(t *testing.T, photo []byte) chromedp.Action {
	path := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(path, photo, 0o666); err != nil {
		t.Fatal(err)
	}
	return chromedp.SetUploadFiles("#file", []string{path}, chromedp.ByQuery)
}

// click waits until nothing is being worked on and the element keeps its place, since answers that arrive move what lies below
// them, and then clicks it.
func click(selector string) chromedp.Action {
	return chromedp.Tasks{
		until(`document.getElementById('busy').hidden`),
		until(fmt.Sprintf(`(() => {
			const box = document.querySelector(%[1]q).getBoundingClientRect(), place = [%[1]q, box.x, box.y].join();
			const kept = window.placeBefore === place;
			window.placeBefore = place;
			return kept;
		})()`, selector)),
		chromedp.Click(selector, chromedp.ByQuery),
	}
}

func typed(words string) chromedp.Action { return chromedp.SendKeys("#words", words, chromedp.ByQuery) }

const (
	settled  = `document.getElementById('busy').hidden && page.sides[0].answer !== null`
	isReady  = `document.documentElement.dataset.ready === 'true'`
	hasShare = `[...document.querySelectorAll('#legend .number')].map(e => e.textContent).join()`
)

func number(t *testing.T, ctx context.Context, expression string) float64 {
	t.Helper()
	var v float64
	on(t, ctx, chromedp.Evaluate(expression, &v))
	return v
}

func text(t *testing.T, ctx context.Context, expression string) string {
	t.Helper()
	var v string
	on(t, ctx, chromedp.Evaluate(expression, &v))
	return v
}

func TestPageInBrowser(t *testing.T) {
	ctx := chromium(t, "en-US")
	f := launch(t, func(c *Config, _ *colourEngine) { c.Models = append(c.Models, &colourEngine{name: "second"}) })
	on(t, ctx, emulation.SetDeviceMetricsOverride(1280, 900, 1, false), chromedp.Navigate(f.URL), until(isReady))
	if got := text(t, ctx, `document.getElementById('welcome-title').textContent`); got != "Start with a photo" {
		t.Errorf("welcome %q", got)
	}
	screenshot(t, ctx, "desktop-welcome")

	// A photo and words: the overlay and its legend.
	on(t, ctx, give(t, halves(400, 300)), until(`!document.getElementById('work').hidden`), typed("red, blue,"), until(settled),
		until(hasShare+` === '50 %,50 %'`))
	if !strings.Contains(text(t, ctx, `location.hash`), "w=red%2Cblue") {
		t.Errorf("address %q", text(t, ctx, `location.hash`))
	}
	// Another word costs no encoding.
	encoded := f.engine.encoded.Load()
	on(t, ctx, typed("yellow\r"), until(`document.querySelectorAll('#legend li').length === 3`))
	if f.engine.encoded.Load() != encoded {
		t.Error("another word encoded the photo again")
	}

	// A heat map while a word is pointed at: the red half becomes bright.
	pixel := func(x, y int) []float64 {
		var v []float64
		on(t, ctx, chromedp.Evaluate(fmt.Sprintf(`Array.from(document.getElementById('view').getContext('2d').getImageData(%d,%d,1,1).data)`, x, y), &v))
		return v
	}
	plain := pixel(100, 150)
	var box []float64
	on(t, ctx, chromedp.Evaluate(`(() => { const b = document.querySelector('.chip .word').getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()`, &box),
		chromedp.ActionFunc(func(ctx context.Context) error {
			return input.DispatchMouseEvent(input.MouseMoved, box[0], box[1]).Do(ctx)
		}), until(`page.hover !== null`), chromedp.Evaluate(`drawNow()`, nil))
	if hot := pixel(100, 150); fmt.Sprint(hot) == fmt.Sprint(plain) || hot[0] < 200 {
		t.Errorf("under the pointer: %v, before: %v", hot, plain)
	}
	screenshot(t, ctx, "desktop-heat")
	on(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error { return input.DispatchMouseEvent(input.MouseMoved, 3, 3).Do(ctx) }),
		until(`page.hover === null`))

	// Scores at a place.
	on(t, ctx, click("#view"), until(`!document.getElementById('probe').hidden`))
	if n := number(t, ctx, `document.querySelectorAll('#probe-list li').length`); n != 3 {
		t.Errorf("%v scores at the pixel", n)
	}

	// Sliders and undo, by the keyboard.
	slide := func(id string, value int) chromedp.Action {
		return chromedp.Evaluate(fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.value = %d; e.dispatchEvent(new Event('input')); })()`, id, value), nil)
	}
	want := colour(0)
	on(t, ctx, slide("opacity", 100), until(fmt.Sprintf(`(() => { const p = document.getElementById('view').getContext('2d').getImageData(100, 150, 1, 1).data;
		return p[0] === %d && p[1] === %d && p[2] === %d; })()`, want.R, want.G, want.B)))
	on(t, ctx, slide("background", 99), slide("temperature", 20), until(`document.querySelector('#legend li:last-child .name').textContent === 'none'`))
	on(t, ctx, chromedp.KeyEvent("z", chromedp.KeyModifiers(input.ModifierCtrl)), chromedp.KeyEvent("z", chromedp.KeyModifiers(input.ModifierCtrl)),
		until(`page.background === 0 && page.temperature === 0`))
	on(t, ctx, slide("grid", 1), until(settled+` && page.sides[0].answer.grid.columns > 15`))

	// Two models and two lists side by side.
	on(t, ctx, click("#compare"), until(`page.comparing && page.sides[1].answer !== null`))
	if got := text(t, ctx, `page.sides[1].answer.model`); got != "second" {
		t.Errorf("compared with model %q", got)
	}
	on(t, ctx, typed("green\r"), until(`page.sides[1].answer.labels.length === 4 && page.sides[0].answer.labels.length === 3`))
	screenshot(t, ctx, "desktop-compare")
	on(t, ctx, click("#compare"), until(`!page.comparing`))

	// Errors reach the user: an unknown word is crossed out and the others go on; a text is no picture.
	on(t, ctx, typed("aubergine\r"), until(`!document.getElementById('notice').hidden && document.querySelector('.chip.bad') !== null`), until(settled))
	if got := text(t, ctx, `document.getElementById('notice').innerText`); !strings.Contains(got, "aubergine") {
		t.Errorf("notice %q", got)
	}
	on(t, ctx, give(t, []byte("no picture")), until(`document.getElementById('notice').innerText.includes('not a picture')`))
	if n := number(t, ctx, `page.photo.width`); n != 400 {
		t.Errorf("the photo before is gone: %v", n)
	}
	// A word that the model knows takes its place.
	on(t, ctx, typed("blu\r"), until(`document.querySelectorAll('#notice-ways button').length === 2`), click("#notice-ways button"),
		until(`document.getElementById('notice').hidden && !page.sides[0].words.includes('blu')`))
	// A forgotten photo is sent again without a word to the user.
	f.server.pictures.drop(text(t, ctx, `page.photo.id`))
	on(t, ctx, typed("cyan\r"), until(`page.sides[0].answer?.labels.some((l) => l.name === 'cyan')`))

	// Downloads.
	folder := t.TempDir()
	on(t, ctx, browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(folder))
	for format, name := range map[string]string{"png": "photo.mask.png", "overlay": "photo.overlay.png", "json": "photo.json", "coco": "photo.coco.json"} {
		on(t, ctx, click(`[data-format="`+format+`"]`))
		deadline := time.Now().Add(10 * time.Second)
		for {
			data, err := os.ReadFile(filepath.Join(folder, name))
			if err == nil && len(data) > 0 {
				if strings.HasSuffix(name, ".json") && !json.Valid(data) {
					t.Errorf("%s is not JSON", name)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s was not saved: %v", name, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}

	// The address alone brings words and settings back.
	address := text(t, ctx, `location.href`)
	on(t, ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(address), until(isReady))
	if got := text(t, ctx, `page.sides[0].words.join()`); got != "red,blue,yellow,aubergine,cyan" {
		t.Errorf("words after a reload: %q", got)
	}
	if n := number(t, ctx, `page.opacity`); n != 100 {
		t.Errorf("opacity after a reload: %v", n)
	}
}

func TestPageOnPhoneInKorean(t *testing.T) {
	ctx := chromium(t, "ko-KR")
	f := launch(t, func(c *Config, _ *colourEngine) { c.Token = "secret" })
	on(t, ctx, emulation.SetDeviceMetricsOverride(390, 844, 2, true), chromedp.Navigate(f.URL),
		until(`document.getElementById('token-dialog').open`), chromedp.SendKeys("#token", "secret\r", chromedp.ByQuery), until(isReady))
	if got := text(t, ctx, `document.documentElement.lang + document.getElementById('choose').textContent`); got != "ko사진 고르기" {
		t.Errorf("language %q", got)
	}
	screenshot(t, ctx, "phone-welcome")
	if wide := number(t, ctx, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("the page is %v wide", wide)
	}
	// Paste a photo.
	on(t, ctx, chromedp.Evaluate(fmt.Sprintf(`(() => {
		const bytes = Uint8Array.from(atob(%q), (c) => c.charCodeAt(0));
		const data = new DataTransfer();
		data.items.add(new File([bytes], 'pasted.png', { type: 'image/png' }));
		document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
	})()`, base64.StdEncoding.EncodeToString(halves(300, 400))), nil),
		until(`!document.getElementById('work').hidden`), typed("red,blue\r"), until(settled), until(hasShare+` === '50 %,50 %'`))
	if wide := number(t, ctx, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("with a photo the page is %v wide", wide)
	}
	screenshot(t, ctx, "phone-work")
	// The photo stays in sight while the sliders are used.
	on(t, ctx, chromedp.Evaluate(`document.getElementById('grid').scrollIntoView()`, nil),
		until(`scrollY > 300 && document.getElementById('stage').getBoundingClientRect().top >= 0`))
	if got := text(t, ctx, `document.elementFromPoint(195, 100).id`); got != "view" {
		t.Errorf("above the sliders is %q", got)
	}
	on(t, ctx, chromedp.Evaluate(`scrollTo(0, 0)`, nil))
	// The camera, which the browser pretends to have.
	on(t, ctx, click("#new-photo"), click("#camera"),
		until(`document.getElementById('video').videoWidth > 0`), click("#shoot"),
		until(`page.photo?.name === 'camera.jpg'`), until(settled))
}

// TestScoresInBrowser compares the page's read-out with the service's own, pixel by pixel.
func TestScoresInBrowser(t *testing.T) {
	ctx := chromium(t, "en-US")
	f := launch(t, func(_ *Config, e *colourEngine) { e.prior = readout.Prior{Weight: 0.5, Tau: 0.1} })
	on(t, ctx, emulation.SetDeviceMetricsOverride(1000, 800, 1, false), chromedp.Navigate(f.URL+"/#w=red,green,blue,yellow,white&b=40"), until(isReady))
	picture, err := examples()[0].png()
	if err != nil {
		t.Fatal(err)
	}
	on(t, ctx, give(t, picture), until(settled))
	var differ float64
	on(t, ctx, chromedp.Evaluate(`(async () => {
		const s = page.sides[0];
		const r = await (await ask('v1/segment', s, { format: 'gray', options: { background: 0.4, temperature: 1 / logitScale(s) } })).blob();
		const bitmap = await createImageBitmap(r);
		const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext('2d');
		context.drawImage(bitmap, 0, 0);
		const data = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
		const mine = segment(s.answer, bitmap.width, bitmap.height, logitScale(s), 0.4).ids;
		let n = 0;
		for (let i = 0; i < mine.length; i++) if (data[4 * i] !== mine[i]) n++;
		return n / mine.length;
	})()`, &differ, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if differ > 0.001 {
		t.Errorf("%.2f %% of the pixels differ", 100*differ)
	}
}

// TestWholePathInBrowser is what a new user does with the head that comes with pacl and a real photo.
func TestWholePathInBrowser(t *testing.T) {
	ctx := chromium(t, "en-US")
	t.Setenv("PACL_MODELS", testdata.Shared(t, "models"))
	model, err := pacl.Open(context.Background(), pacl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := launch(t, func(c *Config, _ *colourEngine) { c.Models = []Engine{NewEngine(model, "")} })
	photos, err := filepath.Glob(filepath.Join(testdata.Shared(t, "data", "voc2012-mini"), "JPEGImages", "*.jpg"))
	if err != nil || len(photos) == 0 {
		t.Fatalf("no photo: %v", err)
	}
	on(t, ctx, emulation.SetDeviceMetricsOverride(1280, 900, 1, false), chromedp.Navigate(f.URL), until(isReady),
		chromedp.SetUploadFiles("#file", []string{photos[0]}, chromedp.ByQuery), until(`!document.getElementById('work').hidden`),
		typed("person, dog, cat, car,"), until(settled), until(`document.querySelectorAll('#legend li').length >= 4`))
	screenshot(t, ctx, "whole-path")
	// A word that is not in the names table: the service says so, and offers what is near.
	on(t, ctx, typed("dogg\r"), until(`document.querySelectorAll('#notice-ways button').length > 0`))
	screenshot(t, ctx, "whole-path-unknown")
	// An example of the gallery, with the words that it comes with.
	on(t, ctx, click("#new-photo"), until(galleryDrawn),
		click("#gallery li:nth-child(3) button"), until(settled))
}

const galleryDrawn = `document.querySelectorAll('#gallery img').length === 6 && [...document.querySelectorAll('#gallery img')].every((i) => i.complete)`

// TestPicturesOfThePage takes the pictures of the documentation, of a scene of our own and the built-in model, into the
// folder PACL_SCREENSHOTS.
func TestPicturesOfThePage(t *testing.T) {
	if os.Getenv("PACL_SCREENSHOTS") == "" {
		t.Skip("PACL_SCREENSHOTS names the folder for pictures")
	}
	model, err := pacl.Open(context.Background(), pacl.Options{Model: builtin.Name})
	if err != nil {
		t.Fatal(err)
	}
	f := launch(t, func(c *Config, _ *colourEngine) { c.Models = []Engine{NewEngine(model, "")} })
	desktop, phone := emulation.SetDeviceMetricsOverride(1280, 860, 1, false), emulation.SetDeviceMetricsOverride(390, 844, 2, true)
	dark := emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}})
	open := func(ctx context.Context, scene int) {
		t.Helper()
		on(t, ctx, until(galleryDrawn), chromedp.Click(fmt.Sprintf("#gallery li:nth-child(%d) button", scene), chromedp.ByQuery), until(settled),
			// The finest grid, as a user would have it.
			chromedp.Evaluate(`for (const [id, value] of [['grid', 8]]) {
				const e = document.getElementById(id);
				e.value = value;
				e.dispatchEvent(new Event('input'));
			}`, nil), until(settled+` && page.grid > 0 && page.sides[0].answer.grid.columns > 15`))
	}
	press := func(ctx context.Context, x, y float64) {
		t.Helper()
		on(t, ctx, chromedp.Evaluate(fmt.Sprintf(`page.probe = [%g * page.photo.width, %g * page.photo.height]; draw()`, x, y), nil),
			until(`!document.getElementById('probe').hidden`))
	}
	pointAt := func(ctx context.Context, element string) {
		t.Helper()
		var box []float64
		on(t, ctx, chromedp.Evaluate(`(() => { const b = document.querySelector('`+element+`').getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()`, &box),
			chromedp.ActionFunc(func(ctx context.Context) error {
				return input.DispatchMouseEvent(input.MouseMoved, box[0], box[1]).Do(ctx)
			}))
	}

	english := chromium(t, "en-US")
	on(t, english, desktop, chromedp.Navigate(f.URL), until(isReady), until(galleryDrawn))
	screenshot(t, english, "page-welcome")
	open(english, 4)
	press(english, 0.5, 0.5)
	screenshot(t, english, "page-desktop")
	on(t, english, chromedp.Evaluate(`page.probe = null; draw()`, nil))
	pointAt(english, ".chip .word")
	on(t, english, until(`page.hover !== null`))
	screenshot(t, english, "page-heat")
	on(t, english, chromedp.ActionFunc(func(ctx context.Context) error { return input.DispatchMouseEvent(input.MouseMoved, 3, 3).Do(ctx) }),
		until(`page.hover === null`), dark)
	on(t, english, click("#compare"), until(`page.comparing && page.sides[1].answer !== null`), typed("blossom\r"), until(settled))
	screenshot(t, english, "page-compare")

	korean := chromium(t, "ko-KR")
	on(t, korean, phone, emulation.SetTouchEmulationEnabled(true), chromedp.Navigate(f.URL), until(isReady))
	open(korean, 4)
	// The finger that opened the scene is off the page.
	on(t, korean, chromedp.Evaluate(`page.hover = null; draw()`, nil))
	screenshot(t, korean, "page-phone")
	on(t, korean, dark, desktop)
	screenshot(t, korean, "page-korean")
}
