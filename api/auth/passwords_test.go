package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
)

func TestPasswords(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(auth.PasswordOptions{})
	kept, err := p.Hash(t.Context(), "a few plain words")
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Hash(t.Context(), "a few plain words")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(kept, "$argon2id$v=19$m=19456,t=2,p=1$") || kept == again {
		t.Errorf("kept as %s, and again as %s", kept, again)
	}
	for name, c := range map[string]struct {
		password, kept string
		ok, weak       bool
	}{
		"Right":      {"a few plain words", kept, true, false},
		"RightAgain": {"a few plain words", again, true, false},
		"Wrong":      {"a few plain word", kept, false, false},
		"Empty":      {"", kept, false, false},
		"Nobody":     {"a few plain words", "", false, false},
		"TooLong":    {strings.Repeat("x", 2000), kept, false, false},
		// Made by the reference implementation: argon2 -id -t 2 -k 65536 -p 1.
		"Other": {"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", true, true},
	} {
		ok, weak, err := p.Verify(t.Context(), c.password, c.kept)
		if ok != c.ok || weak != c.weak || err != nil {
			t.Errorf("%s: ok %t, weak %t, %v", name, ok, weak, err)
		}
	}
}

// What is kept may be damaged, or made to be expensive.
func TestPasswords_RefusesWhatIsOutOfBounds(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(auth.PasswordOptions{})
	for _, kept := range []string{
		"secret", "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4000000,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=200,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=2,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=2,p=1x$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$!!!",
	} {
		if ok, _, err := p.Verify(t.Context(), "password", kept); ok || err == nil || strings.Contains(err.Error(), kept) {
			t.Errorf("%s: ok %t, %v", kept, ok, err)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	for password, want := range map[string]error{
		"1234567": auth.ErrPasswordShort, "": auth.ErrPasswordShort, "éééé": nil, strings.Repeat("ab", 512): nil,
		strings.Repeat("ab", 512) + "c": auth.ErrPasswordLong, "password": auth.ErrPasswordCommon, "PassWord123": auth.ErrPasswordCommon,
		"1234567890": auth.ErrPasswordCommon, "zzzzzzzzzz": auth.ErrPasswordCommon, "1234567890\nabcd1234": nil, "a few plain words": nil, "xkcdword": nil,
	} {
		if err := auth.CheckPassword(password); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", password, err, want)
		}
	}
}

// With one slot and room for one more to wait, the third is sent away at once; who
// waits leaves with its context.
func TestPasswords_Busy(t *testing.T) {
	t.Parallel()
	p := auth.NewPasswords(auth.PasswordOptions{Slots: 1, Waiting: 1})
	ctx, leave := context.WithCancelCause(t.Context())
	defer leave(nil)
	var ended sync.WaitGroup
	var mu sync.Mutex
	counts := map[error]int{}
	errGone := errors.New("gone")
	for range 50 {
		ended.Go(func() {
			_, err := p.Hash(ctx, "a few plain words")
			mu.Lock()
			defer mu.Unlock()
			for _, known := range []error{auth.ErrBusy, errGone} {
				if errors.Is(err, known) {
					err = known
				}
			}
			if counts[err]++; errors.Is(err, auth.ErrBusy) && counts[auth.ErrBusy] == 40 {
				leave(errGone)
			}
		})
	}
	ended.Wait()
	if counts[auth.ErrBusy] < 40 || counts[auth.ErrBusy]+counts[errGone]+counts[nil] != 50 {
		t.Errorf("%v", counts)
	}
	if _, err := p.Hash(t.Context(), "a few plain words"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A password of nobody's takes as long to check as one of somebody's.
func TestTiming_NobodyTakesAsLong(t *testing.T) {
	p := auth.NewPasswords(auth.PasswordOptions{Slots: 1})
	kept, err := p.Hash(t.Context(), "a few plain words")
	if err != nil {
		t.Fatal(err)
	}
	var fastest [2]time.Duration
	for range 20 {
		for i, kept := range []string{kept, ""} {
			began := time.Now()
			if ok, _, err := p.Verify(t.Context(), "wrong", kept); ok || err != nil {
				t.Fatal(ok, err)
			}
			if took := time.Since(began); fastest[i] == 0 || took < fastest[i] {
				fastest[i] = took
			}
		}
	}
	if ratio := float64(fastest[0]) / float64(fastest[1]); ratio < 0.85 || ratio > 1.15 {
		t.Errorf("somebody %s, nobody %s", fastest[0], fastest[1])
	}
}

// What was kept with less memory opens the account, and is to be kept anew.
func TestPasswords_OfLessMemory(t *testing.T) {
	t.Parallel()
	cheap := auth.NewPasswords(auth.PasswordOptions{Memory: 192})
	kept, err := cheap.Hash(t.Context(), "a few plain words")
	if err != nil || !strings.HasPrefix(kept, "$argon2id$v=19$m=192,t=2,p=1$") {
		t.Fatalf("kept as %s, %v", kept, err)
	}
	for name, c := range map[string]struct {
		by   *auth.Passwords
		weak bool
	}{"Itself": {cheap, false}, "Service": {auth.NewPasswords(auth.PasswordOptions{}), true}} {
		ok, weak, err := c.by.Verify(t.Context(), "a few plain words", kept)
		if !ok || weak != c.weak || err != nil {
			t.Errorf("%s: ok %t, weak %t, %v", name, ok, weak, err)
		}
	}
}
