// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// bench is the cluster with the product, and a floor, installed.
type bench struct {
	options
	dir     string
	name    string // of the node, the namespace and the issuer
	cluster *testkit.Cluster
	// settings are in the configuration file, and config is that file.
	settings settings
	config   *config.Config
	access   testkit.Installation
	// driver and approver run, or are nil.
	driver, approver *testkit.Program
	kubelet          *testkit.Kubelet
	floor            *floor
	workload         testkit.Workload
	// pods counts those that were ever made; live are the volumes that there are.
	pods int
	live []volumeRequest
}

func newBench(ctx context.Context, o options) (*bench, error) {
	cluster, err := testkit.Connect(os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "csi-driver-spiffe-bench-")
	if err != nil {
		return nil, err
	}
	name := testkit.UniqueName("bench")
	b := &bench{
		options: o, dir: dir, name: name, cluster: cluster,
		workload: testkit.Workload{Namespace: name, ServiceAccount: "example-app", Driver: driver.Name},
	}
	if err := b.install(ctx); err != nil {
		return nil, errors.Join(err, b.cleanUp())
	}
	return b, nil
}

// install makes two issuers alike, one for the product and one for the floor,
// which the product's approver must not touch.
func (b *bench) install(ctx context.Context) error {
	ca, err := testkit.NewCA(b.name)
	if err != nil {
		return err
	}
	issuers := []string{b.name, b.floorIssuer()}
	signers := make([]string, len(issuers))
	for i, issuer := range issuers {
		signers[i] = "clusterissuers.cert-manager.io/" + issuer
		if err := b.cluster.CreateClusterIssuer(ctx, issuer, ca); err != nil {
			return err
		}
	}
	if err := b.cluster.CreateNamespace(ctx, b.workload); err != nil {
		return err
	}
	settings, err := ordinary()
	if err != nil {
		return err
	}
	if err := b.configure(settings); err != nil {
		return err
	}
	if b.access, err = b.cluster.Install(ctx, ".", "-"+b.name, signers...); err != nil {
		return err
	}
	if err := errors.Join(b.startApprover(), b.startDriver()); err != nil {
		return err
	}
	if b.kubelet, err = testkit.NewKubelet(b.cluster, b.path("kubelet"), b.path("csi.sock")); err != nil {
		return err
	}
	if err := b.waitForDriver(ctx); err != nil {
		return err
	}
	b.floor, err = newFloor(ctx, b)
	return err
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) floorIssuer() string { return b.name + "-floor" }

func (b *bench) cleanUp() error {
	var errs []error
	if b.kubelet != nil {
		errs = append(errs, b.kubelet.Close())
	}
	errs = append(errs, b.stopDriver(), b.stopApprover(), testkit.UnmountAll(b.path("kubelet"), b.path("tmpfs")), b.uninstall(), b.keepLogs())
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// podName is that of a pod that has not been yet.
func (b *bench) podName() string {
	b.pods++
	return "pod-" + strconv.Itoa(b.pods)
}

// settings are what scenarios change of the configuration.
type settings struct {
	trustDomain   string
	reissueWindow time.Duration
	// files are volume.files, and bundle is trustBundle.path.
	files, bundle string
	// http is where the driver serves its metrics.
	http string
	// unelected has the approver decide without being elected: on a machine that is
	// overloaded on purpose, it could lose the Lease and end.
	unelected bool
}

func ordinary() (settings, error) {
	http, err := testkit.FreeAddress()
	return settings{trustDomain: "bench.example.org", reissueWindow: time.Minute, files: "{}", http: http}, err
}

// configure writes the configuration file, which both daemons follow.
func (b *bench) configure(s settings) error {
	path := b.path("config.yaml")
	err := os.WriteFile(path, fmt.Appendf(nil, `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: %s
issuerRef: {name: %s}
certificate: {privateKey: {%s}}
rollout: {reissueWindow: %s}
volume: {tmpfsPath: %s, files: %s}
trustBundle: {path: %q}
driver: {httpAddress: %q, kubeletRootDir: %s}
approver: {httpAddress: "", leaderElection: {enabled: %t, leaseName: csi-driver-spiffe-approver-%s}}
`, s.trustDomain, b.name, b.key, s.reissueWindow, b.path("tmpfs"), s.files, s.bundle, s.http, b.path("kubelet"), !s.unelected, b.name), 0o600)
	if err != nil {
		return err
	}
	b.settings = s
	if b.config, err = config.Load(path); err != nil {
		return err
	}
	if b.floor != nil {
		b.floor.follow(b.config.Policy())
	}
	return nil
}

// starting is the most time that a program has for its start.
const starting = 30 * time.Second

func (b *bench) startDriver() (err error) {
	b.driver, err = testkit.StartProgram("bin", b.dir, "csi-driver-spiffe", b.access.Driver, "--node-name", b.name, "--csi-socket", b.path("csi.sock"))
	return err
}

func (b *bench) startApprover() (err error) {
	b.approver, err = testkit.StartProgram("bin", b.dir, "csi-driver-spiffe-approver", b.access.Approver, "--identity", "bench", "--namespace", testkit.InstallNamespace)
	return err
}

// startBare starts a process of internal/dev/bench/bare with the rights of a daemon.
func (b *bench) startBare(access *rest.Config, args ...string) (*testkit.Program, error) {
	return testkit.StartProgram("bin", b.dir, "bench-bare", access, args...)
}

// stopDriver stops the driver if it runs; its volumes stay.
func (b *bench) stopDriver() error { return stop(&b.driver) }

// stopApprover stops the approver if it runs.
func (b *bench) stopApprover() error { return stop(&b.approver) }

func stop(program **testkit.Program) error {
	stopping := *program
	*program = nil
	if stopping == nil {
		return nil
	}
	return stopping.Stop()
}

// restartDriver gives scenarios a driver that has done nothing yet.
func (b *bench) restartDriver(ctx context.Context) error {
	if err := errors.Join(b.stopDriver(), b.startDriver()); err != nil {
		return err
	}
	if err := b.waitForDriver(ctx); err != nil {
		return err
	}
	return b.publishAll(ctx, b.live)
}

// waitForDriver returns when the driver is ready, and the kubelet's connection to
// it stands.
func (b *bench) waitForDriver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	for {
		err := b.kubelet.WaitForDriver(ctx)
		if err == nil {
			return nil
		}
		if testkit.Sleep(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("the driver is not ready (its log: %s): %w", b.driver.Log, err)
		}
	}
}

// firstAnswer returns when a program answers on its socket, to a connection of its
// own: that of the kubelet may wait for a while before it tries again.
func firstAnswer(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	dialer := &net.Dialer{}
	for {
		conn, err := dialer.DialContext(ctx, "unix", socket)
		if err == nil {
			_ = conn.Close()
			break
		}
		if testkit.Sleep(ctx, time.Millisecond) != nil {
			return fmt.Errorf("nobody answers on %s: %w", socket, err)
		}
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	return err
}

// definitions are the CustomResourceDefinitions of a cluster.
func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// machine says what numbers depend on. What cannot be found out is left out.
func (b *bench) machine(ctx context.Context) result.Machine {
	m := result.Machine{
		Version: daemon.Version(), Key: strings.NewReplacer("algorithm: ", "", "size: ", "", ", ", " ").Replace(b.key),
		CPU: "unknown CPU", Cores: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(info, "model name", m.CPU)
	}
	if kib, err := testkit.ProcNumber("/proc/meminfo", "MemTotal:"); err == nil {
		m.Memory = kib << 10
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if version, err := b.cluster.Kubernetes.Discovery().ServerVersion(); err == nil {
		m.Kubernetes = version.GitVersion
	}
	m.CertManager = b.certManager(ctx)
	return m
}

// field returns what stands behind the colon of the first line that begins with a
// name, or else what is said.
func field(data []byte, name, otherwise string) string {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if key, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// certManager is the version that the cluster's custom resources are labelled
// with, or "".
func (b *bench) certManager(ctx context.Context) string {
	object, err := b.cluster.Dynamic.Resource(definitions()).Get(ctx, "certificaterequests.cert-manager.io", metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return object.GetLabels()["app.kubernetes.io/version"]
}

// uninstall takes away what would be in the way on a cluster that lives on: the
// namespace, with all requests, and the issuers. It runs after a Ctrl-C, too.
func (b *bench) uninstall() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	gone := metav1.DeleteOptions{}
	errs := []error{b.cluster.Kubernetes.CoreV1().Namespaces().Delete(ctx, b.workload.Namespace, gone)}
	for _, issuer := range []string{b.name, b.floorIssuer()} {
		errs = append(errs,
			b.cluster.CertManager.CertmanagerV1().ClusterIssuers().Delete(ctx, issuer, gone),
			b.cluster.Kubernetes.CoreV1().Secrets(testkit.InstallNamespace).Delete(ctx, issuer, gone))
	}
	for i, err := range errs {
		if apierrors.IsNotFound(err) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// keepLogs puts what the daemons have logged beside the results.
func (b *bench) keepLogs() error {
	if b.out == "" {
		return nil
	}
	logs, err := filepath.Glob(b.path("*.log"))
	if err != nil || len(logs) == 0 {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, log := range logs {
		data, err := os.ReadFile(log)
		if err == nil {
			err = os.WriteFile(filepath.Join(b.out, filepath.Base(log)), data, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
