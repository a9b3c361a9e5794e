// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/approver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// TestMain fails when all tests have passed and some row of README's section
// Troubleshooting was not seen, though a test names it.
func TestMain(m *testing.M) {
	complete := os.Geteuid() == 0
	for _, needed := range []string{testkit.KubeconfigVariable, testkit.DevclusterVariable, testkit.ProgramsVariable} {
		complete = complete && os.Getenv(needed) != ""
	}
	os.Exit(troubleshooting.Run(m, complete))
}

// repository is the root of the repository, from this folder.
const repository = "../../.."

// trustDomain is that of all tests.
const trustDomain = "test.example.org"

// A Lease that nobody lets go of would be held for longer than a test waits.
const (
	longLease  = 10 * time.Minute
	shortRetry = 100 * time.Millisecond
)

// world is what a test works on.
type world struct {
	*testkit.Cluster
	t            *testing.T
	ca           testkit.CA
	issuer       string
	installation testkit.Installation
	dir          string
	log          *log
	config       *config.Config
	lines        []string
	// ofApprover and ofDriver hold what each of them runs with.
	ofApprover, ofDriver *config.Holder
	driver               *driver.Driver
	// event takes the driver's Events, unless it is nil.
	event func(warning bool, reason, note string)
	// registration is how the driver registers with the kubelet, or nil.
	registration *driver.Registration
	// socket is that of the driver.
	socket  string
	kubelet *testkit.Kubelet
	// rootDir is the folder of the kubelet, unless it is in dir.
	rootDir  string
	node     string
	workload testkit.Workload
	// asking is the pod as which requests are made without the driver.
	asking func() *corev1.Pod
	// admission is whether the admission policies are installed. A test whose
	// requests they would reject does without, for clusters do too.
	admission bool
}

// withoutAdmission leaves the admission policies out.
func withoutAdmission(w *world) string {
	w.admission = false
	return ""
}

// setting changes a test's configuration, as lines of YAML added to it, or
// other circumstances, before anything is started.
type setting func(*world) string

// newWorld makes an issuer with a CA, starts an approver for it and a driver,
// and makes a namespace for pods. All of it ends with the test.
func newWorld(t *testing.T, settings ...setting) *world {
	t.Helper()
	w := prepare(t, settings...)
	w.startApprover()
	w.startDriver()
	return w
}

// prepare does what newWorld does, but starts nothing.
func prepare(t *testing.T, settings ...setting) *world {
	t.Helper()
	t.Parallel()
	return prepareOn(t, testkit.Require(t), settings...)
}

// prepareOn is prepare on a cluster, in a test that has called t.Parallel.
func prepareOn(t *testing.T, cluster *testkit.Cluster, settings ...setting) *world {
	t.Helper()
	ctx := t.Context()
	name := testkit.UniqueName("it")
	w := &world{
		Cluster: cluster, t: t, log: &log{}, issuer: name, dir: t.TempDir(), node: name, admission: true,
		workload: testkit.Workload{Namespace: name, ServiceAccount: "example-app", Driver: driver.Name},
	}
	var err error
	w.ca, err = testkit.NewCA(name)
	w.check(err)
	w.check(w.CreateClusterIssuer(ctx, name, w.ca))
	w.check(w.CreateNamespace(ctx, w.workload))
	w.installation, err = w.Install(ctx, repository, "-"+name, "clusterissuers.cert-manager.io/"+name)
	w.check(err)
	w.asking = sync.OnceValue(func() *corev1.Pod { return w.pod("asking") })
	w.config = w.parseConfig(settings)
	if w.admission {
		w.check(w.InstallAdmission(ctx, repository, "-"+name, name, "clusterissuers.cert-manager.io/"+name))
		t.Cleanup(func() { _ = w.RemoveAdmission(context.Background(), "-"+name) }) // or it goes with the cluster
	}
	return w
}

// parseConfig makes the configuration of the test. It goes through the file
// format, so that what tests run with could be somebody's file.
func (w *world) parseConfig(settings []setting) *config.Config {
	w.t.Helper()
	lines := []string{
		"apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1",
		"kind: SPIFFEConfiguration",
		"trustDomain: " + trustDomain,
		"volume: {tmpfsPath: " + filepath.Join(w.dir, "tmpfs") + "}",
		"driver: {httpAddress: '', publishTimeout: 20s}",
		"approver: {httpAddress: '', leaderElection: {enabled: false}}",
	}
	lines = append(lines, fmt.Sprintf("issuerRef: {name: %s}", w.issuer))
	for _, set := range settings {
		line := set(w)
		section, _, _ := strings.Cut(line, ":")
		lines = slices.DeleteFunc(lines, func(other string) bool { return strings.HasPrefix(other, section+":") })
		lines = append(lines, line)
	}
	w.lines = lines
	return w.changedConfig("")
}

// changedConfig is the configuration of the test with one line in place of that
// for the same section.
func (w *world) changedConfig(line string) *config.Config {
	w.t.Helper()
	section, _, _ := strings.Cut(line, ":")
	lines := []string{line}
	for _, other := range w.lines {
		if !strings.HasPrefix(other, section+":") {
			lines = append(lines, other)
		}
	}
	// Whatever a test says of the driver, its kubelet is where it is.
	document := strings.ReplaceAll("\n"+strings.Join(lines, "\n"), "\ndriver: {", "\ndriver: {kubeletRootDir: "+w.kubeletRoot()+", ")[1:]
	c, err := config.Parse("test.yaml", []byte(document+"\n"))
	w.check(err)
	w.lines = lines
	return c
}

func (w *world) startApprover() { w.startReplica("replica") }

// startReplica starts one of several approvers.
func (w *world) startReplica(identity string) (stop func()) {
	w.t.Helper()
	if w.ofApprover == nil {
		w.ofApprover = config.NewHolder(w.config)
	}
	a, err := approver.New(approver.Options{
		Identity: identity, Namespace: testkit.InstallNamespace,
		Config: w.ofApprover, REST: w.installation.Approver, Log: w.logger("approver"),
	})
	w.check(err)
	return w.run("approver", a.Run)
}

// startDriver starts a driver, and ends its tmpfs and mounts after it.
func (w *world) startDriver() (stop func()) {
	w.t.Helper()
	socket := w.socketPath()
	if w.ofDriver == nil {
		w.ofDriver = config.NewHolder(w.config)
	}
	d, err := driver.New(driver.Options{
		Node: w.node, Socket: socket, Registration: w.registration,
		Config: w.ofDriver, REST: w.installation.Driver, Log: w.logger("driver"), Event: w.event,
	})
	w.check(err)
	w.t.Cleanup(w.unmountAll)
	w.driver, w.socket = d, socket
	stop = w.run("driver", d.Run)
	w.kubelet, err = testkit.NewKubelet(w.Cluster, w.kubeletRoot(), socket)
	w.check(err)
	w.t.Cleanup(func() { _ = w.kubelet.Close() })
	w.check(w.kubelet.WaitForDriver(w.t.Context()))
	return stop
}

// socketPath is short: a UNIX socket's may have 107 bytes, and t.TempDir is
// named after the test.
func (w *world) socketPath() string {
	dir, err := os.MkdirTemp("", "csi")
	w.check(err)
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "csi.sock")
}

// kubeletRoot is the folder of the world's kubelet.
func (w *world) kubeletRoot() string { return cmp.Or(w.rootDir, filepath.Join(w.dir, "kubelet")) }

// run runs a daemon until the test ends, or until stop is called.
func (w *world) run(name string, daemon func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := daemon(ctx); err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

// unmountAll removes what a failed test may have left mounted.
func (w *world) unmountAll() {
	_ = testkit.UnmountAll(w.kubeletRoot(), w.config.Volume.TmpfsPath)
}

// pod makes a pod with a volume on the world's node.
func (w *world) pod(name string) *corev1.Pod {
	w.t.Helper()
	pod, err := w.CreatePod(w.t.Context(), w.workload, name, w.node)
	w.check(err)
	return pod
}

// publish gives a pod its volume, which must succeed, and returns its path.
func (w *world) publish(pod *corev1.Pod) string {
	w.t.Helper()
	target, err := w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
	w.check(err)
	return target
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits for a condition that something else brings about.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			w.t.Fatalf("did not come about in 90 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// logger writes to the test's log.
func (w *world) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w.logWriter(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("daemon", name)
}

func (w *world) logWriter() io.Writer { return io.MultiWriter(w.t.Output(), w.log) }

// readSVID reads the SVID in a volume as go-spiffe does, which checks it. The two
// files are read one after the other: if there is another pair by then, both are read
// again.
func (w *world) readSVID(target string) *x509svid.SVID {
	w.t.Helper()
	for {
		before := w.generation(target)
		svid, err := x509svid.Load(filepath.Join(target, "tls.crt"), filepath.Join(target, "tls.key"))
		if err != nil && w.generation(target) != before {
			continue
		}
		w.check(err)
		return svid
	}
}

// verify asserts that a chain leads to the world's CA.
func (w *world) verify(svid *x509svid.SVID) {
	w.t.Helper()
	bundle, err := x509bundle.Parse(spiffeid.RequireTrustDomainFromString(trustDomain), w.ca.CertificatePEM)
	w.check(err)
	if _, _, err := x509svid.Verify(svid.Certificates, bundle); err != nil {
		w.t.Errorf("the chain does not verify: %v", err)
	}
}

// log is what the daemons of a test have logged.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// generation names the present set of files of a volume: any write changes it.
func (w *world) generation(target string) string {
	w.t.Helper()
	name, err := os.Readlink(filepath.Join(target, "..data"))
	w.check(err)
	return name
}

// requests are the CertificateRequests of the world's pods.
func (w *world) requests() []cmapi.CertificateRequest {
	w.t.Helper()
	list, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).List(w.t.Context(), metav1.ListOptions{})
	w.check(err)
	return list.Items
}

func (w *world) onlyRequest() cmapi.CertificateRequest {
	w.t.Helper()
	requests := w.requests()
	if len(requests) != 1 {
		w.t.Fatalf("%d CertificateRequests, want 1", len(requests))
	}
	return requests[0]
}

// requireNothingLeft asserts that a volume left no trace on the node.
func (w *world) requireNothingLeft(pod *corev1.Pod) {
	w.t.Helper()
	for _, path := range []string{
		filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName)),
		w.kubelet.TargetPath(pod, testkit.VolumeName),
	} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			w.t.Errorf("%s: %v, want it not to exist", path, err)
		}
	}
}

func newWorldWithDefaultGroup(t *testing.T, group *int64) *world {
	w := prepare(t)
	changed := *w.config
	changed.Volume.DefaultFSGroup = group
	w.config = &changed
	w.startApprover()
	w.startDriver()
	return w
}

func sameKey(a, b crypto.PublicKey) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// minLevel is below every level that there is.
type minLevel struct{}

func (minLevel) Level() slog.Level { return -100 }

func ownedByRoot(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0 && stat.Gid == 0
}
