package simulator

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// photo is a picture whose every pixel tells where it was.
func photo(w, h int) *image.NRGBA {
	im := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			im.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(y), uint8(x + y), 0xff})
		}
	}
	return im
}

// halfMask is opaque on the left and transparent on the right.
func halfMask(w, h int) *image.NRGBA {
	im := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w / 2 {
			im.SetNRGBA(x, y, color.NRGBA{A: 0xff})
		}
	}
	return im
}

func asPNG(t testing.TB, im image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpenAIMaskedEdit(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	ref := photo(1024, 768)
	_, got := edit(t, url, map[string]string{"model": gpt, "prompt": "a hat", "size": "1024x768"},
		file{"image", asPNG(t, ref)}, file{"mask", asPNG(t, halfMask(1024, 768))})
	if len(got.Data) != 1 {
		t.Fatalf("answer is %+v", got)
	}
	im, err := png.Decode(bytes.NewReader(got.Data[0].B64JSON))
	if err != nil {
		t.Fatal(err)
	}
	kept, changed := 0, 0
	for y := range 768 {
		for x := range 1024 {
			same := color.NRGBAModel.Convert(im.At(x, y)) == ref.NRGBAAt(x, y)
			if x < 512 && same {
				kept++
			} else if x >= 512 && !same {
				changed++
			}
		}
	}
	if kept != 512*768 || changed < 512*768*9/10 {
		t.Errorf("kept %d and changed %d of %d pixels each", kept, changed, 512*768)
	}
	if got := got.Usage["input_tokens_details"]; !cmp.Equal(got, map[string]any{"text_tokens": 2.0, "image_tokens": 768.0}) {
		t.Errorf("input tokens are %v", got)
	}
	if r := sim.Requests()[0]; r.Refs != 1 || !r.Mask || r.Path != "/v1/images/edits" {
		t.Errorf("journal shows %+v", r)
	}
}

func TestOpenAIEditShowsReference(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	fields := map[string]string{"model": gpt, "prompt": "a hat"}
	red := image.NewNRGBA(image.Rect(0, 0, 300, 600))
	for i := 0; i < len(red.Pix); i += 4 {
		red.Pix[i], red.Pix[i+3] = 0xff, 0xff
	}
	_, got := edit(t, url, fields, file{"image[]", asPNG(t, red)}, file{"image[]", asPNG(t, photo(16, 16))})
	im, err := png.Decode(bytes.NewReader(got.Data[0].B64JSON))
	if err != nil {
		t.Fatal(err)
	}
	if size := im.Bounds().Size(); size != image.Pt(1024, 1536) || got.Size != "1024x1536" {
		t.Errorf("edit of an upright picture is %v, %s", size, got.Size)
	}
	count := 0
	for y := range 1536 {
		for x := range 1024 {
			if color.NRGBAModel.Convert(im.At(x, y)) == (color.NRGBA{0xff, 0, 0, 0xff}) {
				count++
			}
		}
	}
	if count < 50_000 {
		t.Errorf("%d pixels of the first reference show", count)
	}

	// The same edit in JSON.
	uri := func(data []byte) string {
		return `{"image_url":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(data) + `"}`
	}
	body := images("a hat", `"images":[`+uri(asPNG(t, red))+`,`+uri(asPNG(t, photo(16, 16)))+`]`)
	_, fresh := serve(t, Options{}) // the same one makes no picture twice
	_, b := post(t, fresh+"/v1/images/edits", body, bearer("key-0001"))
	if same := decodeAnswer(t, b); len(same.Data) != 1 || !bytes.Equal(same.Data[0].B64JSON, got.Data[0].B64JSON) {
		t.Error("the edit in JSON gave another picture")
	}
}

func TestOpenAIEditRefusals(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	ref := file{"image", asPNG(t, photo(64, 32))}
	opaque := image.NewNRGBA(image.Rect(0, 0, 64, 32))
	for i := range opaque.Pix {
		opaque.Pix[i] = 0xff
	}
	var gif [26]byte
	copy(gif[:], "GIF89a\x01\x00\x01\x00")
	large := append(asPNG(t, halfMask(64, 32)), make([]byte, 4<<20)...)
	for name, c := range map[string]struct {
		code   string
		fields map[string]string
		files  []file
	}{
		"no image":       {"missing_required_parameter", nil, nil},
		"no image file":  {"invalid_image_file", nil, []file{{"image", []byte("text")}}},
		"GIF":            {"invalid_image_file", nil, []file{{"image", gif[:]}}},
		"cut short":      {"invalid_image_file", nil, []file{{"image", ref.data[:len(ref.data)-40]}}},
		"17 images":      {"array_above_max_length", nil, make17(ref)},
		"mask size":      {"invalid_mask_image_format", nil, []file{ref, {"mask", asPNG(t, halfMask(32, 64))}}},
		"mask opaque":    {"invalid_mask_image_format", nil, []file{ref, {"mask", asPNG(t, opaque)}}},
		"mask no PNG":    {"invalid_mask_image_format", nil, []file{ref, {"mask", []byte("text")}}},
		"mask too large": {"image_too_large", nil, []file{ref, {"mask", large}}},
		"fidelity":       {"invalid_input_fidelity_model", map[string]string{"input_fidelity": "high"}, []file{ref}},
		"unknown":        {"unknown_parameter", map[string]string{"strength": "1"}, []file{ref}},
		"unknown file":   {"unknown_parameter", nil, []file{ref, {"depth", ref.data}}},
		"number":         {"invalid_type", map[string]string{"n": "two"}, []file{ref}},
	} {
		fields := map[string]string{"model": gpt, "prompt": "a"}
		for k, v := range c.fields {
			fields[k] = v
		}
		resp, a := edit(t, url, fields, c.files...)
		if resp.StatusCode != http.StatusBadRequest || a.Error == nil || a.Error.Code != c.code {
			t.Errorf("%s: status %d, error %+v, want %s", name, resp.StatusCode, a.Error, c.code)
		}
	}
	for fields, code := range map[string]string{
		`"images":{}`:                                        "invalid_type",
		`"images":[{}]`:                                      "missing_required_parameter",
		`"images":[{"file_id":"file-1"}]`:                    "file_not_found",
		`"images":[{"image_url":"https://a.test/b"}]`:        "invalid_image_url",
		`"images":[{"image_url":"data:image/png;base64,*"}]`: "invalid_base64",
		`"mask":"m"`:                                         "invalid_type",
	} {
		if _, b := post(t, url+"/v1/images/edits", images("a", fields), bearer("key-0001")); decodeAnswer(t, b).Error.Code != code {
			t.Errorf("%s: %s, want %s", fields, b, code)
		}
	}
	header := bearer("key-0001")
	header["Content-Type"] = "multipart/form-data; boundary=b"
	if resp, b := post(t, url+"/v1/images/edits", "no form", header); resp.StatusCode != 400 {
		t.Errorf("broken form: status %d: %s", resp.StatusCode, b)
	}
	for _, r := range sim.Requests() {
		if r.Paid {
			t.Errorf("refused call is paid for: %+v", r)
		}
	}
}

func make17(f file) []file {
	files := make([]file, 17)
	for i := range files {
		files[i] = file{"image[]", f.data}
	}
	return files
}

// A request without a seed, made again, gets another picture, as of the real one.
func TestOpenAIMakesNoPictureTwice(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	seen := map[string]bool{}
	for range 3 {
		_, got := ask(t, url, "key-0001", images("a banana", `"quality":"low","n":2`))
		for _, d := range got.Data {
			seen[string(d.B64JSON)] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("three requests for two pictures made %d different ones", len(seen))
	}
}
