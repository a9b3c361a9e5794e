// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/registration"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

// A process that listens and does not answer is what a liveness probe is for.
func TestProbeOfADriverThatHangs(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	d.socket = socketPath(t)
	if err := d.Probe(t.Context()); status.Code(errors.Unwrap(err)) != codes.Unavailable {
		t.Errorf("before it listens: %v", err)
	}
	listener, err := socket.Listen(t.Context(), d.socket)
	check(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := d.Probe(ctx); status.Code(errors.Unwrap(err)) != codes.DeadlineExceeded {
		t.Errorf("while it hangs: %v", err)
	}
}

// A driver that the kubelet does not know of cannot do its work.
func TestReadyWhenTheKubeletHasRegisteredIt(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	d, err := newDriver(Options{
		Node: "worker-1", Socket: socketPath(t), Registration: &Registration{Folder: t.TempDir(), Endpoint: "/csi.sock"},
		Config: config.NewHolder(c), REST: nowhere(), Log: slog.New(slog.DiscardHandler),
	}, c)
	check(t, err)
	if err := d.Ready(); !errors.Is(err, registration.ErrPending) {
		t.Errorf("got %v", err)
	}
}
