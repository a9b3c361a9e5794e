// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// volumes are those of a node, in as far as a server needs any.
type volumes struct {
	published []manager.PublishRequest
	// unusable is the latest request that could not be used, and cause the reason.
	unusable    manager.UnusableRequest
	cause       error
	unpublished []string
	// at are the volumes that are known, by target.
	at map[string]string
	// keeps, publishErr and unpublishErr are the answers.
	keeps                    bool
	publishErr, unpublishErr error
}

func (v *volumes) Publish(_ context.Context, _ *config.Config, request manager.PublishRequest) error {
	v.published = append(v.published, request)
	return v.publishErr
}

func (v *volumes) Keeps(_ *config.Config, request manager.UnusableRequest, err error) bool {
	v.unusable, v.cause = request, err
	return v.keeps
}

func (v *volumes) Unpublish(_ context.Context, id, target string) error {
	v.unpublished = append(v.unpublished, id+" "+target)
	return v.unpublishErr
}

func (v *volumes) IsAt(id, target string) bool { return v.at[target] == id }

func (v *volumes) Occupied(id, target string) error {
	if by := v.at[target]; by != "" && by != id {
		return mounts.ErrOccupied
	}
	return nil
}

func (*volumes) Snapshot(id string) observe.Snapshot { return observe.Snapshot{VolumeID: id} }

// served is a server with what is around it.
type served struct {
	*csiserver.Server
	volumes     *volumes
	log         *bytes.Buffer
	kubeletRoot string
}

// serve returns a server on a node with a kubelet, whose configuration has some lines of
// YAML added.
func serve(t testing.TB, lines ...string) *served {
	t.Helper()
	root := t.TempDir()
	check(t, os.Mkdir(filepath.Join(root, "pods"), 0o700))
	return serveIn(t, root, lines...)
}

// serveDefault returns a server with the kubelet's folder of [csitest.Target], which need
// not be there.
func serveDefault(t testing.TB) *served { return serveIn(t, csitest.KubeletRoot) }

func serveIn(t testing.TB, kubeletRoot string, lines ...string) *served {
	t.Helper()
	c := configtest.Parse(t, append([]string{
		fmt.Sprintf("driver: {name: spiffe.example.org, kubeletRootDir: %q}", kubeletRoot),
	}, lines...)...)
	s := &served{volumes: &volumes{}, log: &bytes.Buffer{}, kubeletRoot: kubeletRoot}
	s.Server = csiserver.New(csiserver.Options{
		Node: "worker-1", Config: config.NewHolder(c), Volumes: s.volumes,
		Log: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return s
}

// publishRequest is a good one for the server's kubelet.
func (s *served) publishRequest() *csi.NodePublishVolumeRequest {
	req := csitest.PublishRequest()
	req.TargetPath = s.kubeletRoot + strings.TrimPrefix(req.TargetPath, csitest.KubeletRoot)
	return req
}

// socketPath is short: that of a UNIX socket may have 107 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "csi")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "csi.sock")
}

func TestIdentityService(t *testing.T) {
	t.Parallel()
	s := serveDefault(t)
	info, err := s.GetPluginInfo(t.Context(), nil)
	check(t, err)
	if info.GetName() != "spiffe.example.org" || info.GetVendorVersion() == "" {
		t.Errorf("got %v", info)
	}
	if capabilities, err := s.GetPluginCapabilities(t.Context(), nil); err != nil || len(capabilities.GetCapabilities()) != 0 {
		t.Errorf("got %v, %v", capabilities, err)
	}
}

// A server is ready until it is told to stop, and answers on its socket for as long.
func TestServeUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	s, at := serve(t), socketPath(t)
	listener, err := socket.Listen(t.Context(), at)
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	check(t, csiserver.Probe(t.Context(), at))
	stop()
	check(t, <-ended)
	if probe, err := s.Probe(t.Context(), nil); err != nil || probe.GetReady().GetValue() {
		t.Errorf("after it has stopped: %v, %v", probe, err)
	}
	if err := csiserver.Probe(t.Context(), at); status.Code(errors.Unwrap(err)) != codes.Unavailable {
		t.Errorf("after it has stopped: %v", err)
	}
}

// A process that listens and does not answer is what a liveness probe is for.
func TestProbeOfADriverThatHangs(t *testing.T) {
	t.Parallel()
	at := socketPath(t)
	if err := csiserver.Probe(t.Context(), at); status.Code(errors.Unwrap(err)) != codes.Unavailable {
		t.Errorf("before it listens: %v", err)
	}
	listener, err := socket.Listen(t.Context(), at)
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
	if err := csiserver.Probe(ctx, at); status.Code(errors.Unwrap(err)) != codes.DeadlineExceeded {
		t.Errorf("while it hangs: %v", err)
	}
}

// CSI calls are measured by what came of them.
func TestCallsAreMeasured(t *testing.T) {
	t.Parallel()
	s := serve(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socketPath(t))
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	defer func() { stop(); check(t, <-ended) }()
	conn, err := grpc.NewClient("unix://"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	defer conn.Close()
	publish := func(answer error, want codes.Code) {
		t.Helper()
		s.volumes.publishErr = answer
		if _, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), s.publishRequest()); status.Code(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	publish(nil, codes.OK)
	publish(issuance.ErrDeleted, codes.Aborted)
	publish(issuance.ErrDeleted, codes.Aborted)
	_, err = csi.NewIdentityClient(conn).Probe(t.Context(), &csi.ProbeRequest{})
	check(t, err)
	got := callCounts(t, s.Metrics()...)
	for key, want := range map[string]uint64{
		"/csi.v1.Node/NodePublishVolume OK":      1,
		"/csi.v1.Node/NodePublishVolume Aborted": 2,
		"/csi.v1.Node/NodeUnpublishVolume OK":    0, // is there from the beginning
		"/csi.v1.Identity/Probe OK":              1,
	} {
		if n, ok := got[key]; n != want || !ok {
			t.Errorf("%s: %d, want %d", key, n, want)
		}
	}
}

// callCounts are how many calls there were, by method and code.
func callCounts(t *testing.T, collectors ...prometheus.Collector) map[string]uint64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	check(t, err)
	counts := map[string]uint64{}
	for _, family := range families {
		if family.GetName() != "csi_driver_spiffe_csi_operations_seconds" {
			t.Errorf("there is a metric %s", family.GetName())
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			counts[labels["method_name"]+" "+labels["grpc_status_code"]] = metric.GetHistogram().GetSampleCount()
		}
	}
	return counts
}
