package worker

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
)

// A key that lives for an hour is warned of in its last 6 minutes.
func TestTimetable_WarnsOfKeysThatLiveForAnHour(t *testing.T) {
	t.Parallel()
	for _, row := range timetable() {
		if row.args.Kind() == (jobs.WarnKeysArgs{}).Kind() {
			if row.period > 6*time.Minute {
				t.Errorf("keys are looked at every %v", row.period)
			}
			return
		}
	}
	t.Error("nobody looks at keys that expire")
}
