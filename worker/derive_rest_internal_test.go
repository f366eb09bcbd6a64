package worker

import (
	"testing"
	"time"
)

func TestRestAfter(t *testing.T) {
	t.Parallel()
	const took = 30 * time.Millisecond
	if idle := restAfter(took, false); idle != 0 {
		t.Errorf("an idle worker pauses for %s", idle)
	}
	if share := float64(took) / float64(took+restAfter(took, true)); share > 0.2 {
		t.Errorf("a busy worker spends %.0f %% of a processor", 100*share)
	}
	if long := restAfter(10*time.Second, true); long != 2*time.Second {
		t.Errorf("after slow storage it pauses for %s", long)
	}
}
