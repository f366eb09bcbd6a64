package webhook_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
)

const (
	operator = "of the operator"
	database = "of the database"
)

func TestKeyring_SealsForOneOwner(t *testing.T) {
	t.Parallel()
	k := webhook.NewKeyring(operator, database)
	sealed := k.Seal(exampleSecret, "proj_1", "whep_1")
	got, err := k.Open(sealed, "proj_1", "whep_1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleSecret, got); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	if bytes.Contains(sealed, []byte("whsec_")) || bytes.Equal(sealed, k.Seal(exampleSecret, "proj_1", "whep_1")) {
		t.Errorf("the secret can be read off %q, or two alike be recognized", sealed)
	}
	for name, owner := range map[string][]string{
		"None":         nil,
		"OtherProject": {"proj_2", "whep_1"},
		"OtherRow":     {"proj_1", "whep_2"},
		"OnePart":      {"proj_1whep_1"},
		"OtherCut":     {"proj_1w", "hep_1"},
		"More":         {"proj_1", "whep_1", ""},
	} {
		if secret, err := k.Open(sealed, owner...); err == nil || errors.Is(err, webhook.ErrSecretChanged) {
			t.Errorf("%s: %q, %v, want another error", name, secret, err)
		}
	}
}

func TestKeyring_OpensNothingThatWasTouched(t *testing.T) {
	t.Parallel()
	k := webhook.NewKeyring(operator, database)
	sealed := k.Seal(exampleSecret, "whep_1")
	for i := range sealed {
		for bit := range 8 {
			touched := bytes.Clone(sealed)
			touched[i] ^= 1 << bit
			if secret, err := k.Open(touched, "whep_1"); err == nil {
				t.Fatalf("with bit %d of byte %d turned it opens: %q", bit, i, secret)
			}
		}
		if secret, err := k.Open(sealed[:i], "whep_1"); err == nil {
			t.Fatalf("cut to %d bytes it opens: %q", i, secret)
		}
	}
	if secret, err := k.Open(append(sealed, 0), "whep_1"); err == nil {
		t.Errorf("with a byte more it opens: %q", secret)
	}
}

func TestKeyring_WhenTheSecretChanges(t *testing.T) {
	t.Parallel()
	var (
		without = webhook.NewKeyring("", database)
		with    = webhook.NewKeyring(operator, database)
	)
	for name, c := range map[string]struct {
		sealer, opener *webhook.Keyring
		want           error
	}{
		"SetLater":        {without, with, nil},
		"Same":            {with, webhook.NewKeyring(operator, database), nil},
		"OperatorsAlone":  {with, webhook.NewKeyring(operator, "of another database"), nil},
		"Removed":         {with, without, webhook.ErrSecretChanged},
		"Changed":         {with, webhook.NewKeyring("of another operator", database), webhook.ErrSecretChanged},
		"OtherDatabase":   {without, webhook.NewKeyring("", "of another database"), webhook.ErrSecretChanged},
		"SameTextSwapped": {webhook.NewKeyring("", operator), with, webhook.ErrSecretChanged},
	} {
		got, err := c.opener.Open(c.sealer.Seal(exampleSecret, "whep_1"), "whep_1")
		if !errors.Is(err, c.want) || (err == nil) != (got == exampleSecret) {
			t.Errorf("%s: %q, %v, want %v", name, got, err, c.want)
		}
	}
}

// inUse returns the example's secret as another implementation of AES-256-GCM
// and HKDF (Node's) sealed it for proj_1 and whep_1.
func inUse(t testing.TB) map[string][]byte {
	t.Helper()
	sealed := map[string][]byte{}
	for name, text := range map[string]string{
		"Operator": "Ad5b6pIAAQIDBAUGBwgJCgskP/snX++u1Q/cqPPH+bctNf3nrnFb9ImVQjikDpUKPzIAlCRClvVW5OhviGBpCFz/2KCVXJM=",
		"Database": "AOObn2kAAQIDBAUGBwgJCgt/N7XIfOsW7rIJ8XexxVu9tfUVl9SicqrcVIcQ3oTv98AiHA5shiGa6+/fF2bURfR3849E4aY=",
	} {
		var err error
		if sealed[name], err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	return sealed
}

// What is in databases must go on opening.
func TestKeyring_OpensWhatIsInUse(t *testing.T) {
	t.Parallel()
	k := webhook.NewKeyring(operator, database)
	for name, sealed := range inUse(t) {
		if got, err := k.Open(sealed, "proj_1", "whep_1"); err != nil || got != exampleSecret {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestKeyring_SaysWhichVersionIsUnknown(t *testing.T) {
	t.Parallel()
	_, err := webhook.NewKeyring("", database).Open([]byte("\x07and something more"), "whep_1")
	if err == nil || !strings.Contains(err.Error(), "version 7 is unknown") {
		t.Errorf("%v, want one that names version 7", err)
	}
}

// The seeds were sealed for an owner of two parts: none of one part opens them.
func FuzzOpen(f *testing.F) {
	k := webhook.NewKeyring(operator, database)
	f.Add([]byte{}, "whep_1")
	f.Add([]byte{0, 1, 2, 3, 4}, "")
	for _, sealed := range inUse(f) {
		f.Add(sealed, "whep_1")
		f.Add(sealed[:33], "proj_1")
		f.Add(sealed, "proj_1\x06whep_1")
	}
	f.Fuzz(func(t *testing.T, sealed []byte, owner string) {
		if secret, err := k.Open(sealed, owner); err == nil {
			t.Fatalf("%x was never sealed for %q, but opens: %q", sealed, owner, secret)
		}
	})
}
