// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cluster"
)

// catchSignals returns the signals that would end this process from now on.
func catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	return signals
}

// start brings up a cluster, unless a signal or the time limit comes first. It
// also returns how long that took.
func start(signals <-chan os.Signal, flags *clusterFlags, progress io.Writer) (*cluster.Cluster, time.Duration, error) {
	options, err := flags.options(progress)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	started := make(chan struct{})
	defer close(started)
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("stopped by signal (%v)", s))
		case <-time.After(startTimeout):
			cancel(fmt.Errorf("not ready after %v", startTimeout))
		case <-started:
		}
	}()
	begin := time.Now()
	c, err := cluster.Start(ctx, options)
	return c, time.Since(begin), err
}
