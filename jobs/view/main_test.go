package view_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const base = "https://images.example.com"

// noon is when the generation of sample was accepted.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.FixedZone("", 3600))

func after(d time.Duration) *time.Time {
	t := noon.Add(d)
	return &t
}

func ptr[T any](v T) *T { return &v }

func newViewer() *view.Viewer {
	return view.New(view.Options{
		SignImage:     func(id string) string { return "signed-" + id[len(id)-1:] },
		SignEvents:    func(id string) string { return "events-" + id[:3] },
		LiveProviders: []string{"gemini"},
		Now:           func() time.Time { return *after(5 * time.Second) },
	})
}

// sample is a generation of three images of which one was made and kept, one has
// been deleted, and one was refused; a first call failed.
func sample() (*store.Generation, []*store.Image, []*store.Attempt) {
	const id = "gen_06p1cc7lq0u72v8g0000000000"
	g := &store.Generation{
		ID: id, OrgID: "org_1", ProjectID: "proj_1", APIKeyID: "key_1", Kind: store.KindGenerate, Status: store.StatusSucceeded,
		Model: "gemini-2.5-flash-image", ModelUsed: "banana", Prompt: `a <banana> & "friends"`,
		Params: store.Params{Size: "1024x1024", AspectRatio: "1:1", Resolution: "1K", Style: "vivid", Seed: ptr(int32(7)), NegativePrompt: "apples"},
		N:      3, Metadata: map[string]string{"order": "17"}, Tags: []string{"fruit"},
		Fence: 2, Tries: 1, Attempts: 4, Worker: ptr("w"), RiverJobID: ptr(int64(5)), Queue: store.QueueBatch,
		Credits: ptr(12), Charged: ptr(5), CreditMicros: ptr(14_500), CreditPeriod: after(-12 * time.Hour),
		ImageErrors: []store.ImageError{{Index: 2, Error: store.GenerationError{
			Code: "content_moderated", Message: "it was refused", Provider: "gemini", Reason: "IMAGE_SAFETY", Stage: "output"}}},
		CreatedAt: noon, StartedAt: after(time.Second), FinishedAt: after(4 * time.Second), DeadlineAt: *after(time.Hour),
	}
	image := func(index int) *store.Image {
		return &store.Image{
			ID: store.ImageID(id, index), GenerationID: id, ProjectID: "proj_1", Idx: index, MediaType: "image/png", Bytes: 1234,
			Width: 1024, Height: 1024, SHA256: []byte{0xca, 0xfe}, CreatedAt: *after(4 * time.Second), ExpiresAt: after(time.Duration(index+1) * 24 * time.Hour),
		}
	}
	kept, deleted := image(1), image(0)
	kept.Credits = ptr(1) // a cheaper model's
	kept.Thumbhash, kept.OriginalType, kept.OriginalBytes, kept.OriginalSHA256 = []byte("hash"), ptr("image/jpeg"), ptr(int64(99)), []byte{0xbe}
	deleted.DeletedAt = after(5 * time.Second)
	call := func(n, index int, outcome string, from, to time.Duration) *store.Attempt {
		return &store.Attempt{
			GenerationID: id, N: n, Fence: 1, ImageIndex: index, Route: "main", Provider: ptr("gemini"), Model: "gemini-nano-banana-2.1",
			StartedAt: *after(from), FinishedAt: after(to), Outcome: &outcome,
		}
	}
	failed := call(1, 0, "unavailable", time.Second, 1500*time.Millisecond)
	failed.Code, failed.Provider = ptr("http_503"), nil
	paid := call(2, 1, store.AttemptSucceeded, 1500*time.Millisecond, 3*time.Second)
	paid.PromptTokens, paid.ImageTokens, paid.TextTokens, paid.CostMicros = ptr(23), ptr(1120), ptr(5), ptr(int64(33_673))
	refused := call(3, 2, "blocked", 1500*time.Millisecond, 2*time.Second)
	return g, []*store.Image{deleted, kept}, []*store.Attempt{failed, paid, refused}
}
