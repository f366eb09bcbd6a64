package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFlowSealer(t *testing.T) {
	t.Parallel()
	want := flow{State: "s", Nonce: "n", Verifier: "v", RedirectURL: "u", ReturnTo: "/", ExpiresAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	both, alone := newFlowSealer("of the operator", "of the database"), newFlowSealer("", "of the database")
	for name, sealed := range map[string]string{"Operator": both.seal("corp", want), "Before": alone.seal("corp", want)} {
		got, err := both.open("corp", sealed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if strings.Contains(sealed, "corp") {
			t.Errorf("%s: %s can be read", name, sealed)
		}
	}
	sealed := both.seal("corp", want)
	middle := len(sealed) / 2
	for name, bad := range map[string]string{
		"Empty": "", "Cut": sealed[:middle], "NoBase64": "!", "Touched": sealed[:middle] + flippedChar(sealed[middle]) + sealed[middle+1:],
	} {
		if got, err := both.open("corp", bad); err == nil {
			t.Errorf("%s opens: %+v", name, got)
		}
	}
	if _, err := both.open("other", sealed); err == nil {
		t.Error("it opens for another provider")
	}
	if _, err := alone.open("corp", sealed); err == nil {
		t.Error("it opens without the operator's secret")
	}
}

func flippedChar(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestLocalPath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"/": true, "/console?tab=keys#a": true, "/a//b": true, "/%5cevil.example": true,
		"": false, "console": false, "//evil.example": false, "/\\evil.example": false, "\\\\evil.example": false,
		"https://evil.example": false, "/\t/evil.example": false, "/\n/evil.example": false, "/a b": false, " /a": false,
		"/é": false, "javascript:alert(1)": false, "/" + strings.Repeat("a", 1000): false,
	} {
		if got := LocalPath(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func FuzzFlowSealer(f *testing.F) {
	sealer := newFlowSealer("", "of the database")
	f.Add(sealer.seal("other", flow{State: "s"}), "corp")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, sealed, provider string) {
		if provider == "other" {
			return
		}
		if got, err := sealer.open(provider, sealed); err == nil {
			t.Fatalf("%q opens for %q: %+v", sealed, provider, got)
		}
	})
}
