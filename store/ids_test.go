package store

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIDs_AreWellFormedAndSortByTime(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^gen_[0-9a-v]{26}$`)
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = NewGenerationID()
		if !form.MatchString(ids[i]) || !ValidGenerationID(ids[i]) {
			t.Fatalf("id %q is malformed", ids[i])
		}
	}
	seen := slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(seen) != len(ids) {
		t.Errorf("got %d distinct ids, want %d", len(seen), len(ids))
	}
}

func TestImageID_LeadsBackToItsGeneration(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id, index := NewGenerationID(), rapid.IntRange(0, MaxImages-1).Draw(t, "index")
		generation, got, err := GenerationOfImage(ImageID(id, index))
		if err != nil || generation != id || got != index {
			t.Fatalf("image %d of %s leads to %s, %d, %v", index, id, generation, got, err)
		}
	})
}

func TestImageID_SortsByIndex(t *testing.T) {
	t.Parallel()
	ids := imageIDs(NewGenerationID(), MaxImages)
	if !slices.IsSorted(ids) {
		t.Errorf("ids %v are not in order", ids)
	}
}

func TestGenerationOfImage_RefusesWhatIsNoImageID(t *testing.T) {
	t.Parallel()
	good := ImageID(NewGenerationID(), 3)
	for name, id := range map[string]string{
		"empty":             "",
		"other prefix":      "gen_" + strings.TrimPrefix(good, "img_"),
		"short":             good[:len(good)-1],
		"long":              good + "0",
		"upper case":        strings.ToUpper(good),
		"outside alphabet":  good[:len(good)-1] + "z",
		"unused bits set":   good[:len(good)-1] + "v",
		"path":              "img_../../../../../etc/pwd0",
		"many other things": strings.Repeat("img_", 8),
	} {
		if _, _, err := GenerationOfImage(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
}

func TestColumnName(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		"ID": "id", "OrgID": "org_id", "APIKeyID": "api_key_id", "RiverJobID": "river_job_id", "N": "n",
		"SHA256": "sha256", "Last4": "last4", "CreatedAt": "created_at", "ImageErrors": "image_errors",
	} {
		if got := columnName(field); got != want {
			t.Errorf("columnName(%s) = %s, want %s", field, got, want)
		}
	}
}
