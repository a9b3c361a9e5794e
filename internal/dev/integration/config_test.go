// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// The load of the rollout test: publishes a second, and for how long.
const (
	publishEvery = 150 * time.Millisecond
	loadFor      = 60 * time.Second
)

// A change of the file reaches approver and driver at different times, in
// either order. Under a steady load not one publish fails and not one request is
// denied, whatever is changed.
func TestRolloutDeniesNoHonestRequest(t *testing.T) {
	w := prepare(t)
	// A publish may wait until the slower of the two has seen the change.
	w.config = w.changedConfig("driver: {httpAddress: '', publishTimeout: 1m}")
	w.startApprover()
	w.startDriver()
	other := w.anotherNode()
	second := w.issuer + "-2"
	w.check(w.CreateClusterIssuer(t.Context(), second, w.ca))
	w.allowSigner(second)

	approvers, drivers := []*config.Holder{w.ofApprover}, []*config.Holder{w.ofDriver, other.ofDriver}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load(w, other)
	}()
	for _, change := range []struct {
		line        string
		first, then []*config.Holder
		apart       time.Duration
	}{
		{"certificate: {duration: 2h}", approvers, drivers, 12 * time.Second},
		{"trustDomain: other.example.org", drivers, approvers, 12 * time.Second},
		{"issuerRef: {name: " + second + "}", []*config.Holder{w.ofDriver}, []*config.Holder{w.ofApprover, other.ofDriver}, 18 * time.Second},
	} {
		changed := w.changedConfig(change.line)
		pause(3*time.Second, ended)
		set(change.first, changed)
		pause(change.apart, ended)
		set(change.then, changed)
	}
	<-ended
	if strings.Contains(w.log.String(), "verdict=Deny") {
		t.Error("the approver denied a request")
	}
}

// set changes the configuration, but for the places that each of the nodes, which
// are on one machine here, has for itself.
func set(holders []*config.Holder, c *config.Config) {
	for _, holder := range holders {
		own := *c
		own.Volume.TmpfsPath = holder.Current().Volume.TmpfsPath
		own.Driver.KubeletRootDir = holder.Current().Driver.KubeletRootDir
		holder.Set(&own)
	}
}

// anotherNode starts a driver for a second node.
func (w *world) anotherNode() *world {
	w.t.Helper()
	other := *w
	other.node, other.dir, other.ofDriver = w.node+"-b", w.t.TempDir(), nil
	c := *w.config
	c.Volume.TmpfsPath = filepath.Join(other.dir, "tmpfs")
	c.Driver.KubeletRootDir = filepath.Join(other.dir, "kubelet")
	other.config = &c
	var err error
	other.installation.Driver, err = w.DriverConfig(w.t.Context(), "-"+w.issuer, other.node)
	w.check(err)
	other.startDriver()
	return &other
}

// pause lets the load go on for a while. It is no wait for something to happen.
func pause(d time.Duration, ended <-chan struct{}) {
	select {
	case <-time.After(d):
	case <-ended:
	}
}

// load publishes pod after pod on the nodes in turn, and takes each away again.
func load(nodes ...*world) {
	var pods sync.WaitGroup
	defer pods.Wait()
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	count := 0
	for end := time.After(loadFor); ; count++ {
		select {
		case <-end:
			nodes[0].t.Logf("%d pods in %s", count, loadFor)
			return
		case <-tick.C:
			node, name := nodes[count%len(nodes)], "pod-"+strconv.Itoa(count)
			pods.Go(func() { node.publishOnce(name) })
		}
	}
}

// publishOnce publishes a pod's volume, which must succeed at the first call,
// and unpublishes it.
func (w *world) publishOnce(name string) {
	ctx := w.t.Context()
	pod, err := w.CreatePod(ctx, w.workload, name, w.node)
	if err == nil {
		_, err = w.kubelet.Publish(ctx, pod, testkit.VolumeName)
	}
	if err == nil {
		err = w.kubelet.Unpublish(ctx, pod, testkit.VolumeName)
	}
	if err != nil {
		w.t.Errorf("%s: %v", name, err)
	}
}

// allowSigner lets the world's approver approve for another ClusterIssuer.
func (w *world) allowSigner(issuer string) {
	w.t.Helper()
	w.allowSigners("clusterissuers.cert-manager.io/"+w.issuer, "clusterissuers.cert-manager.io/"+issuer)
}

// allowSigners lets the world's approver approve for these signers and no others.
func (w *world) allowSigners(signers ...string) {
	w.t.Helper()
	_, err := w.Install(w.t.Context(), repository, "-"+w.issuer, signers...)
	w.check(err)
}

// A change of what SVIDs are reaches the volumes of running pods.
func TestChangeIsReissuedIntoLiveVolumes(t *testing.T) {
	w := newWorld(t, func(*world) string { return "rollout: {reissueWindow: 2s}" })
	targets := make([]string, 5)
	for i := range targets {
		targets[i] = w.publish(w.pod(fmt.Sprintf("web-%d", i)))
	}
	changed := w.changedConfig("trustDomain: other.example.org")
	w.ofDriver.Set(changed) // the approver does not know it yet
	w.ofApprover.Set(changed)
	w.eventually("all volumes have the new trust domain", func() bool {
		for _, target := range targets {
			if w.readSVID(target).ID.TrustDomain().Name() != "other.example.org" {
				return false
			}
		}
		return true
	})
	w.eventually("nothing is left to re-issue", func() bool { return w.driver.VolumesToReissue() == 0 })
}

// A wrong new issuer does no harm: SVIDs stay, and changing the file back
// heals everything.
func TestWrongIssuerHarmsNobody(t *testing.T) {
	w := newWorld(t, func(*world) string { return "rollout: {reissueWindow: 0s}" })
	target := w.publish(w.pod("web-0"))
	before := w.generation(target)
	good := w.config
	wrong := w.changedConfig("issuerRef: {name: no-such-issuer}")
	w.ofApprover.Set(wrong)
	w.ofDriver.Set(wrong)
	w.eventually("the driver asks the wrong issuer", func() bool {
		for _, request := range w.requests() {
			if request.Spec.IssuerRef.Name == "no-such-issuer" {
				return true
			}
		}
		return false
	})
	w.ofApprover.Set(good)
	w.ofDriver.Set(good)
	w.eventually("nothing is left to re-issue, nor of the wrong requests", func() bool {
		return w.driver.VolumesToReissue() == 0 && len(w.requests()) == 1
	})
	// It must stay so: an attempt that was under way must not go on.
	pause(2*time.Second, nil)
	if w.generation(target) != before {
		t.Error("the live volume was touched")
	}
	if strings.Contains(w.log.String(), "renewal failed") {
		t.Error("a request that was given up counts as a failure")
	}
	w.readSVID(w.publish(w.pod("web-1")))
}

// A publish that is under way when the configuration changes is made anew by
// the new one, rather than waiting for what nobody approves any more.
func TestPublishUnderWayFollowsTheChange(t *testing.T) {
	w := prepare(t, func(*world) string { return "rollout: {gracePeriod: 1m}" })
	changed := w.changedConfig("trustDomain: other.example.org")
	w.ofApprover = config.NewHolder(changed) // it has never seen the old one
	w.startApprover()
	w.startDriver()
	published := make(chan string, 1)
	pod := w.pod("web-0")
	go func() {
		target, err := w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		if err != nil {
			t.Error(err)
		}
		published <- target
	}()
	w.eventually("a request by the old configuration", func() bool { return len(w.requests()) == 1 })
	w.ofDriver.Set(changed)
	if td := w.readSVID(<-published).ID.TrustDomain().Name(); td != "other.example.org" {
		t.Errorf("trust domain %s", td)
	}
}

const minimalConfig = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: test.example.org
issuerRef: {name: ca}
driver: {httpAddress: ""}
approver: {httpAddress: ""}
`

// A file that is refused is an Event of the daemon's own pod, made with the
// rights of the manifests. Not parallel, for it sets the environment.
func TestRefusedFileIsAnEventOfThePod(t *testing.T) {
	cluster := testkit.Require(t)
	name, dir := testkit.UniqueName("ev"), t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made, err := cluster.Install(t.Context(), repository, "-"+name, "clusterissuers.cert-manager.io/"+name)
	check(err)
	pod, err := cluster.CreatePod(t.Context(), testkit.Workload{
		Namespace: testkit.InstallNamespace, ServiceAccount: "csi-driver-spiffe-approver-" + name, Driver: "spiffe.csi.cert-manager.io",
	}, name, "node")
	check(err)
	t.Setenv("POD_NAME", pod.Name)
	t.Setenv("POD_NAMESPACE", pod.Namespace)
	t.Setenv("POD_UID", string(pod.UID))
	kubeconfig, file := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "config.yaml")
	check(testkit.WriteKubeconfig(kubeconfig, made.Approver))
	check(os.WriteFile(file, []byte(minimalConfig), 0o600))

	running, stop, ended := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	program := daemon.Program{Name: "csi-driver-spiffe-approver", Run: func(context.Context, daemon.Env) error {
		close(running)
		<-stop
		return nil
	}}
	go func() {
		ended <- program.Main([]string{"--config", file, "--kubeconfig", kubeconfig}, daemon.Streams{Out: t.Output(), Err: t.Output()})
	}()
	<-running
	check(os.WriteFile(file, []byte(minimalConfig+"trustDomain: twice\n"), 0o600))
	waitForEvent(t, cluster, pod.Name, "ConfigurationRefused")
	check(os.WriteFile(file, []byte(minimalConfig), 0o600))
	waitForEvent(t, cluster, pod.Name, "ConfigurationReloaded")
	close(stop)
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func waitForEvent(t *testing.T, cluster *testkit.Cluster, pod, reason string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		events, err := cluster.Kubernetes.EventsV1().Events(testkit.InstallNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return hasEvent(events.Items, pod, reason), nil
	})
	if err != nil {
		t.Fatalf("no Event %s of pod %s: %v", reason, pod, err)
	}
}

func hasEvent(events []eventsv1.Event, pod, reason string) bool {
	for _, event := range events {
		if event.Regarding.Name == pod && event.Reason == reason {
			return true
		}
	}
	return false
}
