package main

import (
	"testing"
	"time"
)

// struck is a strike between two seconds after a moment.
func struck(moment time.Time, blow chaosBlow, role string, index int, from, to float64) chaosStrike {
	at := func(s float64) time.Time { return moment.Add(time.Duration(s * float64(time.Second))) }
	return chaosStrike{chaosEvent{blow: blow, role: role, index: index}, at(from), at(to)}
}

func TestRecoverBy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	worker := func(index int, from, to float64) chaosStrike {
		return struck(now, blowKill, roleWorker, index, from, to)
	}
	for name, tt := range map[string]struct {
		workers int
		strikes []chaosStrike
		want    float64
	}{
		"Undisturbed":            {3, nil, 8},
		"OthersWereStruckBefore": {3, []chaosStrike{worker(1, -3, 4)}, 8},
		"AnAPIIsStruck":          {3, []chaosStrike{struck(now, blowKill, roleAPI, 0, 1, 4)}, 8},
		"TheUpstreamFails":       {3, []chaosStrike{struck(now, blowUpstream, "", 0, 1, 4)}, 8},
		"DatabaseAwayBefore":     {3, []chaosStrike{struck(now, blowCrash, "", 0, -3, -1)}, 8},
		"DatabaseAway":           {3, []chaosStrike{struck(now, blowCrash, "", 0, 4, 5)}, 13},
		"DatabaseAwayAfterwards": {3, []chaosStrike{struck(now, blowRestart, "", 0, 8.5, 9)}, 8},
		"AwayTwice":              {3, []chaosStrike{struck(now, blowCrash, "", 0, 4, 5), struck(now, blowRestart, "", 0, 12, 14)}, 22},
		"AnotherIsStruck":        {3, []chaosStrike{worker(1, 6, 9)}, 14},
		"ItIsStruckAgain":        {3, []chaosStrike{worker(0, 6, 9)}, 14},
		"NobodyElse":             {1, nil, 11},
		"NobodyElseIsWell":       {2, []chaosStrike{worker(1, -1, 2)}, 10},
	} {
		strikes := append([]chaosStrike{worker(0, -0.1, 3)}, tt.strikes...)
		if got := recoverBy(strikes, tt.workers, now).Sub(now).Seconds(); got != tt.want {
			t.Errorf("%s: within %v s, want %v", name, got, tt.want)
		}
	}
}

func TestAnswerByAndEndBy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tt := range map[string]struct {
		strike      chaosStrike
		answer, end float64
	}{
		"ItsOwnOutage": {struck(now, blowCrash, "", 0, -2, 0), 10, 10},
		"AnotherOne":   {struck(now, blowCrash, "", 0, 3, 4), 14, 14},
		"API":          {struck(now, blowFreeze, roleAPI, 0, 3, 4), 14, 10},
		"Worker":       {struck(now, blowFreeze, roleWorker, 0, -3, 4), 10, 14},
		"Upstream":     {struck(now, blowUpstream, "", 0, -3, -1), 10, 24},
	} {
		strikes := []chaosStrike{tt.strike}
		if got := answerBy(strikes, now).Sub(now).Seconds(); got != tt.answer {
			t.Errorf("%s: an answer within %v s, want %v", name, got, tt.answer)
		}
		if got := endBy(strikes, now).Sub(now).Seconds(); got != tt.end {
			t.Errorf("%s: an end within %v s, want %v", name, got, tt.end)
		}
	}
}
