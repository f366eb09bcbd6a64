package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// findUnanswered finds customers who were refused, but for want of credits where
// these may run out, or never told, and operators to whom the same happened.
func findUnanswered(_ context.Context, e *chaosEvidence) ([]string, error) {
	found := slices.Clone(e.undone)
	accepted := 0
	for _, j := range e.jobs {
		accepted += min(len(j.ids), 1)
		switch {
		case j.refused != 0 && (j.refused != http.StatusPaymentRequired || !j.org.finite):
			found = append(found, fmt.Sprintf("%s was refused with %d", j.token, j.refused))
		case len(j.ids) == 0 && j.refused == 0:
			found = append(found, j.token+" was never answered")
		case len(j.ids) > 0 && j.status == "":
			found = append(found, j.ids[0]+" was accepted and its end never told")
		}
	}
	if accepted == 0 {
		found = append(found, fmt.Sprintf("none of %d jobs was accepted", len(e.jobs)))
	}
	return found, nil
}

// findLateRecoveries finds generations of struck workers that were left to lie.
func findLateRecoveries(_ context.Context, e *chaosEvidence) ([]string, error) {
	var found []string
	for _, r := range e.recoveries {
		by := recoverBy(e.strikes, len(e.workers), r.since)
		allowed := by.Sub(r.since).Seconds()
		switch {
		case r.until.IsZero():
			found = append(found, fmt.Sprintf("%s of worker%d was never taken up", r.generation, r.index+1))
		case r.until.After(by):
			found = append(found, fmt.Sprintf("%s of worker%d was taken up after %.1f s, allowed are %.1f", r.generation, r.index+1, r.until.Sub(r.since).Seconds(), allowed))
		}
	}
	slices.SortFunc(found, strings.Compare)
	return found, nil
}

// A chaosComeback is how the service came back after its database had. Zero is
// never.
type chaosComeback struct {
	back          time.Time // the database took connections
	asked, good   time.Time // a customer was asking from then on, and got a 2xx
	worked, ended time.Time // a generation was there from then on, and one ended
}

// findLateComebacks finds returns of the database after which customers or work
// waited on.
func findLateComebacks(_ context.Context, e *chaosEvidence) ([]string, error) {
	var found []string
	for i, c := range e.comebacks {
		for _, f := range []struct {
			what      string
			since, at time.Time
			by        func([]chaosStrike, time.Time) time.Time
		}{
			{"answer", c.asked, c.good, answerBy}, {"end", c.worked, c.ended, endBy},
		} {
			switch {
			case f.since.IsZero(): // nothing was left to do
			case f.at.IsZero():
				found = append(found, fmt.Sprintf("return %d of the database: no %s came", i+1, f.what))
			case f.at.After(f.by(e.strikes, f.since)):
				found = append(found, fmt.Sprintf("return %d of the database: the first %s came after %.1f s, allowed are %.1f",
					i+1, f.what, f.at.Sub(f.since).Seconds(), f.by(e.strikes, f.since).Sub(f.since).Seconds()))
			}
		}
	}
	return found, nil
}
