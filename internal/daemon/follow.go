// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// follower follows the configuration file while the program runs, and lets
// everyone who might want to know, know: the log, the metrics, /configz,
// /readyz, and the pod's Events.
type follower struct {
	file     string
	holder   *config.Holder
	log      *slog.Logger
	level    *slog.LevelVar
	registry *prometheus.Registry
	status   *status
	events   *podEvents
}

func newFollower(program string, o options, loaded *config.Config, errOut io.Writer) *follower {
	f := &follower{
		file: o.config, holder: config.NewHolder(loaded), level: new(slog.LevelVar),
		registry: NewRegistry(), status: newStatus(o.config, loaded),
	}
	logging := loaded.Observability.Logging
	f.level.Set(logging.Level)
	f.log = NewLogger(logging.Format, f.level, errOut)
	f.registry.MustRegister(f.status)
	f.events = newPodEvents(program, o.kubeconfig, f.log)
	return f
}

// run follows the file until ctx ends.
func (f *follower) run(ctx context.Context, hangup <-chan os.Signal) {
	reloader := config.NewReloader(f.file, f.holder, f.report)
	reloader.Log = f.log
	var telling sync.WaitGroup
	telling.Go(func() { f.events.run(ctx) })
	defer telling.Wait()
	_ = reloader.Run(ctx, hangup) // It ends with ctx and for no other reason.
}

// report is called after each look at a file that had changed.
func (f *follower) report(outcome config.Outcome) {
	healed := f.status.set(outcome)
	if outcome.Err != nil {
		f.log.Error("configuration refused, the running one stays",
			"config", f.file, "hash", outcome.Config.Hash(), "error", oneLine(outcome.Err))
		f.events.refused(outcome.Err, outcome.Config.Hash())
		return
	}
	// The line is written if either the old or the new level lets it through.
	level := outcome.Config.Observability.Logging.Level
	f.level.Set(min(level, f.level.Level()))
	f.log.Info("configuration reloaded", "config", f.file, "hash", outcome.Config.Hash(), "changes", describe(outcome.Changes))
	f.warn(outcome.Config)
	f.level.Set(level)
	if healed {
		f.events.reloaded(outcome.Config.Hash())
	}
}

// describe tells what has changed, in one line.
func describe(changes []config.Change) string {
	if len(changes) == 0 {
		return "none"
	}
	all := make([]string, len(changes))
	for i, c := range changes {
		all[i] = c.Path + ": " + c.Old + " → " + c.New
	}
	return strings.Join(all, "; ")
}

// oneLine joins the lines of an error, which has one for each fault.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// warn logs what is valid in a configuration, and known not to work.
func (f *follower) warn(c *config.Config) {
	for _, warning := range c.Warnings() {
		f.log.Warn("configuration accepted, and known not to work", "warning", warning.String())
	}
}
