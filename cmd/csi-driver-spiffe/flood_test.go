// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

const (
	// maxGrowth is how much more memory than before the driver may have at any
	// moment of an attack, in bytes. The connections that may be open take 3 to 5 MB;
	// the rest is for garbage of earlier ones, of which a machine with little time to
	// collect it has more.
	maxGrowth = 16 << 20
	// probeTimeout is that of the probes in the manifests.
	probeTimeout = 5 * time.Second
	// attackTime is how long connections stay as they are. Within it probes must
	// be answered.
	attackTime = 5 * time.Second
	// reconnects is how many connections attackers open a second, once they have
	// opened each of them.
	reconnects = 1000
	// dripInterval is how often an attacker sends some more.
	dripInterval = 100 * time.Millisecond
)

// Whoever reaches the port for metrics and probes neither fills the driver's memory
// nor keeps the kubelet from probing it. Attackers come from one or several
// addresses, the kubelet from another. No API server is there: none is needed for
// what is served.
//
// The driver is the test binary itself, or the program of the folder
// CSI_DRIVER_SPIFFE_TEST_PROGRAMS.
func TestFloodOfConnections(t *testing.T) {
	for _, row := range []struct {
		name string
		// connections is how many are opened, as far as the limit of open files
		// allows, from so many addresses.
		connections, addresses int
		// send is what each connection sends at first, and drip what it sends again
		// and again.
		send, drip string
		// read means that what comes is read until the driver closes the connection.
		// Otherwise the attacker does so, a second after it has sent everything.
		read bool
	}{
		{name: "health, 1500 at once", connections: 1500, addresses: 1, send: get("/healthz"), read: true},
		{name: "health, 1500 at once from 50 addresses", connections: 1500, addresses: 50, send: get("/healthz"), read: true},
		{name: "metrics, 1500 at once", connections: 1500, addresses: 1, send: get("/metrics"), read: true},
		{name: "10000 idle connections", connections: 10000, addresses: 1, read: true},
		{name: "10000 idle connections from 50 addresses", connections: 10000, addresses: 50, read: true},
		{name: "a header that goes on slowly", connections: 2000, addresses: 2, send: "GET /metrics HTTP/1.1\r\nHost: driver\r\nX-Slow: ", drip: "x"},
		{name: "a header without end", connections: 1500, addresses: 2, send: "GET /metrics HTTP/1.1\r\nHost: driver\r\nX-Long: " + strings.Repeat("x", 256<<10)},
		{name: "a body without end", connections: 1500, addresses: 2, send: "POST /metrics HTTP/1.1\r\nHost: driver\r\nTransfer-Encoding: chunked\r\n\r\n", drip: "400\r\n" + strings.Repeat("x", 1024) + "\r\n"},
		{name: "a long body that is announced", connections: 1500, addresses: 2, send: "GET /metrics HTTP/1.1\r\nHost: driver\r\nContent-Length: 100000000\r\n\r\n", drip: strings.Repeat("x", 1024)},
		{name: "metrics that are not read", connections: 1500, addresses: 2, send: strings.Repeat(get("/metrics"), 100)},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := startDriver(t)
			before := d.memory(t, "VmRSS:")
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { d.probe(ctx, t) })
			send, drip := []byte(row.send), []byte(row.drip)
			n := min(row.connections, openFiles(t)-200)
			for i := range n {
				a := attacker{
					driver: d.address, address: net.IPv4(127, 0, 1, byte(1+i%row.addresses)),
					send: send, drip: drip, read: row.read, pause: time.Duration(n) * time.Second / reconnects,
				}
				running.Go(func() { a.run(ctx) })
			}
			timer := time.NewTimer(attackTime)
			defer timer.Stop()
			<-timer.C
			peak, now := d.memory(t, "VmHWM:"), d.memory(t, "VmRSS:")
			stop()
			running.Wait()
			t.Logf("%d connections, memory before %.1f MB, at most %.1f MB, at the end %.1f MB", n, mega(before), mega(peak), mega(now))
			if peak-before > maxGrowth {
				t.Errorf("memory grew by %.1f MB, want at most %.1f MB", mega(peak-before), mega(maxGrowth))
			}
		})
	}
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: driver\r\n\r\n" }

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

// openFiles is how many files a process may have open.
func openFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return int(limit.Cur)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is a driver that runs.
type process struct {
	pid int
	// address is of its port for metrics and probes.
	address string
}

const driverConfig = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef: {name: ca}
driver: {httpAddress: ":%[2]d", kubeletRootDir: %[1]s}
volume: {tmpfsPath: %[1]s/tmpfs}
`

const nobodysKubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: x, context: {cluster: c}}]
current-context: x
`

// startDriver starts a driver for as long as the test takes.
func startDriver(t *testing.T) process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the driver mounts a tmpfs: run it as root, or by internal/dev/tools/as-root.sh")
	}
	dir, err := os.MkdirTemp("", "csi-driver-spiffe") // t.TempDir is too long for a socket
	check(t, err)
	port := freePort(t)
	config, kubeconfig := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "kubeconfig")
	check(t, os.WriteFile(config, fmt.Appendf(nil, driverConfig, dir, port), 0o600))
	check(t, os.WriteFile(kubeconfig, []byte(nobodysKubeconfig), 0o600))
	program := "csi-driver-spiffe" // see TestMain
	if folder := os.Getenv("CSI_DRIVER_SPIFFE_TEST_PROGRAMS"); folder != "" {
		program = filepath.Join(folder, program)
	}
	command := exec.Command(program, "--config", config, "--kubeconfig", kubeconfig, "--node-name", "node", "--csi-socket", filepath.Join(dir, "csi.sock"))
	log := &logged{serving: make(chan struct{})}
	command.Stderr = log
	check(t, command.Start())
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil || t.Failed() {
			t.Errorf("%v; it logged\n%.3000s", err, log.text.String())
		}
		_ = syscall.Unmount(filepath.Join(dir, "tmpfs"), syscall.MNT_DETACH)
		check(t, os.RemoveAll(dir))
	})
	select {
	case <-log.serving:
	case err := <-ended:
		ended <- err
		t.Fatal("it does not serve")
	}
	d := process{pid: command.Process.Pid, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	for _, path := range []string{"/metrics", "/configz", "/healthz"} { // as it is after a while
		check(t, d.get(t.Context(), path))
	}
	return d
}

// freePort returns a port that nobody listens on, and which is not one of those
// that connections of earlier attacks were made from (ip_local_port_range).
func freePort(t *testing.T) int {
	t.Helper()
	for port := 20000 + os.Getpid()%5000; port < 32000; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			check(t, listener.Close())
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// logged is the log of a driver. It is written to by one goroutine.
type logged struct {
	text    bytes.Buffer
	serving chan struct{} // closed when the driver says that it serves
	told    bool
}

// Write implements io.Writer.
func (l *logged) Write(data []byte) (int, error) {
	l.text.Write(data)
	if !l.told && bytes.Contains(l.text.Bytes(), []byte(`msg="serving probes and metrics"`)) {
		l.told = true
		close(l.serving)
	}
	return len(data), nil
}

func (d process) memory(t *testing.T, name string) int64 {
	t.Helper()
	kib, err := testkit.ProcNumber(fmt.Sprintf("/proc/%d/status", d.pid), name)
	check(t, err)
	return kib << 10
}

// get asks as the kubelet does: over a connection of its own.
func (d process) get(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.address+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	// It is not ready, for there is no API server, and says so.
	if response.StatusCode != http.StatusOK && path != "/readyz" {
		return errors.New(response.Status)
	}
	return nil
}

// probe asks again and again until ctx ends. Each question must be answered in
// time.
func (d process) probe(ctx context.Context, t *testing.T) {
	var slowest time.Duration
	asked := 0
	for ctx.Err() == nil {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			begin := time.Now()
			if err := d.get(context.WithoutCancel(ctx), path); err != nil {
				t.Errorf("%s after %s, %d answers: %v", path, time.Since(begin), asked, err)
			}
			slowest = max(slowest, time.Since(begin))
			asked++
		}
	}
	t.Logf("%d probes were answered, the slowest after %s", asked, slowest.Round(time.Millisecond))
}

// attacker is somebody who holds one connection.
type attacker struct {
	driver     string // its address
	address    net.IP // the attacker's own
	send, drip []byte // shared with other attackers
	read       bool
	pause      time.Duration
}

// run attacks until ctx ends. When the driver closes the connection it opens
// another after a pause.
func (a attacker) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.connect(ctx)
		wait(ctx, a.pause)
	}
}

// connect opens a connection, and keeps it until the driver closes it or ctx ends.
func (a attacker) connect(ctx context.Context) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: a.address}, Timeout: probeTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", a.driver)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err = conn.Write(a.send); err != nil {
		return
	}
	for len(a.drip) > 0 && err == nil {
		wait(ctx, dripInterval)
		_, err = conn.Write(a.drip)
	}
	if a.read {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	wait(ctx, time.Second)
}

// wait waits for some time, or until ctx ends.
func wait(ctx context.Context, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	<-ctx.Done()
}
