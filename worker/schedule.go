package worker

import (
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
)

// schedule is everything that happens by itself. Each job looks at the state as
// it is, so one that was missed is made good by the next. The leader of the
// fleet inserts them; the period makes a second leader's insert a duplicate.
func schedule() []*river.PeriodicJob {
	return []*river.PeriodicJob{
		every(5*time.Second, jobs.DeriveImagesArgs{}),
		every(time.Minute, jobs.ExpireImagesArgs{}),
		every(time.Minute, jobs.ReconcileArgs{}),
		every(10*time.Minute, jobs.LapseKeysArgs{}),
		every(time.Hour, jobs.ExpireEventsArgs{}),
		every(time.Hour, jobs.ExpireMailsArgs{}),
		every(5*time.Minute, jobs.WarnKeysArgs{}),
		every(time.Hour, jobs.ExpireSessionsArgs{}),
	}
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
