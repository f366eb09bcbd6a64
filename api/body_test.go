package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// repeat returns n copies of a text with their numbers, joined by commas.
func repeat(n int, format string) string {
	var text strings.Builder
	for i := range n {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, format, i)
	}
	return text.String()
}

// A body of a megabyte must not buy more work or a longer answer than others.
func TestTiming_HugeBodiesCostLittle(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	empty := `"",` + strings.Repeat(`"",`, 299_998) + `""`
	for name, c := range map[string]struct {
		body  string
		param string
	}{
		"UnknownFields":  {`{"prompt":"x",` + repeat(80_000, `"f%d":0`) + `}`, ""},
		"EmptyTags":      {`{"prompt":"x","tags":[` + empty + `]}`, "tags"},
		"Pairs":          {`{"prompt":"x","metadata":{` + repeat(60_000, `"k%d":1`) + `}}`, "metadata"},
		"Nested":         {`{"prompt":"x","tags":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "tags"},
		"LongName":       {`{"prompt":"x","` + strings.Repeat("n", 900_000) + `":1}`, strings.Repeat("n", 100) + "…"},
		"LongNumber":     {`{"prompt":"x","n":` + strings.Repeat("9", 100) + `}`, "n"},
		"ManyUnknown":    {`{"prompt":"x",` + repeat(900, `"f%d":0`) + `}`, "f"},
		"NamesLikeOurs":  {`{"prompt":"x",` + repeat(900, `"prompt%d":0`) + `}`, "prompt"},
		"ManyTags":       {`{"prompt":"x","tags":[` + strings.Repeat(`"",`, 900) + `""]}`, "tags"},
		"ManyOtherCases": {`{"prompt":"x",` + repeat(900, `"PROMPT%d":0`) + `}`, "PROMPT"},
	} {
		var took time.Duration
		const most = 400 * time.Millisecond                                // a tenth of it unless races are looked for
		for tries := 0; tries == 0 || took > most && tries < 20; tries++ { // others use the machine too
			r := httptest.NewRequest("POST", "/v1/generations", strings.NewReader(c.body))
			r.Header.Set("Authorization", "Bearer "+b.live)
			w := httptest.NewRecorder()
			start := time.Now()
			b.handler.ServeHTTP(w, r)
			if once := time.Since(start); took == 0 || once < took {
				took = once
			}
			if w.Code != 422 || w.Body.Len() > 16_000 || !strings.Contains(w.Body.String(), `"param":"`+c.param) {
				t.Errorf("%s: %d with %d bytes: %.300s", name, w.Code, w.Body.Len(), w.Body)
			}
		}
		if took > most {
			t.Errorf("%s: %s", name, took)
		}
		t.Logf("%s: %s", name, took)
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	// Each is one letter or digit away from a name: whichever come first, as a map
	// has it, the same is said of them.
	var names []string
	for _, c := range "0123456789abcdefghijklmnopqrstuvwxyz" {
		names = append(names, fmt.Sprintf(`"pro%cmpt":0`, c), fmt.Sprintf(`"prompt%c":0`, c))
	}
	a := b.do(b.live, "POST", "/v1/generations", `{"prompt":"x",`+strings.Join(names[:60], ",")+`}`)
	faults := a.json["errors"].([]any)
	want := map[string]any{"param": "", "code": "invalid", "message": "and 10 more"}
	if diff := cmp.Diff(want, faults[len(faults)-1]); diff != "" || len(faults) != 51 {
		t.Errorf("%d faults, the last (-want +got):\n%s", len(faults), diff)
	}
	told := 0
	for _, f := range faults {
		if strings.Contains(f.(map[string]any)["message"].(string), "did you mean prompt?") {
			told++
		}
	}
	if told != 5 {
		t.Errorf("%d are told what was meant, want 5", told)
	}
	if detail := a.json["detail"].(string); len(detail) > 2100 || !strings.HasSuffix(detail, " more") {
		t.Errorf("detail: %s", detail)
	}
}

func TestBodyBreaksOff(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	b.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /v1/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+b.live+"\r\nContent-Length: 50\r\n\r\n"+`{"prompt":"a ban`)
	b.must(err)
	b.must(conn.(*net.TCPConn).CloseWrite())
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	b.must(err)
	body, err := io.ReadAll(resp.Body)
	b.must(err)
	if resp.StatusCode != 400 || !strings.Contains(string(body), `"code":"invalid_request"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	b.eventually("the request is logged", func() bool { return strings.Contains(b.log.String(), `"status":400`) })
	if strings.Contains(b.log.String(), "ERROR") {
		t.Errorf("the log counts it as ours: %s", b.log)
	}
}

// What decoding would change or drop unseen is refused, and nothing else.
func TestBodyIsTakenAtItsWord(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		says   string
	}{
		"NotUTF8":             {"{\"prompt\":\"a\xffb\"}", 400, "invalid_json", "UTF-8 from byte 12"},
		"Latin1Name":          {"{\"prompt\":\"x\",\"caf\xe9\":1}", 400, "invalid_json", "UTF-8"},
		"LoneHighSurrogate":   {`{"prompt":"a\ud800b"}`, 400, "invalid_json", `\ud800`},
		"LoneLowSurrogate":    {`{"prompt":"a\uDC00b"}`, 400, "invalid_json", `\uDC00`},
		"SurrogatesSwapped":   {`{"prompt":"\udf4c\ud83c"}`, 400, "invalid_json", `\udf4c`},
		"HighBeforeLetter":    {`{"prompt":"\ud83c\u0041"}`, 400, "invalid_json", `\ud83c`},
		"SurrogateInName":     {`{"prompt":"x","metadata":{"\ud800":"1"}}`, 400, "invalid_json", `\ud800`},
		"Pair":                {`{"prompt":"\ud83c\udf4c"}`, 202, "", "🍌"},
		"EscapedBackslash":    {`{"prompt":"\\ud800"}`, 202, "", `\\ud800`},
		"Twice":               {`{"prompt":"x","prompt":"y"}`, 400, "invalid_json", `\"prompt\" twice`},
		"TwiceEscaped":        {`{"prompt":"x","\u0070rompt":"y"}`, 400, "invalid_json", `\"prompt\" twice`},
		"PairTwice":           {`{"prompt":"x","metadata":{"a":"1","a":"2"}}`, 400, "invalid_json", `\"a\" twice`},
		"SameTextElsewhere":   {`{"prompt":"prompt","metadata":{"prompt":"prompt"},"tags":["a","b"]}`, 202, "", ""},
		"UpperCase":           {`{"PROMPT":"y"}`, 422, "validation_failed", "did you mean prompt?"},
		"BothCases":           {`{"prompt":"x","Prompt":"y"}`, 422, "validation_failed", "Prompt is not a parameter of this request; did you mean prompt?"},
		"EmptyName":           {`{"prompt":"x","":1}`, 422, "validation_failed", "an empty name is not a parameter"},
		"NumberAsPrompt":      {`{"prompt":5,"n":1}`, 422, "validation_failed", "prompt must be a string"},
		"NumberBesideAnother": {`{"prompt":5,"Prompt":"x"}`, 422, "validation_failed", "prompt must be a string"},
		"WholeAsFraction":     {`{"prompt":"x","n":1.0}`, 422, "validation_failed", "n must be a whole number written without fraction"},
		"HugeNumber":          {`{"prompt":"x","n":1e400}`, 400, "invalid_json", "number 1e400 is out of range"},
	} {
		a := b.do(b.live, "POST", "/v1/generations", c.body)
		if a.status != c.status || a.code() != c.code || !strings.Contains(a.body, c.says) || strings.Contains(a.body, "Go value") {
			t.Errorf("%s: %d %s, want %d %s that says %q", name, a.status, a.body, c.status, c.code, c.says)
		}
	}
}
