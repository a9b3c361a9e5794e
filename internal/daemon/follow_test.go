// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// metrics returns those of the configuration file, by their names and labels.
func (p *running) metrics() map[string]string {
	p.t.Helper()
	_, body := get(p.t, p.url+"/metrics")
	metrics := map[string]string{}
	for line := range strings.Lines(body) {
		if name, found := strings.CutPrefix(line, "csi_driver_spiffe_config_"); found {
			name, value, _ := strings.Cut(strings.TrimSpace(name), " ")
			metrics[name] = value
		}
	}
	return metrics
}

// mustRun checks that the configuration of this content is the running one,
// everywhere it is told, and returns the time at which it was loaded.
func (p *running) mustRun(content string, successful bool) time.Time {
	p.t.Helper()
	want, err := config.Parse("want", []byte(content))
	check(p.t, err)
	if got := p.env.Config.Current().Hash(); got != want.Hash() {
		p.t.Errorf("running is %s, want %s", got, want.Hash())
	}
	metrics := p.metrics()
	value := map[bool]string{true: "1", false: "0"}[successful]
	if len(metrics) != 3 || metrics["last_reload_successful"] != value || metrics[`info{hash="`+want.Hash()+`",version="v1alpha1"}`] != "1" {
		p.t.Errorf("the metrics of %s are %v", want.Hash(), metrics)
	}
	code, body, header := getAll(p.t, p.url+"/configz")
	served, err := config.Parse("configz", []byte(body))
	check(p.t, err)
	if code != http.StatusOK || served.Hash() != want.Hash() || header.Get(daemon.HashHeader) != want.Hash() || header.Get("Content-Type") != "application/yaml" {
		p.t.Errorf("/configz is %d %v\n%s\nwant %s", code, header, body, want.Hash())
	}
	seconds, err := strconv.ParseFloat(metrics["last_reload_success_timestamp_seconds"], 64)
	check(p.t, err)
	loaded := time.UnixMilli(int64(seconds * 1e3))
	if head := "# hash " + want.Hash() + ", loaded " + loaded.UTC().Format(time.RFC3339) + ", file " + p.file + "\n"; !strings.HasPrefix(body, head) {
		p.t.Errorf("/configz is\n%s\nwant it to begin with\n%s", body, head)
	}
	if age := time.Since(loaded); age < -time.Second || age > time.Minute {
		p.t.Errorf("loaded at %v", loaded)
	}
	return loaded
}

func TestAProgramFollowsItsFile(t *testing.T) {
	one, two := minimal+serving, minimal+serving+"certificate: {duration: 2h, renewBeforePercentage: 40}\n"
	p := start(t, one)
	begin := p.mustRun(one, true)

	p.edit(two)
	line := p.reloaded()
	if line["level"] != "INFO" || line["config"] != p.file || line["hash"] != p.env.Config.Current().Hash() ||
		line["changes"] != "certificate.duration: 1h → 2h; certificate.renewBeforePercentage: 33 → 40" {
		t.Errorf("logged %v", line)
	}
	loaded := p.mustRun(two, true)
	if !loaded.After(begin) {
		t.Errorf("loaded at %v and then at %v", begin, loaded)
	}

	p.edit(two + "typo: 1\nother: 2\n")
	line = p.refused()
	faults, _ := line["error"].(string)
	if line["level"] != "ERROR" || line["hash"] != p.env.Config.Current().Hash() ||
		!strings.Contains(faults, p.file+":7:1: typo: is not a field") || !strings.Contains(faults, "; "+p.file+":8:1: other: is not a field") {
		t.Errorf("logged %v", line)
	}
	if still := p.mustRun(two, false); !still.Equal(loaded) {
		t.Error("a refused file counts as loaded")
	}
	code, body := get(t, p.url+"/readyz")
	if code != http.StatusOK || !strings.HasPrefix(body, "ok\nconfiguration refused at ") || !strings.Contains(body, "typo: is not a field") || strings.Count(body, "\n") != 4 {
		t.Errorf("/readyz is %d %s", code, body)
	}
	if _, body := get(t, p.url+"/configz"); !strings.Contains(body, "\n# "+p.file+":8:1: other: is not a field") {
		t.Errorf("/configz is %s", body)
	}
	p.ready = func() error { return errors.New("the API server is away") }
	if code, body := get(t, p.url+"/readyz"); code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "the API server is away\nconfiguration refused at ") {
		t.Errorf("/readyz is %d %s", code, body)
	}
	p.ready = nil

	p.edit(two + "driver: {httpAddress: ':1'}\n")
	if faults, _ := p.refused()["error"].(string); !strings.Contains(faults, "driver.httpAddress: cannot change while the program runs (from :9402 to :1), a restart takes it up") {
		t.Errorf("logged %s", faults)
	}
	p.mustRun(two, false)

	p.edit(two)
	if line := p.reloaded(); line["changes"] != "none" {
		t.Errorf("logged %v", line)
	}
	p.mustRun(two, true)
	if _, body := get(t, p.url+"/readyz"); body != "ok\n" {
		t.Errorf("/readyz is %s", body)
	}
}

// The file's own events do what a hangup does.
func TestAProgramHearsOfChangesItself(t *testing.T) {
	p := start(t, minimal+serving)
	check(t, os.WriteFile(p.file+".new", []byte(minimal+serving+"trustBundle: {path: /ca.pem}\n"), 0o600))
	check(t, os.Rename(p.file+".new", p.file))
	if line := p.reloaded(); line["changes"] != `trustBundle.path: "" → /ca.pem` {
		t.Errorf("logged %v", line)
	}
	check(t, os.Remove(p.file))
	if line := p.refused(); !strings.Contains(line["error"].(string), "no such file or directory") {
		t.Errorf("logged %v", line)
	}
}

func TestTheLogLevelFollows(t *testing.T) {
	at := func(level string) string {
		return minimal + "observability: {logging: {format: json, level: " + level + "}}\n"
	}
	p := start(t, at("info"))
	p.env.Log.Debug("before")
	p.edit(at("debug"))
	p.reloaded()
	p.env.Log.Debug("now")
	p.logged("now")
	p.edit(at("error")) // Its own line still is of the old level.
	if line := p.reloaded(); line["changes"] != "observability.logging.level: debug → error" {
		t.Errorf("logged %v", line)
	}
	p.edit(at("error") + "typo: 1\n")
	p.refused()
	p.env.Log.Warn("a warning")
	p.edit(at("info"))
	for line := range p.lines {
		if line["msg"] == "before" || line["msg"] == "a warning" {
			t.Errorf("logged %v", line)
		}
		if line["msg"] == "configuration reloaded" {
			break
		}
	}
}
