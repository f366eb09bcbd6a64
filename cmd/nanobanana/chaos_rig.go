package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/store/localpg"
)

// chaosConcurrency is how many generations a worker runs at the same time.
const chaosConcurrency = 20

// chaosPrefix begins the name of each run's directory.
const chaosPrefix = "nanobanana-chaos-"

// Keys of the live routes, by which faults find them.
const (
	chaosGemini  = "gemini"
	chaosGemini2 = "gemini-2"
	chaosOpenAI  = "openai"
)

// chaosRig is a service of its own: Postgres, a simulator, APIs and workers, and
// the server of its customers.
type chaosRig struct {
	cmd      *chaosCmd
	dir      string
	unlock   func() error // of dir, while this process works in it
	postgres *localpg.Server
	db       *store.DB
	orgs     []*chaosOrg
	sim      *child
	receiver *chaosReceiver
	apis     []*chaosMember
	workers  []*chaosMember
}

// startChaosRig starts everything. The database writes as safely as a
// deployment's: a crash of it must lose nothing.
func startChaosRig(ctx context.Context, cmd *chaosCmd, cfg *config) (_ *chaosRig, err error) {
	r := &chaosRig{cmd: cmd}
	if r.dir, err = makeRigDir(cmd.Dir, chaosPrefix); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close(), r.discard())
		}
	}()
	if r.unlock, err = lockDir(r.dir); err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	sweepRigs(filepath.Dir(r.dir), time.Now())
	opts := localpg.Options{Ephemeral: true, Durable: true, Binaries: cfg.PGBin}
	if cmd.Dir != "" {
		opts.Dir = filepath.Join(r.dir, "postgres")
	}
	if r.postgres, err = localpg.Start(ctx, opts); err != nil {
		return nil, err
	}
	if r.db, err = store.Open(ctx, r.postgres.URL(), store.Options{Name: "nanobanana chaos", MaxConns: 6}); err != nil {
		return nil, err
	}
	if _, err := r.db.Migrate(ctx); err != nil {
		return nil, err
	}
	if err := r.createOrgs(ctx); err != nil {
		return nil, err
	}
	r.sim, err = startChild(ctx, r.dir, "simulator", "simulator listening on ", childEnv(os.Environ()),
		"simulator", "--listen=127.0.0.1:0", "--latency=1500ms", "--pool-bytes=20000")
	if err != nil {
		return nil, err
	}
	if r.receiver, err = startChaosReceiver(ctx, cmd); err != nil {
		return nil, err
	}
	if err := r.startFleet(ctx); err != nil {
		return nil, err
	}
	return r, r.subscribe(ctx)
}

// env configures the APIs and workers: every provider is the simulator, under
// another key.
func (r *chaosRig) env() []string {
	return childEnv(os.Environ(),
		"DATABASE_URL="+r.postgres.URL(),
		"NANOBANANA_DATA="+filepath.Join(r.dir, "data"),
		fmt.Sprintf("NANOBANANA_CONCURRENCY=%d", chaosConcurrency),
		"NANOBANANA_SIMULATOR_URL="+r.sim.url,
		"GEMINI_API_KEY="+chaosGemini,
		"NANOBANANA_GEMINI_2_API_KEY="+chaosGemini2,
		"OPENAI_API_KEY="+chaosOpenAI,
		"NANOBANANA_OPENAI_URL="+r.sim.url,
		"NANOBANANA_GEMINI_URL="+r.sim.url,
		"NANOBANANA_WEBHOOK_LOOPBACK=true",
	)
}

// startFleet starts the APIs and workers at the same time.
func (r *chaosRig) startFleet(ctx context.Context) error {
	for i := range r.cmd.APIs {
		r.apis = append(r.apis, &chaosMember{rig: r, role: roleAPI, index: i})
	}
	for i := range r.cmd.Workers {
		r.workers = append(r.workers, &chaosMember{rig: r, role: roleWorker, index: i})
	}
	errs := make([]error, len(r.members()))
	var wg sync.WaitGroup
	for i, m := range r.members() {
		wg.Go(func() { errs[i] = m.start(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// members are all processes that can be hurt.
func (r *chaosRig) members() []*chaosMember {
	return append(append([]*chaosMember{}, r.apis...), r.workers...)
}

// member is the one that an event is about.
func (r *chaosRig) member(e chaosEvent) *chaosMember {
	if e.role == roleAPI {
		return r.apis[e.index]
	}
	return r.workers[e.index]
}

// openImages opens the directory the workers store images in.
func (r *chaosRig) openImages() (*blobs.Dir, error) {
	return blobs.OpenDir(filepath.Join(r.dir, "data", "images"))
}

// close ends every process.
func (r *chaosRig) close() error {
	var errs []error
	for _, m := range r.members() {
		errs = append(errs, m.close())
	}
	errs = append(errs, r.sim.kill(), r.receiver.close())
	if r.db != nil {
		r.db.Close()
	}
	if r.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), childStop)
		defer cancel()
		errs = append(errs, r.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

// discard removes the logs and images.
func (r *chaosRig) discard() error {
	err := os.RemoveAll(r.dir)
	if r.unlock != nil {
		err = errors.Join(err, r.unlock())
	}
	return err
}

// keep leaves the logs and images for good.
func (r *chaosRig) keep() error {
	return errors.Join(os.Remove(filepath.Join(r.dir, lockFile)), r.unlock())
}

// sweepRigs removes the directories that runs of dead processes left in parent:
// those with a lock that nobody holds. What can not be removed stays. A fresh one
// may not hold its lock yet.
func sweepRigs(parent string, now time.Time) {
	const fresh = time.Minute
	dirs, _ := filepath.Glob(filepath.Join(parent, chaosPrefix+"*")) // the pattern is valid
	for _, dir := range dirs {
		info, err := os.Stat(filepath.Join(dir, lockFile))
		if err != nil || now.Sub(info.ModTime()) < fresh {
			continue
		}
		if unlock, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = unlock()
		}
	}
}
