// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package registration_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/registration"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

// The kubelet's own plugin manager is in the tests of internal/dev/devcluster, a
// module that has Kubernetes in it. Here a client says what it would.

const endpoint = "/var/lib/kubelet/plugins/spiffe.csi.cert-manager.io/csi.sock"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("did not come about in 20 s: %s", what)
		}
	}
}

// buffer is a log that is written and read at the same time.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

type running struct {
	*registration.Registrar
	log  *buffer
	stop func()
}

// folder is short, for there is a socket in it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "reg")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "plugins_registry")
	check(t, os.Mkdir(path, 0o755))
	return path
}

func start(t *testing.T, folder string, probe func(context.Context) error) *running {
	t.Helper()
	out := &buffer{}
	r := &registration.Registrar{
		Driver: "spiffe.csi.cert-manager.io", Folder: folder, Endpoint: endpoint,
		Probe: probe, Log: slog.New(slog.NewTextHandler(out, nil)),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	stop := func() { cancel(); <-ended }
	t.Cleanup(stop)
	return &running{r, out, stop}
}

func ready(context.Context) error { return nil }

// kubelet calls on the socket.
func kubelet(t *testing.T, r *running) registerapi.RegistrationClient {
	t.Helper()
	eventually(t, "the socket is there", func() bool { return socket.Answers(t.Context(), r.Socket()) })
	conn, err := grpc.NewClient("unix://"+r.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return registerapi.NewRegistrationClient(conn)
}

func TestTheKubeletIsToldWhatItHasFound(t *testing.T) {
	t.Parallel()
	r := start(t, folder(t), ready)
	client := kubelet(t, r)
	info, err := client.GetInfo(t.Context(), &registerapi.InfoRequest{})
	check(t, err)
	if info.GetType() != "CSIPlugin" || info.GetName() != "spiffe.csi.cert-manager.io" || info.GetEndpoint() != endpoint ||
		len(info.GetSupportedVersions()) != 1 || info.GetSupportedVersions()[0] != "1.0.0" {
		t.Errorf("got %v", info)
	}
	if stat, err := os.Stat(r.Socket()); err != nil || stat.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", stat.Mode(), err)
	}
	if err := r.Err(); !errors.Is(err, registration.ErrPending) {
		t.Errorf("before the kubelet has said anything: %v", err)
	}
	for _, row := range []struct {
		status *registerapi.RegistrationStatus
		want   error
		logged string
	}{
		{&registerapi.RegistrationStatus{PluginRegistered: true}, nil, "registered with the kubelet"},
		{&registerapi.RegistrationStatus{Error: "NodeGetInfo: no"}, registration.ErrRefused, `error="NodeGetInfo: no"`},
		{&registerapi.RegistrationStatus{PluginRegistered: true}, nil, "registered with the kubelet"},
	} {
		_, err := client.NotifyRegistrationStatus(t.Context(), row.status)
		check(t, err)
		if got := r.Err(); !errors.Is(got, row.want) || (got == nil) != (row.want == nil) {
			t.Errorf("after %v: %v, want %v", row.status, got, row.want)
		}
		if row.want != nil && !strings.Contains(r.Err().Error(), "NodeGetInfo: no") {
			t.Errorf("what the kubelet says is not in %v", r.Err())
		}
		if !strings.Contains(r.log.String(), row.logged) {
			t.Errorf("%s is not in the log:\n%s", row.logged, r.log)
		}
	}
	r.stop()
	if _, err := os.Lstat(r.Socket()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was stopped: %v, want the socket gone, which ends the registration", err)
	}
}

func TestNothingIsRegisteredBeforeTheDriverAnswers(t *testing.T) {
	t.Parallel()
	var answers, asked atomic.Bool
	r := start(t, folder(t), func(context.Context) error {
		defer asked.Store(true)
		if answers.Load() {
			return nil
		}
		return errors.New("not yet")
	})
	eventually(t, "the driver is asked", asked.Load)
	if _, err := os.Lstat(r.Socket()); err == nil {
		t.Error("the kubelet could find the driver already")
	}
	answers.Store(true)
	kubelet(t, r)
}

// What a kubelet, or an administrator, may do to the folder.
func TestTheSocketIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, wreck := range map[string]func(t *testing.T, r *running){
		"the socket is removed": func(t *testing.T, r *running) { check(t, os.Remove(r.Socket())) },
		"the folder is emptied and made again": func(t *testing.T, r *running) {
			check(t, os.RemoveAll(r.Folder))
			check(t, os.Mkdir(r.Folder, 0o755))
		},
		"the folder is away for a while": func(t *testing.T, r *running) {
			check(t, os.RemoveAll(r.Folder))
			eventually(t, "it says so", func() bool { return errors.Is(r.Err(), registration.ErrNoSocket) })
			check(t, os.Mkdir(r.Folder, 0o755))
		},
		"the folder is moved away": func(t *testing.T, r *running) {
			check(t, os.Rename(r.Folder, filepath.Join(t.TempDir(), "old")))
			check(t, os.Mkdir(r.Folder, 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, folder(t), ready)
			_, err := kubelet(t, r).NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true})
			check(t, err)
			for range 3 {
				wreck(t, r)
				eventually(t, "the socket answers again", func() bool { return socket.Answers(t.Context(), r.Socket()) })
				if err := r.Err(); !errors.Is(err, registration.ErrPending) {
					t.Errorf("says %v, want that it waits for the kubelet", err)
				}
				_, err := kubelet(t, r).NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true})
				check(t, err)
				check(t, r.Err())
			}
		})
	}
}

// While a driver is updated there may be two. The new one takes the place of the
// old one, which does not take it back for as long as the new one is there.
func TestTwoDriversDoNotFight(t *testing.T) {
	t.Parallel()
	place := folder(t)
	first := start(t, place, ready)
	kubelet(t, first)
	second := start(t, place, ready)
	eventually(t, "the first gives way", func() bool { return errors.Is(first.Err(), registration.ErrNoSocket) })
	before, err := os.Stat(second.Socket())
	check(t, err)
	_, err = kubelet(t, second).NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true})
	check(t, err)
	eventually(t, "the first has tried", func() bool { return strings.Contains(first.log.String(), "another process serves in its place") })
	after, err := os.Stat(second.Socket())
	check(t, err)
	if !os.SameFile(before, after) || second.Err() != nil {
		t.Errorf("the second has lost its place: %v", second.Err())
	}
	second.stop()
	kubelet(t, first)
}
