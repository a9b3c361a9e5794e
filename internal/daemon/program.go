// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// Streams are where a program writes.
type Streams struct {
	Out, Err io.Writer
}

// StandardStreams are those of the process.
func StandardStreams() Streams { return Streams{os.Stdout, os.Stderr} }

// Env is what a program starts with.
type Env struct {
	// Config holds the configuration. Take one snapshot for each operation.
	Config *config.Holder
	// Log is the program's logger.
	Log *slog.Logger
	// Kubeconfig is the path that was given, or empty when in a pod.
	Kubeconfig string
	// Registry takes the program's own metrics. It has those of NewRegistry and
	// of the configuration file already.
	Registry *prometheus.Registry
	// Event makes an Event on the pod in which the program runs, of type Warning or
	// Normal, if the environment names that. It never blocks.
	Event func(warning bool, reason, note string)

	status *status
}

// Program describes a daemon.
type Program struct {
	// Name is the name of the binary.
	Name string
	// Purpose completes "NAME ..." in the help text, in one line.
	Purpose string
	// Flags adds the program's own flags. Whatever differs from process to
	// process is a flag; everything else is in the configuration file.
	Flags func(*flag.FlagSet)
	// Commands are what else the program can do, when its first argument is the
	// name of one.
	Commands []Command
	// Run does the work until ctx ends.
	Run func(ctx context.Context, env Env) error
}

// Command is something that a program does instead of its work.
type Command struct {
	Name string
	// Purpose is for the help text of the program, in one line.
	Purpose string
	// Run gets the arguments after the name, and returns the exit code.
	Run func(args []string, streams Streams) int
}

// Main runs the program and returns its exit code: 0, 1 for a failure, of which
// it has told on Err, and 2 for a wrong command line.
func (p Program) Main(args []string, streams Streams) int {
	for _, command := range p.Commands {
		if len(args) > 0 && args[0] == command.Name {
			return command.Run(args[1:], streams)
		}
	}
	options, err := p.parse(args, streams.Err)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case options.version:
		fmt.Fprintln(streams.Out, p.Name, Version())
		return 0
	case options.schema:
		fmt.Fprint(streams.Out, config.JSONSchema())
		return 0
	case options.diff != "":
		if err := printDiff(options.diff, options.config, streams.Out); err != nil {
			fmt.Fprintln(streams.Err, err)
			return 1
		}
		return 0
	}
	if options.validate || options.print {
		// CheckFile tells of faults itself.
		if config.CheckFile(options.config, options.print, streams.Out, streams.Err) != nil {
			return 1
		}
		return 0
	}
	if err := p.run(options, streams); err != nil {
		fmt.Fprintln(streams.Err, err)
		return 1
	}
	return 0
}

func (p Program) run(options options, streams Streams) error {
	// From the beginning, for a hangup would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	loaded, err := config.Load(options.config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f := newFollower(p.Name, options, loaded, streams.Err)
	f.log.Info("starting", "program", p.Name, "version", Version(), "config", options.config, "hash", loaded.Hash())
	f.warn(loaded)
	if err := harden(); err != nil {
		f.log.Warn("the process could not be hardened", "error", err)
	}
	limitMemory(f.log, memlimit.FromCgroup)
	var following sync.WaitGroup
	following.Go(func() { f.run(ctx, hangup) })
	err = p.Run(ctx, Env{
		Config: f.holder, Log: f.log, Kubeconfig: options.kubeconfig,
		Registry: f.registry, Event: f.events.tell, status: f.status,
	})
	stop()
	following.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	f.log.Info("stopped", "program", p.Name)
	return nil
}
