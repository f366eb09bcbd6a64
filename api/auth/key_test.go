package auth

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The form that secret scanners are told of.
var scanner = regexp.MustCompile(`\bnb_(live|test|master)_[0-9A-Za-z]{36}\b`)

func TestParseKey_AcceptsWhatNewKeyMakes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 200 {
		for _, kind := range []string{"live", "test", "master"} {
			key := newKey(kind)
			got, err := ParseKey(key)
			if err != nil {
				t.Fatalf("ParseKey(%s): %v", key, err)
			}
			if diff := cmp.Diff(kind, got); diff != "" {
				t.Errorf("kind (-want +got):\n%s", diff)
			}
			if scanner.FindString("x="+key+";") != key || seen[key] {
				t.Errorf("%s is not of the published form, or came twice", key)
			}
			seen[key] = true
		}
	}
}

func TestParseKey_Refuses(t *testing.T) {
	t.Parallel()
	key := newKey("live")
	changed := []byte(key)
	changed[12] ^= 1 // stays one of the 62 or becomes none; the checksum is wrong either way
	for name, bad := range map[string]string{
		"Empty":            "",
		"OtherService":     "sk_live_" + key[8:],
		"OtherKind":        "nb_prod_" + key[8:],
		"NoKind":           "nb_" + key[8:],
		"CutShort":         key[:len(key)-1],
		"TooLong":          key + "a",
		"OneLetterChanged": string(changed),
		"KindSwapped":      "nb_test_" + key[8:],
		"Space":            key[:20] + " " + key[21:],
		"NotASCII":         key[:20] + "é" + key[22:],
		"Cases":            strings.ToUpper(key),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind, err := ParseKey(bad)
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("ParseKey(%q) = %q, %v, want ErrMalformed", bad, kind, err)
			}
			if len(bad) > 8 && strings.Contains(err.Error(), bad[8:]) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestChecksum_IsFixed(t *testing.T) {
	t.Parallel()
	sum := checksum("nb_live_0123456789ABCDEFGHIJKLMNOPQRST")
	// CRC-32 of that text is 0x645E3879.
	if diff := cmp.Diff("1pxSO1", string(sum[:])); diff != "" {
		t.Errorf("keys in use would be refused (-want +got):\n%s", diff)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(newKey("live"))
	f.Add(newKey("test")[:40])
	f.Add("nb_live_")
	f.Add("nb__")
	f.Fuzz(func(t *testing.T, text string) {
		kind, err := ParseKey(text)
		if (err == nil) != (kind != "") {
			t.Fatalf("ParseKey(%q) = %q, %v", text, kind, err)
		}
		if err == nil && scanner.FindString(text) != text {
			t.Fatalf("ParseKey took %q, which is not of the published form", text)
		}
	})
}
