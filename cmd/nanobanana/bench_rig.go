package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/localpg"
)

// benchRig is a Postgres, a simulator, an API and workers of its own.
type benchRig struct {
	cmd      *benchCmd
	dir      string
	postgres *localpg.Server
	key      string

	live     *store.Live
	liveDone chan struct{}
	stopLive context.CancelFunc

	sim     *benchSim
	api     *child
	workers []*child
}

// startBenchRig starts what every round needs: the database, whose writes are
// as safe as a deployment's, and the simulator.
func startBenchRig(ctx context.Context, cmd *benchCmd, cfg *config) (_ *benchRig, err error) {
	r := &benchRig{cmd: cmd, stopLive: func() {}}
	if r.dir, err = makeRigDir(cmd.Dir, "nanobanana-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	// Ephemeral removes it afterwards; Durable keeps fsync and autovacuum on.
	opts := localpg.Options{Ephemeral: !cmd.Keep, Durable: true, Binaries: cfg.PGBin}
	if cmd.Keep || cmd.Dir != "" {
		opts.Dir = filepath.Join(r.dir, "postgres")
	}
	if r.postgres, err = localpg.Start(ctx, opts); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	sim, err := startChild(ctx, r.dir, "simulator", "simulator listening on ", childEnv(os.Environ()),
		"simulator", "--listen=127.0.0.1:0", "--speed=0",
		"--latency="+cmd.providerTime().String(), "--pool-bytes="+strconv.Itoa(cmd.ImageBytes))
	if err != nil {
		return nil, err
	}
	r.sim = &benchSim{child: sim}
	return r, nil
}

// prepare migrates, makes a key, and begins to listen for ended generations.
func (r *benchRig) prepare(ctx context.Context) error {
	db, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close() // its commits are not the service's
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	plan, err := db.Plan(ctx, store.PlanUnlimited)
	if err != nil {
		return err
	}
	org, err := db.CreateOrg(ctx, "bench", plan.Name, plan.RetentionDays)
	if err != nil {
		return err
	}
	project, err := db.CreateProject(ctx, org.ID, "bench")
	if err != nil {
		return err
	}
	keys, _, err := openKeys(ctx, &config{}, db)
	if err != nil {
		return err
	}
	if r.key, _, err = keys.Create(ctx, nil, auth.NewKey{OrgID: project.OrgID, ProjectID: project.ID, Name: "bench", Kind: store.KeyTest}); err != nil {
		return err
	}
	return r.listen(ctx)
}

// listen returns once news of ended generations arrive.
func (r *benchRig) listen(ctx context.Context) error {
	connected := make(chan struct{}, 1)
	r.live = store.NewLive(store.LiveOptions{URL: r.postgres.URL(), OnKeys: func([]string) {
		select {
		case connected <- struct{}{}:
		default:
		}
	}})
	ctx, r.stopLive = context.WithCancel(ctx)
	r.liveDone = make(chan struct{})
	go func() {
		defer close(r.liveDone)
		r.live.Run(ctx)
	}()
	select {
	case <-connected:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(childStart):
		return errors.New("the database sends no notifications")
	}
}

// open connects to the service's database. What goes over the connection counts
// among its commits, so it is closed while they are counted.
func (r *benchRig) open(ctx context.Context) (*store.DB, error) {
	return store.Open(ctx, r.postgres.URL(), store.Options{Name: "nanobanana bench", MaxConns: 2})
}

// env is what the API and the workers are configured with.
func (r *benchRig) env() []string {
	return childEnv(os.Environ(),
		"DATABASE_URL="+r.postgres.URL(),
		"NANOBANANA_DATA="+filepath.Join(r.dir, "data"),
		"NANOBANANA_SIMULATOR_URL="+r.sim.child.url,
		"NANOBANANA_CONCURRENCY="+strconv.Itoa(r.cmd.InFlight),
		"NANOBANANA_WEBHOOK_LOOPBACK=true", // the receiver is in this process
	)
}

// startAPI returns when the API accepts requests.
func (r *benchRig) startAPI(ctx context.Context) (err error) {
	r.api, err = startChild(ctx, r.dir, "api", "api listening on ", r.env(), "api", "--listen=127.0.0.1:0")
	return err
}

// startWorkers returns when every worker takes jobs.
func (r *benchRig) startWorkers(ctx context.Context) error {
	for i := range r.cmd.Workers {
		w, err := startChild(ctx, r.dir, fmt.Sprintf("worker%d", i+1), "worker ready ", r.env(), "worker")
		if err != nil {
			return err
		}
		r.workers = append(r.workers, w)
	}
	return nil
}

// stopService drains the workers and the API. What they still write, such as the
// completion of the last queue jobs, is written when it returns.
func (r *benchRig) stopService(ctx context.Context) error {
	var errs []error
	for _, w := range r.workers {
		errs = append(errs, w.stop(ctx))
	}
	errs = append(errs, r.api.stop(ctx))
	r.workers, r.api = nil, nil
	return errors.Join(errs...)
}

// explain adds to an error what the processes that have died have to say.
func (r *benchRig) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	children := append([]*child{r.api, r.sim.child}, r.workers...)
	for _, c := range children {
		if c != nil && c.dead() {
			err = errors.Join(err, c.death())
		}
	}
	return err
}

// close ends every process and removes the directory.
func (r *benchRig) close() error {
	errs := []error{r.api.kill()}
	for _, w := range r.workers {
		errs = append(errs, w.kill())
	}
	if r.sim != nil {
		errs = append(errs, r.sim.child.kill())
	}
	r.stopLive()
	if r.liveDone != nil {
		<-r.liveDone
	}
	if r.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), childStop)
		defer cancel()
		errs = append(errs, r.postgres.Stop(ctx))
	}
	if !r.cmd.Keep {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}
