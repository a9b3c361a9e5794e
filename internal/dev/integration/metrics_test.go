// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
)

// The two programs, as they are shipped, tell of what has happened: by their
// metrics, and by a line of the log for each thing.
func TestMetricsAndLogOfThePrograms(t *testing.T) {
	w := prepare(t, func(w *world) string {
		w.writeBundle(w.ca)
		return "trustBundle: {path: " + w.bundleFile() + "}"
	},
		func(*world) string { return "rollout: {gracePeriod: 0s, reissueWindow: 0s}" },
		func(*world) string { return "observability: {logging: {format: json}}" })
	approver, driver := w.startDaemon("csi-driver-spiffe-approver"), w.startDaemon("csi-driver-spiffe")
	w.kubeletOf(driver)

	first, second := w.pod("web-0"), w.pod("web-1")
	w.publish(first)
	w.publish(second)
	w.publish(second) // finds it there
	w.check(w.unbindRole())
	w.mustFail("forbidden", codes.PermissionDenied)
	w.check(w.bindRole())
	// Under a file that the approver does not have, what the driver asks for is denied.
	driver.change("certificate: {duration: 2h}")
	w.mustFail("denied", codes.PermissionDenied)
	driver.change("certificate: {duration: 1h}")
	// Another kind of key makes both volumes be renewed at once.
	approver.change("certificate: {privateKey: {algorithm: ECDSA, size: 256}}")
	driver.change("certificate: {privateKey: {algorithm: ECDSA, size: 256}}")
	w.eventually("both are renewed", func() bool {
		return driver.scrape().value("csi_driver_spiffe_issuances_total", "renewal", "succeeded", "write") == 2
	})
	w.check(w.kubelet.Unpublish(t.Context(), first, testkit.VolumeName))

	of := map[string]scrape{"driver": driver.scrape(), "approver": approver.scrape()}
	w.checkCounts(of)
	w.checkStages(of["driver"])
	for name, s := range of {
		w.checkLabels(name, s)
		problems, err := promlint.New(strings.NewReader(s.text)).Lint()
		w.check(err)
		for _, problem := range problems {
			t.Errorf("%s: %s: %s", name, problem.Metric, problem.Text)
		}
	}
	checkTable(t, of)
	w.checkLines(driver)
	if code, _ := driver.fetch(driver.profiles, "/debug/pprof/cmdline"); code != http.StatusOK {
		t.Errorf("profiles: %d", code)
	}
	for _, d := range []*daemonProcess{driver, approver} {
		if code, _ := d.fetch(d.address, "/debug/pprof/"); code != http.StatusNotFound {
			t.Errorf("%s serves profiles beside metrics: %d", d.name, code)
		}
	}
}

func (w *world) checkCounts(of map[string]scrape) {
	w.t.Helper()
	for _, row := range []struct {
		daemon, metric string
		labels         []string
		want           float64
	}{
		{"driver", "issuances_total", []string{"publish", "succeeded", "mount"}, 2},
		{"driver", "issuances_total", []string{"publish", "refused", "create"}, 1},
		{"driver", "issuances_total", []string{"publish", "denied", "approve"}, 1},
		{"driver", "issuances_total", []string{"renewal", "succeeded", "write"}, 2},
		{"driver", "issuances_total", []string{"renewal", "denied", "approve"}, 0},
		{"driver", "issuances_in_progress", []string{"publish", "approve"}, 0},
		{"driver", "issuance_duration_seconds", []string{"publish"}, 2},
		{"driver", "issuance_duration_seconds", []string{"renewal"}, 2},
		{"driver", "csi_operations_seconds", []string{"OK", "/csi.v1.Node/NodePublishVolume"}, 3},
		{"driver", "csi_operations_seconds", []string{"PermissionDenied", "/csi.v1.Node/NodePublishVolume"}, 2},
		{"driver", "csi_operations_seconds", []string{"OK", "/csi.v1.Node/NodeUnpublishVolume"}, 1},
		{"driver", "volumes", nil, 1},
		{"driver", "volumes_overdue", nil, 0},
		{"driver", "volumes_expired", nil, 0},
		{"driver", "volumes_backing_off", nil, 0},
		{"driver", "renewals_due_within_hour", nil, 1},
		{"driver", "retries_total", []string{"publish"}, 0},
		{"driver", "retries_total", []string{"renewal"}, 0},
		{"approver", "approver_decisions_total", []string{"approved"}, 4},
		{"approver", "approver_decisions_total", []string{"denied"}, 1},
		{"approver", "approver_decision_duration_seconds", nil, 5},
	} {
		if got := of[row.daemon].value("csi_driver_spiffe_"+row.metric, row.labels...); got != row.want {
			w.t.Errorf("%s%q is %g, want %g", row.metric, row.labels, got, row.want)
		}
	}
}

// checkStages asserts that the stages of all SVIDs together took as long as
// the SVIDs.
func (w *world) checkStages(s scrape) {
	w.t.Helper()
	for op, stages := range map[string][]string{
		"publish": {"queue", "prepare", "create", "approve", "verify", "collect", "write", "mount"},
		"renewal": {"queue", "prepare", "create", "approve", "verify", "collect", "write"},
	} {
		whole := s.metric("csi_driver_spiffe_issuance_duration_seconds", op).GetHistogram().GetSampleSum()
		sum := 0.0
		for _, metric := range s.families["csi_driver_spiffe_issuance_stage_duration_seconds"].GetMetric() {
			if values(metric)[0] == op {
				sum += metric.GetHistogram().GetSampleSum()
			}
		}
		if math.Abs(sum-whole) > 1e-6 || whole <= 0 {
			w.t.Errorf("%s: the stages took %g s, the whole %g s", op, sum, whole)
		}
		for _, stage := range stages {
			if n := s.value("csi_driver_spiffe_issuance_stage_duration_seconds", op, stage); n != 2 {
				w.t.Errorf("%s: %g SVIDs went through stage %s", op, n, stage)
			}
		}
	}
}

// checkLabels asserts that nobody's name is in a label: the namespace, node and
// issuer of the test all have the same.
func (w *world) checkLabels(name string, s scrape) {
	w.t.Helper()
	for family, f := range s.families {
		if n := len(f.GetMetric()); n > 60 {
			w.t.Errorf("%s: %s has %d series", name, family, n)
		}
		for _, metric := range f.GetMetric() {
			for _, value := range values(metric) {
				if strings.Contains(value, w.workload.Namespace) || strings.Contains(value, "example-app") || strings.Contains(value, "web-") {
					w.t.Errorf("%s: %s has the label value %q", name, family, value)
				}
			}
		}
	}
}

// checkLines asserts that there is one line for each thing, with the same keys.
func (w *world) checkLines(driver *daemonProcess) {
	w.t.Helper()
	keys := []string{"duration", "level", "msg", "pod", "request", "spiffeID", "time", "volume"}
	for _, row := range []struct {
		msg   string
		count int
		more  []string
		stage []any
	}{
		{"published", 2, []string{"notAfter"}, nil},
		{"renewed", 2, []string{"notAfter"}, nil},
		{"unpublished", 1, []string{"notAfter"}, nil},
		{"publish failed", 2, []string{"error", "stage"}, []any{"create", "approve"}},
	} {
		lines := driver.lines(row.msg)
		if len(lines) != row.count {
			w.t.Errorf("%d lines of %q, want %d: %v", len(lines), row.msg, row.count, lines)
		}
		for i, line := range lines {
			want := slices.Sorted(slices.Values(append(slices.Clone(keys), row.more...)))
			if got := slices.Sorted(maps.Keys(line)); !slices.Equal(got, want) {
				w.t.Errorf("%q has the keys\n%q, want\n%q", row.msg, got, want)
			}
			pod, namespace := fmt.Sprint(line["pod"]), w.workload.Namespace+"/"
			if !strings.HasPrefix(pod, namespace) || !strings.HasPrefix(fmt.Sprint(line["request"]), pod+"-") ||
				line["spiffeID"] != "spiffe://"+trustDomain+"/ns/"+w.workload.Namespace+"/sa/example-app" {
				w.t.Errorf("%q is %v", row.msg, line)
			}
			if i < len(row.stage) && line["stage"] != row.stage[i] {
				w.t.Errorf("%q is of stage %v, want %v", row.msg, line["stage"], row.stage[i])
			}
		}
	}
}

// values are those of a metric's labels, in the order of the labels' names.
func values(metric *dto.Metric) []string {
	var all []string
	for _, label := range metric.GetLabel() {
		all = append(all, label.GetValue())
	}
	return all
}

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

// list asks the driver for its volumes, as the command does, by pod.
func (w *world) list() map[string]listing.Volume {
	w.t.Helper()
	return w.listBy(func(v listing.Volume) string { return v.PodName })
}

// listByID is list for volumes whose pods' names may not be known.
func (w *world) listByID() map[string]listing.Volume {
	w.t.Helper()
	return w.listBy(func(v listing.Volume) string { return v.VolumeID })
}

func (w *world) listBy(key func(listing.Volume) string) map[string]listing.Volume {
	w.t.Helper()
	list, err := listing.Fetch(w.t.Context(), listing.Socket(w.socket))
	w.check(err)
	if list.Node != w.node {
		w.t.Errorf("the list is of node %q, want %q", list.Node, w.node)
	}
	volumes := map[string]listing.Volume{}
	for _, volume := range list.Volumes {
		volumes[key(volume)] = volume
	}
	return volumes
}

func TestVolumesAreListed(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 30s}" })
	w.startDriver()
	if n := len(w.list()); n != 0 {
		t.Errorf("%d volumes of a driver that has none", n)
	}
	waiting := w.pod("waiting")
	published := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(t.Context(), waiting, testkit.VolumeName)
		published <- err
	}()
	w.eventually("the volume is pending, and it is told what it waits for", func() bool {
		v := w.list()["waiting"]
		return v.State == listing.Pending && strings.Contains(v.LastError, "waiting for approval")
	})

	w.startApprover()
	w.check(<-published)
	svid := w.readSVID(w.kubelet.TargetPath(waiting, testkit.VolumeName))
	v := w.list()["waiting"]
	leaf := svid.Certificates[0]
	want := listing.Volume{
		PodNamespace: w.workload.Namespace, PodName: "waiting", PodUID: string(waiting.UID), State: listing.Published,
		SPIFFEID: svid.ID.String(), Issued: leaf.NotBefore, Expires: leaf.NotAfter, NextRenewal: v.NextRenewal,
		CertificateRequest: w.onlyRequest().Name, VolumeID: testkit.VolumeID(waiting, testkit.VolumeName),
		TargetPath: w.kubelet.TargetPath(waiting, testkit.VolumeName),
	}
	if v != want {
		t.Errorf("got  %+v\nwant %+v", v, want)
	}
	if left := time.Until(v.NextRenewal); left < 5*time.Second || left > 21*time.Second {
		t.Errorf("the next renewal is in %s, want after about 2/3 of 30 s", left)
	}

	w.check(w.unbindRole())
	w.eventually("a renewal has failed, and it is told why", func() bool {
		v := w.list()["waiting"]
		return v.RenewalFailures > 0 && strings.Contains(v.LastError, "cannot create") && !v.LastErrorTime.IsZero() &&
			v.NextRenewal.After(time.Now().Add(-time.Second))
	})
	troubleshooting.Row("renewal failed… error=…").Seen(t, w.log.String())
	w.check(w.bindRole())
	w.eventually("the renewal succeeds, and the error is gone", func() bool {
		v := w.list()["waiting"]
		return v.LastError == "" && v.LastErrorTime.IsZero() && v.RenewalFailures == 0 && v.Expires.After(want.Expires)
	})
	w.check(w.kubelet.Unpublish(t.Context(), waiting, testkit.VolumeName))
	if n := len(w.list()); n != 0 {
		t.Errorf("%d volumes after unpublish", n)
	}
}

// A driver that was started anew knows the volumes, and not the tokens.
func TestVolumesOfAnEarlierProcessAreListed(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 45s}" })
	w.startApprover()
	stop := w.startDriver()
	w.publish(w.pod("web-0"))
	before := w.list()["web-0"]
	stop()
	w.startDriver()
	if after := w.list()["web-0"]; after != before {
		t.Errorf("got  %+v\nwant %+v", after, before)
	}
	const row = troubleshooting.Row("renewal waits for the kubelet to publish again: no valid token of the pod is known")
	w.eventually("the renewal waits for the kubelet", func() bool { return w.list()["web-0"].LastError != "" })
	row.Seen(t, w.list()["web-0"].LastError)
}
