// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listing_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers with a list on the socket beside the one that it returns.
func serve(t *testing.T, list listing.List) (csiSocket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "list")
	check(t, err)
	csiSocket = filepath.Join(dir, "csi.sock")
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := socket.Listen(ctx, listing.Socket(csiSocket))
	check(t, err)
	ended := make(chan error, 1)
	go func() { ended <- listing.Serve(ctx, listener, func() listing.List { return list }) }()
	t.Cleanup(func() {
		cancel()
		check(t, <-ended)
		check(t, os.RemoveAll(dir))
	})
	return csiSocket
}

func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = listing.Command(args, daemon.Streams{Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

// twoVolumes are not in order, and one is only being published.
func twoVolumes() listing.List {
	now := time.Now()
	return listing.List{Node: "node-1", Volumes: []listing.Volume{
		{
			PodNamespace: "sandbox", PodName: "web-1", PodUID: "u1", State: listing.Pending, VolumeID: "csi-1",
			LastError: "CertificateRequest sandbox/web-1-x: waiting for approval:\nno approver has decided, for longer than one would think that it takes it to",
		},
		{
			PodNamespace: "sandbox", PodName: "web-0", PodUID: "u0", State: listing.Published, VolumeID: "csi-0",
			SPIFFEID: "spiffe://my.trust.domain/ns/sandbox/sa/example-app",
			Issued:   now.Add(-10*time.Minute - 30*time.Second), Expires: now.Add(50*time.Minute + 30*time.Second), NextRenewal: now.Add(25*time.Minute + 30*time.Second),
			CertificateRequest: "web-0-abcde", TargetPath: "/var/lib/kubelet/pods/u0/volumes/kubernetes.io~csi/spiffe/mount",
		},
	}}
}

func TestTable(t *testing.T) {
	t.Parallel()
	code, out, errOut := run(t, "--csi-socket", serve(t, twoVolumes()))
	want := `POD             SPIFFE ID                                            ISSUED    EXPIRES   NEXT RENEWAL   LAST ERROR
sandbox/web-0   spiffe://my.trust.domain/ns/sandbox/sa/example-app   10m ago   in 50m    in 25m         -
sandbox/web-1   -                                                    -         -         -              CertificateRequest sandbox/web-1-x: waiting for approval: no approver has decide…
`
	if code != 0 || out != want || errOut != "" {
		t.Errorf("exit code %d, %s\ngot\n%s\nwant\n%s", code, errOut, out, want)
	}
}

func TestWide(t *testing.T) {
	t.Parallel()
	code, out, errOut := run(t, "--csi-socket", serve(t, twoVolumes()), "-o", "wide")
	lines := strings.Split(out, "\n")
	if code != 0 || errOut != "" || len(lines) != 4 {
		t.Fatalf("exit code %d, %s:\n%s", code, errOut, out)
	}
	for i, want := range []string{"STATE REQUEST VOLUME LAST ERROR", "Published web-0-abcde csi-0 -", "Pending - csi-1 CertificateRequest"} {
		if words := strings.Join(strings.Fields(lines[i]), " "); !strings.Contains(words, want) {
			t.Errorf("line %d is %q, want %q in it", i, words, want)
		}
	}
	if !strings.HasSuffix(lines[2], "that it takes it to") {
		t.Errorf("the error is cut: %q", lines[2])
	}
}

// The names and forms are what scripts rely on.
func TestJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 17, 0, 0, 123456789, time.FixedZone("somewhere", 3600))
	list := listing.List{Node: "node-1", Volumes: []listing.Volume{
		{
			PodNamespace: "sandbox", PodName: "web-0", PodUID: "u0", State: listing.Published, VolumeID: "csi-0",
			SPIFFEID: "spiffe://td/ns/sandbox/sa/x", Issued: at, Expires: at.Add(time.Hour), NextRenewal: at.Add(time.Minute),
			LastError: "no", LastErrorTime: at, RenewalFailures: 2, CertificateRequest: "web-0-a", TargetPath: "/t",
		},
		{PodNamespace: "sandbox", PodName: "web-1", PodUID: "u1", State: listing.Pending, VolumeID: "csi-1"},
	}}
	code, out, errOut := run(t, "--csi-socket", serve(t, list), "-o", "json")
	want := `{
  "node": "node-1",
  "volumes": [
    {
      "podNamespace": "sandbox",
      "podName": "web-0",
      "podUID": "u0",
      "state": "Published",
      "spiffeID": "spiffe://td/ns/sandbox/sa/x",
      "issued": "2026-11-24T16:00:00Z",
      "expires": "2026-11-24T17:00:00Z",
      "nextRenewal": "2026-11-24T16:01:00Z",
      "lastError": "no",
      "lastErrorTime": "2026-11-24T16:00:00Z",
      "renewalFailures": 2,
      "certificateRequest": "web-0-a",
      "volumeID": "csi-0",
      "targetPath": "/t"
    },
    {
      "podNamespace": "sandbox",
      "podName": "web-1",
      "podUID": "u1",
      "state": "Pending",
      "renewalFailures": 0,
      "volumeID": "csi-1"
    }
  ]
}
`
	if code != 0 || out != want || errOut != "" {
		t.Errorf("exit code %d, %s\ngot\n%s\nwant\n%s", code, errOut, out, want)
	}
}

func TestNoVolumes(t *testing.T) {
	t.Parallel()
	at := serve(t, listing.List{Node: "node-1"})
	if code, out, errOut := run(t, "--csi-socket", at); code != 0 || out != "" || errOut != "No volumes on node node-1.\n" {
		t.Errorf("table: %d, %q, %q", code, out, errOut)
	}
	if code, out, errOut := run(t, "--csi-socket", at, "--output=json"); code != 0 || out != "{\n  \"node\": \"node-1\",\n  \"volumes\": []\n}\n" || errOut != "" {
		t.Errorf("JSON: %d, %q, %q", code, out, errOut)
	}
}

func TestTheSocketIsForRootAloneAndTellsNothingElse(t *testing.T) {
	t.Parallel()
	at := listing.Socket(serve(t, twoVolumes()))
	if info, err := os.Stat(at); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if got := listing.Socket("/csi/csi.sock"); got != "/csi/csi-volumes.sock" {
		t.Errorf("it is at %s", got)
	}
}

// Somebody else may have made a socket there.
func TestFetchFromSomethingElse(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "list")
	check(t, err)
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, "x.sock")
	if _, err := listing.Fetch(t.Context(), at); !errors.Is(err, listing.ErrNoDriver) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no socket: %v", err)
	}
	listener, err := socket.Listen(t.Context(), at)
	check(t, err)
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	defer server.Close()
	go func() { _ = server.Serve(listener) }()
	if _, err := listing.Fetch(t.Context(), at); !errors.Is(err, listing.ErrNoDriver) || !strings.Contains(err.Error(), "404") {
		t.Errorf("something else: %v", err)
	}
}
