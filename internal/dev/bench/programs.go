// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// starting is the most time that a program has for its start.
const starting = 30 * time.Second

func (b *bench) startDriver() (err error) {
	b.driver, err = testkit.StartProgram("bin", b.dir, "csi-driver-spiffe", b.access.Driver, "--node-name", b.name, "--csi-socket", b.path("csi.sock"))
	return err
}

func (b *bench) startApprover() (err error) {
	b.approver, err = testkit.StartProgram("bin", b.dir, "csi-driver-spiffe-approver", b.access.Approver, "--identity", "bench", "--namespace", testkit.InstallNamespace)
	return err
}

// startBare starts a process of internal/dev/bench/bare with the rights of a daemon.
func (b *bench) startBare(access *rest.Config, args ...string) (*testkit.Program, error) {
	return testkit.StartProgram("bin", b.dir, "bench-bare", access, args...)
}

// stopDriver stops the driver if it runs; its volumes stay.
func (b *bench) stopDriver() error { return stop(&b.driver) }

// stopApprover stops the approver if it runs.
func (b *bench) stopApprover() error { return stop(&b.approver) }

func stop(program **testkit.Program) error {
	stopping := *program
	*program = nil
	if stopping == nil {
		return nil
	}
	return stopping.Stop()
}

// restartDriver gives scenarios a driver that has done nothing yet.
func (b *bench) restartDriver(ctx context.Context) error {
	if err := errors.Join(b.stopDriver(), b.startDriver()); err != nil {
		return err
	}
	if err := b.waitForDriver(ctx); err != nil {
		return err
	}
	return b.publishAll(ctx, b.live)
}

// waitForDriver returns when the driver is ready, and the kubelet's connection to
// it stands.
func (b *bench) waitForDriver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	for {
		err := b.kubelet.WaitForDriver(ctx)
		if err == nil {
			return nil
		}
		if testkit.Sleep(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("the driver is not ready (its log: %s): %w", b.driver.Log, err)
		}
	}
}

// firstAnswer returns when a program answers on its socket, to a connection of its
// own: that of the kubelet may wait for a while before it tries again.
func firstAnswer(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	dialer := &net.Dialer{}
	for {
		conn, err := dialer.DialContext(ctx, "unix", socket)
		if err == nil {
			_ = conn.Close()
			break
		}
		if testkit.Sleep(ctx, time.Millisecond) != nil {
			return fmt.Errorf("nobody answers on %s: %w", socket, err)
		}
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	return err
}
