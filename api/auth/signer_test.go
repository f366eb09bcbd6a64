package auth_test

import (
	"testing"

	"github.com/nanobanana/nanobanana/api/auth"
)

func TestSigner(t *testing.T) {
	t.Parallel()
	old := auth.NewSigner("", "database")
	s := auth.NewSigner("operator", "database")
	sig := s.Sign("img_1")
	if len(sig) != 22 {
		t.Errorf("signature %q has %d characters, want 22", sig, len(sig))
	}
	for name, c := range map[string]struct {
		id, sig string
		want    bool
	}{
		"Own":           {"img_1", sig, true},
		"OfOldSecret":   {"img_1", old.Sign("img_1"), true},
		"OfOtherImage":  {"img_2", sig, false},
		"OfOtherSecret": {"img_1", auth.NewSigner("", "other").Sign("img_1"), false},
		"CutShort":      {"img_1", sig[:21], false},
		"Empty":         {"img_1", "", false},
	} {
		if got := s.Verify(c.id, c.sig); got != c.want {
			t.Errorf("%s: Verify = %v, want %v", name, got, c.want)
		}
	}
	stream := s.SignEvents("gen_1")
	for name, valid := range map[string]bool{
		"Own": s.VerifyEvents("gen_1", stream), "OfOldSecret": s.VerifyEvents("gen_1", old.SignEvents("gen_1")),
	} {
		if !valid {
			t.Errorf("%s: the stream's signature is refused", name)
		}
	}
	for name, valid := range map[string]bool{
		"OfOtherStream": s.VerifyEvents("gen_2", stream), "OfImage": s.VerifyEvents("img_1", sig), "AsImage": s.Verify("gen_1", stream),
	} {
		if valid {
			t.Errorf("%s: the signature is valid", name)
		}
	}
	if old.Verify("img_1", sig) {
		t.Error("a signature of a secret that is gone is still valid")
	}
}
