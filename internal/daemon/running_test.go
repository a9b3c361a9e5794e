// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

const serving = "observability: {logging: {format: json}}\n"

// running is a program that serves, until the test ends. As klog is one for the
// whole process, so is a program.
type running struct {
	t *testing.T
	// file is the path of its configuration.
	file, url string
	// ready and health are what ServeHTTP asks.
	ready  func() error
	detail string
	health func(context.Context) error
	env    daemon.Env
	lines  chan map[string]any
}

// start starts a program with this configuration, which must log as JSON.
func start(t *testing.T, content string, args ...string) *running {
	t.Helper()
	p := &running{t: t, file: write(t, content), lines: make(chan map[string]any, 100)}
	reader, writer := io.Pipe()
	go p.scan(reader)
	stop, ended := make(chan struct{}), make(chan int, 1)
	program := daemon.Program{Name: "prog", Run: func(ctx context.Context, env daemon.Env) error {
		p.env = env
		ctx, cancel := context.WithCancel(ctx)
		go func() { <-stop; cancel() }()
		return env.ServeHTTP(ctx, "127.0.0.1:0", daemon.Checks{Healthy: p.healthy, Ready: func() error {
			if p.ready == nil {
				return nil
			}
			return p.ready()
		}, Detail: func() string { return p.detail }})
	}}
	go func() {
		ended <- program.Main(append(args, "--config", p.file), daemon.Streams{Out: io.Discard, Err: writer})
	}()
	t.Cleanup(func() {
		close(stop)
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d", code)
		}
		check(t, writer.Close())
		klog.ClearLogger()
	})
	address, _ := p.logged("serving probes and metrics")["address"].(string)
	p.url = "http://" + address
	return p
}

func (p *running) healthy(ctx context.Context) error {
	if p.health == nil {
		return nil
	}
	return p.health(ctx)
}

func (p *running) scan(log io.Reader) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			line = map[string]any{"msg": lines.Text()}
		}
		p.lines <- line
	}
}

// logged waits for a line with this message.
func (p *running) logged(msg string) map[string]any {
	p.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case line := <-p.lines:
			if line["msg"] == msg {
				return line
			}
			p.t.Logf("logged %v", line)
		case <-deadline:
			p.t.Fatalf("%q is not logged", msg)
		}
	}
}

// edit replaces the file and has the program look at it at once.
func (p *running) edit(content string) {
	p.t.Helper()
	check(p.t, os.WriteFile(p.file+".new", []byte(content), 0o600))
	check(p.t, os.Rename(p.file+".new", p.file))
	check(p.t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
}

func (p *running) refused() map[string]any {
	p.t.Helper()
	return p.logged("configuration refused, the running one stays")
}

func (p *running) reloaded() map[string]any {
	p.t.Helper()
	return p.logged("configuration reloaded")
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	code, body, _ = getAll(t, url)
	return code, body
}

func getAll(t *testing.T, url string) (code int, body string, header http.Header) {
	t.Helper()
	response, err := http.Get(url)
	check(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(data), response.Header
}
