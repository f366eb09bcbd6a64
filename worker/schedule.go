package worker

import (
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// timed is a job that happens by itself.
type timed struct {
	args   river.JobArgs
	period time.Duration
}

// timetable is everything that happens by itself. Each job looks at the state as
// it is, so one that was missed is made good by the next.
func timetable() []timed {
	return []timed{
		{jobs.DeriveImagesArgs{}, 5 * time.Second},
		{jobs.ExpireImagesArgs{}, time.Minute},
		{jobs.ReconcileArgs{}, time.Minute},
		{jobs.ReportUsageArgs{}, time.Minute},
		{jobs.SyncBillingArgs{}, 10 * time.Minute},
		{jobs.WarnKeysArgs{}, 5 * time.Minute}, // of keys that live for an hour, too
		{jobs.LapseKeysArgs{}, 10 * time.Minute},
		{jobs.CheckSpendingArgs{}, 10 * time.Minute},
		{jobs.EraseOrgsArgs{}, time.Hour},
		{jobs.ExpireEventsArgs{}, time.Hour},
		{jobs.ExpireMailsArgs{}, time.Hour},
		{jobs.ExpireSessionsArgs{}, time.Hour},
		{jobs.ExpireRequestsArgs{}, time.Hour},
		{jobs.ExpireBillingArgs{}, time.Hour},
	}
}

// schedule is the timetable for River. The leader of the fleet inserts the jobs; the
// period makes a second leader's insert a duplicate.
func schedule() []*river.PeriodicJob {
	var all []*river.PeriodicJob
	for _, t := range timetable() {
		all = append(all, every(t.period, t.args))
	}
	return all
}

func every(period time.Duration, args river.JobArgs) *river.PeriodicJob {
	return river.NewPeriodicJob(
		river.PeriodicInterval(period),
		func() (river.JobArgs, *river.InsertOpts) {
			return args, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByPeriod: period}}
		},
		&river.PeriodicJobOpts{ID: args.Kind(), RunOnStart: true},
	)
}
