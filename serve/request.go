package serve

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pacl/pacl"
)

const (
	maxFields     = 64
	maxFieldBytes = 1 << 20
)

// request is what a client asks for, however it was sent.
type request struct {
	Model   string    `json:"model"`
	Image   []byte    `json:"image"`
	ImageID string    `json:"image_id"`
	Labels  labelText `json:"labels"`
	Texts   []string  `json:"texts"`
	Format  string    `json:"format"`
	Options options   `json:"options"`

	fileName string
}

// options of a request; what is left out is the model's own.
type options struct {
	ImageOptions
	Background  float64  `json:"background"`
	Temperature float64  `json:"temperature"`
	Refine      bool     `json:"refine"`
	Opacity     *float64 `json:"opacity"`
	Tolerance   float64  `json:"tolerance"`
	MinArea     int      `json:"min_area"`
}

// labelText is labels as they are typed, "cat, dog|puppy", or a list of such texts.
type labelText string

func (l *labelText) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*l = labelText(text)
		return nil
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return errors.New("labels are neither a text nor a list of texts")
	}
	*l = labelText(strings.Join(list, ","))
	return nil
}

// read takes a request from a body of JSON, of multipart/form-data, or of the photo itself with all else in the query.
func (s *Server) read(r *http.Request, l *loan) (*request, error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, fail(http.StatusUnsupportedMediaType, "content_type",
			"content type %s, expected application/json, multipart/form-data or an image type", quoted(r.Header.Get("Content-Type")))
	}
	// Base64 takes four bytes for three.
	limit := s.config.MaxBytes + s.config.MaxBytes/2 + maxFieldBytes
	if r.ContentLength > limit {
		return nil, fail(statusTooLarge, "too_large", "the request has %d bytes, at most %d are allowed", r.ContentLength, limit)
	}
	req := new(request)
	switch {
	case kind == "application/json":
		err = req.readJSON(r.Body, limit, l)
	case kind == "multipart/form-data":
		err = req.readMultipart(multipart.NewReader(r.Body, parameters["boundary"]), parameters["boundary"], s.config.MaxBytes, l)
	case strings.HasPrefix(kind, "image/") || kind == "application/octet-stream":
		req.Image, err = readAll(r.Body, s.config.MaxBytes, l, "the photo")
	default:
		err = fail(http.StatusUnsupportedMediaType, "content_type",
			"content type %s, expected application/json, multipart/form-data or an image type", quoted(kind))
	}
	if err != nil {
		return nil, err
	}
	if int64(len(req.Image)) > s.config.MaxBytes {
		return nil, fail(statusTooLarge, "too_large", "the photo has %d bytes, at most %d are allowed", len(req.Image), s.config.MaxBytes)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "bad_query", "the query cannot be read: %v", err)
	}
	for name, values := range query {
		for _, value := range values {
			if err := req.set(name, value); err != nil {
				return nil, err
			}
		}
	}
	return req, req.Options.check()
}

func (req *request) readJSON(body io.Reader, limit int64, l *loan) error {
	data, err := readAll(body, limit, l, "the request")
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(req); err != nil {
		return fail(http.StatusBadRequest, "bad_json", "the request is not the JSON that is expected: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fail(http.StatusBadRequest, "bad_json", "the request holds more than one JSON value")
	}
	return nil
}

func (req *request) readMultipart(parts *multipart.Reader, boundary string, limit int64, l *loan) error {
	if boundary == "" {
		return fail(http.StatusBadRequest, "bad_multipart", "multipart/form-data without a boundary")
	}
	for range maxFields {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readError(err, "the form")
		}
		name := part.FormName()
		if name == "image" || name == "file" {
			if req.Image != nil {
				return fail(http.StatusBadRequest, "bad_multipart", "the form holds two photos, expected one")
			}
			req.fileName = part.FileName()
			if req.Image, err = readAll(part, limit, l, "the photo"); err != nil {
				return err
			}
			continue
		}
		value, err := readAll(part, maxFieldBytes, l, "field "+quoted(name))
		if err != nil {
			return err
		}
		if err := req.set(name, string(value)); err != nil {
			return err
		}
	}
	return fail(http.StatusBadRequest, "bad_multipart", "the form has more than %d fields", maxFields)
}

// set takes one field of a form or of the query.
func (req *request) set(name, value string) error {
	var err error
	switch name {
	case "model":
		req.Model = value
	case "image_id":
		req.ImageID = value
	case "labels":
		if req.Labels != "" {
			req.Labels += ","
		}
		req.Labels += labelText(value)
	case "texts":
		req.Texts = append(req.Texts, value)
	case "format":
		req.Format = value
	case "options":
		decoder := json.NewDecoder(strings.NewReader(value))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&req.Options)
	case "size":
		req.Options.Size, err = strconv.Atoi(value)
	case "stride":
		req.Options.Stride, err = strconv.Atoi(value)
	case "window":
		req.Options.Window, err = strconv.Atoi(value)
	case "window_stride":
		req.Options.WindowStride, err = strconv.Atoi(value)
	case "background":
		req.Options.Background, err = strconv.ParseFloat(value, 64)
	case "temperature":
		req.Options.Temperature, err = strconv.ParseFloat(value, 64)
	case "refine":
		req.Options.Refine, err = strconv.ParseBool(value)
	case "opacity":
		req.Options.Opacity = new(float64)
		*req.Options.Opacity, err = strconv.ParseFloat(value, 64)
	case "tolerance":
		req.Options.Tolerance, err = strconv.ParseFloat(value, 64)
	case "min_area":
		req.Options.MinArea, err = strconv.Atoi(value)
	default:
		return fail(http.StatusBadRequest, "unknown_field", "field %s is not known", quoted(name))
	}
	if err != nil {
		return fail(http.StatusBadRequest, "bad_field", "field %s holds %s: %v", name, quoted(value), reason(err))
	}
	return nil
}

// reason is an error without the value and the function that strconv puts before it.
func reason(err error) error {
	var number *strconv.NumError
	if errors.As(err, &number) {
		return number.Err
	}
	return err
}

func (o *options) check() error {
	for _, f := range []struct {
		name        string
		value       float64
		least, most float64
	}{
		{"background", o.Background, 0, 1},
		{"temperature", o.Temperature, 0, 100},
		{"tolerance", o.Tolerance, 0, 100},
		{"opacity", o.opacity(), 0, 1},
		{"min_area", float64(o.MinArea), 0, 1 << 40},
		{"size", float64(o.Size), 0, 1 << 20},
		{"stride", float64(o.Stride), 0, 1 << 20},
		{"window", float64(o.Window), 0, 1 << 20},
		{"window_stride", float64(o.WindowStride), 0, 1 << 20},
	} {
		if math.IsNaN(f.value) || f.value < f.least || f.value > f.most {
			return fail(http.StatusUnprocessableEntity, "bad_option", "option %s is %v, expected %v to %v", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}

func (o *options) opacity() float64 {
	if o.Opacity == nil {
		return 0.6
	}
	return *o.Opacity
}

// labels reads the request's labels within the service's limit.
func (s *Server) labels(req *request) ([]pacl.Label, error) {
	return parseLabels(string(req.Labels), s.config.MaxLabels)
}

func parseLabels(text string, limit int) ([]pacl.Label, error) {
	if n := strings.Count(text, ",") + strings.Count(text, "|") + 1; n > limit {
		return nil, fail(http.StatusUnprocessableEntity, "too_many_labels", "%d labels and synonyms, at most %d are allowed", n, limit)
	}
	labels, err := pacl.ParseLabels(text)
	if err != nil {
		return nil, fail(http.StatusUnprocessableEntity, "bad_labels", "%v", err)
	}
	return labels, nil
}

// model finds the model that a request names, the first where it names none.
func (s *Server) model(name string) (*model, error) {
	if name == "" {
		return s.models[0], nil
	}
	for _, m := range s.models {
		if m.name == name {
			return m, nil
		}
	}
	return nil, fail(statusNotFound, "unknown_model", "model %s is not served, expected one of %s", quoted(name), strings.Join(s.modelNames(), ", "))
}

// checkImage refuses what would cost more than the service allows before anything is decoded.
func (s *Server) checkImage(m *model, width, height int, o *ImageOptions) error {
	d := m.description
	if o.Size == d.Size {
		o.Size = 0 // the same as leaving it out, so that it shares the cached vectors
	}
	if len(d.Strides) > 0 && o.Stride == d.Strides[0] {
		o.Stride = 0
	}
	size, stride := o.Size, o.Stride
	if size == 0 {
		size = d.Size
	}
	if stride == 0 && len(d.Strides) > 0 {
		stride = d.Strides[0]
	}
	if !slices.Contains(d.Strides, stride) {
		return fail(http.StatusUnprocessableEntity, "bad_option", "stride %d, expected one of %v", stride, d.Strides)
	}
	if size < d.Patch || size > s.config.MaxSize {
		return fail(http.StatusUnprocessableEntity, "bad_option", "size %d, expected %d to %d", size, d.Patch, s.config.MaxSize)
	}
	// The largest of the sizes that the photo is looked at decides.
	short := float64(size) * math.Pow(2, float64(max(d.Scales, 1)-1)/2)
	long := float64(max(width, height)) / float64(min(width, height)) * short
	patches := (long/float64(stride) + 1) * (short/float64(stride) + 1)
	if patches > float64(s.config.MaxPatches) {
		return fail(http.StatusUnprocessableEntity, "too_many_patches",
			"a photo of %dx%d at size %d and stride %d has about %.0f patches, at most %d are allowed",
			width, height, size, stride, patches, s.config.MaxPatches)
	}
	return nil
}

// format chooses the format of the answer: the one that is named, or of JSON and PNG what the client would rather accept.
func format(req *request, r *http.Request, known ...string) (string, error) {
	if req.Format != "" {
		if slices.Contains(known, req.Format) {
			return req.Format, nil
		}
		return "", fail(http.StatusUnprocessableEntity, "bad_format", "format %s, expected one of %s", quoted(req.Format), strings.Join(known, ", "))
	}
	best, weight := "json", 0.0
	for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		kind, parameters, err := mime.ParseMediaType(accepted)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(cmp.Or(parameters["q"], "1"), 64)
		if err != nil || q <= weight {
			continue
		}
		switch {
		case kind == "application/json" || kind == "*/*" || kind == "application/*":
			best, weight = "json", q
		case (kind == "image/png" || kind == "image/*") && slices.Contains(known, "png"):
			best, weight = "png", q
		}
	}
	return best, nil
}

// labelKey names a label's vectors.
func labelKey(m *model, label pacl.Label) string {
	return m.name + "\x00" + strings.Join(label.Words, "\x01")
}
