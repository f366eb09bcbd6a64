package providers

import "time"

const (
	statsSlots = 6
	statsSlot  = 10 * time.Second
)

// stats counts the calls of the last minute, in slots of ten seconds.
type stats struct {
	slots [statsSlots]struct {
		number            int64 // of the slot since 1970
		calls, ok, failed int
	}
}

func slotNumber(now time.Time) int64 { return now.UnixNano() / int64(statsSlot) }

// count adds a call that ended with a mark, and if it made no image, an error.
func (s *stats) count(now time.Time, m mark, e *Error) {
	n := slotNumber(now)
	slot := &s.slots[n%statsSlots]
	if slot.number != n {
		slot.number, slot.calls, slot.ok, slot.failed = n, 0, 0, 0
	}
	slot.calls++
	switch {
	case m == markHealth && e == nil:
		slot.ok++
	case m == markFailure, m == markAnswer:
		slot.failed++
	}
}

func (s *stats) sum(now time.Time) (calls, ok, failed int) {
	n := slotNumber(now)
	for _, slot := range s.slots {
		if slot.number > n-statsSlots && slot.number <= n {
			calls, ok, failed = calls+slot.calls, ok+slot.ok, failed+slot.failed
		}
	}
	return calls, ok, failed
}
