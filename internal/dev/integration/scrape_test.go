// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// daemonProcess is one of the programs, with a configuration file of its own.
type daemonProcess struct {
	w                 *world
	name, dir, socket string
	address, profiles string
	log               string
	reloads           int
	sections          []string
}

// startDaemon starts one of the programs. The driver serves profiles.
func (w *world) startDaemon(name string) *daemonProcess {
	w.t.Helper()
	bin := testkit.RequirePrograms(w.t)
	d := &daemonProcess{w: w, name: name, dir: filepath.Join(w.dir, name), address: w.freeAddress(), sections: slices.Clone(w.lines)}
	w.check(os.Mkdir(d.dir, 0o700))
	access, args := w.installation.Approver, []string{"--identity=process", "--namespace=" + testkit.InstallNamespace}
	if name == "csi-driver-spiffe" {
		d.socket, d.profiles = w.socketPath(), w.freeAddress()
		access, args = w.installation.Driver, []string{"--node-name=" + w.node, "--csi-socket=" + d.socket}
		w.t.Cleanup(w.unmountAll)
	}
	d.write()
	program, err := testkit.StartProgram(bin, d.dir, name, access, args...)
	w.check(err)
	d.log = program.Log
	w.t.Cleanup(func() { w.check(program.Stop()) })
	w.eventually(name+" serves", func() bool { code, _ := d.fetch(d.address, "/readyz"); return code == http.StatusOK })
	return d
}

// write writes the configuration of the test with the program's own addresses.
func (d *daemonProcess) write() {
	d.w.t.Helper()
	lines := slices.DeleteFunc(slices.Clone(d.sections), func(line string) bool {
		return strings.HasPrefix(line, "driver:") || strings.HasPrefix(line, "approver:")
	})
	const limit = "kubeAPIQPS: 1000, kubeAPIBurst: 1000"
	lines = append(lines,
		fmt.Sprintf("driver: {httpAddress: '%s', profilingAddress: '%s', kubeletRootDir: %s, publishTimeout: 20s, %s}", d.address, d.profiles, d.w.kubeletRoot(), limit),
		fmt.Sprintf("approver: {httpAddress: '%s', leaderElection: {enabled: false}, %s}", d.address, limit))
	path := filepath.Join(d.dir, "config.yaml")
	d.w.check(os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	d.w.check(os.Rename(path+".new", path))
}

// change replaces a section of the program's file, and waits until it is taken up.
func (d *daemonProcess) change(line string) {
	d.w.t.Helper()
	section, _, _ := strings.Cut(line, ":")
	d.sections = append(slices.DeleteFunc(d.sections, func(other string) bool { return strings.HasPrefix(other, section+":") }), line)
	d.write()
	d.reloads++
	d.w.eventually("the file is taken up", func() bool { return len(d.lines("configuration reloaded")) == d.reloads })
}

// lines are those of the program's log with a message.
func (d *daemonProcess) lines(msg string) []map[string]any {
	d.w.t.Helper()
	data, err := os.ReadFile(d.log)
	d.w.check(err)
	var found []map[string]any
	for text := range strings.Lines(string(data)) {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) == nil && line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

func (d *daemonProcess) fetch(address, path string) (int, string) {
	request, err := http.NewRequestWithContext(d.w.t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	d.w.check(err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	d.w.check(err)
	return response.StatusCode, string(body)
}

// scrape is what a program tells at one moment.
type scrape struct {
	text     string
	families map[string]*dto.MetricFamily
}

func (d *daemonProcess) scrape() scrape {
	d.w.t.Helper()
	_, text := d.fetch(d.address, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	d.w.check(err)
	return scrape{text, families}
}

// metric returns the one with these values of its labels, in the order of the
// labels' names; an empty one if there is none.
func (s scrape) metric(name string, labels ...string) *dto.Metric {
	for _, metric := range s.families[name].GetMetric() {
		if slices.Equal(values(metric), labels) {
			return metric
		}
	}
	return &dto.Metric{}
}

// value is that of a metric, of a histogram how often something was observed, and
// -1 if it is not there.
func (s scrape) value(name string, labels ...string) float64 {
	switch m := s.metric(name, labels...); {
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	default:
		return -1
	}
}

// kubeletOf has the world's kubelet call a driver.
func (w *world) kubeletOf(d *daemonProcess) {
	w.t.Helper()
	var err error
	w.kubelet, err = testkit.NewKubelet(w.Cluster, w.kubeletRoot(), d.socket)
	w.check(err)
	w.t.Cleanup(func() { _ = w.kubelet.Close() })
	w.check(w.kubelet.WaitForDriver(w.t.Context()))
}

// mustFail publishes the volume of a new pod, and asserts how that ends.
func (w *world) mustFail(pod string, want codes.Code) {
	w.t.Helper()
	if _, err := w.kubelet.Publish(w.t.Context(), w.pod(pod), testkit.VolumeName); status.Code(err) != want {
		w.t.Errorf("%s: got %v, want code %s", pod, err, want)
	}
}

// row is a line of README.md's table of metrics.
var row = regexp.MustCompile("(?m)^\\| `([a-z_]+)(?:\\{([a-z_,]+)\\})?` \\| (driver: |approver: )?")

// onlyAfterTrouble is the one metric of which nothing can be told before it has
// happened: there is no end of status codes. Package daemon tests it.
const onlyAfterTrouble = "rest_client_request_retries_total"

// checkTable asserts that README.md lists the metrics that there are, with their
// labels and whose they are, and no others.
func checkTable(t *testing.T, of map[string]scrape) {
	t.Helper()
	readme, err := os.ReadFile(repository + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "| metric | meaning |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	listed := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(table, -1) {
		name, labels := match[1], slices.Sorted(slices.Values(strings.FieldsFunc(match[2], func(r rune) bool { return r == ',' })))
		for daemon, s := range of {
			whose := strings.TrimSuffix(match[3], ": ")
			family, exposed := s.families[name]
			listed[daemon+name] = true
			switch wanted := whose == "" || whose == daemon; {
			case !exposed && wanted && name != onlyAfterTrouble:
				t.Errorf("README.md lists %s, which the %s does not have", name, daemon)
			case exposed && !wanted:
				t.Errorf("README.md lists %s of the %s, and the %s has it", name, whose, daemon)
			case exposed && !slices.Equal(labelsOf(family), labels):
				t.Errorf("README.md lists %s with the labels %q, the %s has it with %q", name, labels, daemon, labelsOf(family))
			}
		}
	}
	for daemon, s := range of {
		for name := range s.families {
			if !listed[daemon+name] && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
				t.Errorf("README.md does not list %s of the %s", name, daemon)
			}
		}
	}
}

func labelsOf(family *dto.MetricFamily) []string {
	var names []string
	for _, label := range family.GetMetric()[0].GetLabel() {
		names = append(names, label.GetName())
	}
	return names
}
