// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// bundleFile is where a test's trust bundle is, as its file and in YAML.
func (w *world) bundleFile() string { return filepath.Join(w.dir, "bundle.pem") }

// writeBundle replaces the trust bundle's file by certificates of CAs.
func (w *world) writeBundle(cas ...testkit.CA) {
	w.t.Helper()
	w.replaceBundle(slices.Concat(pemOf(cas)...))
}

func (w *world) replaceBundle(content []byte) {
	w.t.Helper()
	w.check(os.WriteFile(w.bundleFile()+".new", content, 0o600))
	w.check(os.Rename(w.bundleFile()+".new", w.bundleFile()))
}

func pemOf(cas []testkit.CA) [][]byte {
	var all [][]byte
	for _, ca := range cas {
		all = append(all, ca.CertificatePEM)
	}
	return all
}

// withBundle has the test's CA as trust bundle.
func withBundle(w *world) string {
	w.writeBundle(w.ca)
	return "trustBundle: {path: " + w.bundleFile() + "}"
}

// newCA makes another CA than the world's.
func (w *world) newCA(name string) testkit.CA {
	w.t.Helper()
	ca, err := testkit.NewCA(name)
	w.check(err)
	return ca
}

// hasFile reports whether a volume has a file with a content.
func hasFile(target, name string, want []byte) bool {
	got, err := os.ReadFile(filepath.Join(target, name))
	return err == nil && bytes.Equal(got, want)
}

func targetsOf(requests []*csi.NodePublishVolumeRequest) []string {
	var targets []string
	for _, request := range requests {
		targets = append(targets, request.GetTargetPath())
	}
	return targets
}

func TestChangedBundleReachesEveryLiveVolume(t *testing.T) {
	const count = 30
	w := newWorld(t, withBundle)
	requests := w.publishMany(count)
	keys := map[string][]byte{}
	for _, target := range targetsOf(requests) {
		key, err := os.ReadFile(filepath.Join(target, "tls.key"))
		w.check(err)
		keys[target] = key
	}
	w.eventually("one request is left for each volume", func() bool { return len(w.requests()) == count })
	other := w.newCA("other")
	w.writeBundle(w.ca, other)
	want := slices.Concat(w.ca.CertificatePEM, other.CertificatePEM)
	for _, target := range targetsOf(requests) {
		w.eventually("the bundle is in "+target, func() bool { return hasFile(target, "ca.crt", want) })
		if !hasFile(target, "tls.key", keys[target]) {
			t.Errorf("%s has another key", target)
		}
		w.readSVID(target)
	}
	w.eventually("no volume is behind", func() bool { return w.driver.VolumesOutdated() == 0 })
	if n := len(w.requests()); n != count {
		t.Errorf("%d requests, want none that is new: %d", n, count)
	}

	// From now on there is nothing to do, however often the kubelet publishes, and
	// when the file is written as it is.
	generations, writes := w.generations(requests), w.watchWrites(requests)
	w.writeBundle(w.ca, other, w.ca)
	w.republish(requests, 100*time.Millisecond, time.Second)
	if n := writes.Load(); n != 0 {
		t.Errorf("%d changes in the driver's files, want none", n)
	}
	for target, generation := range w.generations(requests) {
		if generations[target] != generation {
			t.Errorf("%s was written anew", target)
		}
	}
}

func TestBundleSwitchedOnAndOff(t *testing.T) {
	w := newWorld(t)
	target := w.publish(w.pod("web-0"))
	on := w.changedConfig(withBundle(w))
	w.ofDriver.Set(on)
	w.eventually("a bundle", func() bool { return hasFile(target, "ca.crt", w.ca.CertificatePEM) })
	w.ofDriver.Set(w.config)
	w.eventually("no bundle", func() bool { _, err := os.Lstat(filepath.Join(target, "ca.crt")); return os.IsNotExist(err) })
	w.ofDriver.Set(on)
	w.eventually("a bundle again", func() bool { return hasFile(target, "ca.crt", w.ca.CertificatePEM) })
	w.onlyRequest()
}

// Whatever is at the bundle's path, volumes keep the last good one, people learn
// of it, and the next good one is taken up.
func TestBadBundleChangesNothing(t *testing.T) {
	w := prepare(t, withBundle)
	var mu sync.Mutex
	var events []string
	w.event = func(warning bool, reason, note string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, reason+" "+strconv.FormatBool(warning)+" "+note)
	}
	told := func() string { mu.Lock(); defer mu.Unlock(); return strings.Join(events, "\n") }
	w.startApprover()
	w.startDriver()
	target := w.publish(w.pod("web-0"))
	generation, good := w.generation(target), w.ca
	for name, row := range map[string]struct {
		change func() error
		want   troubleshooting.Row
	}{
		"empty":         {func() error { w.replaceBundle(nil); return nil }, troubleshooting.Row("trust bundle has no certificate")},
		"cut short":     {func() error { w.replaceBundle(good.CertificatePEM[:100]); return nil }, troubleshooting.Row("a PEM block is damaged or cut short")},
		"a private key": {func() error { w.replaceBundle(slices.Concat(good.CertificatePEM, good.KeyPEM)); return nil }, troubleshooting.Row("trust bundle has a private key")},
		"a public key": {func() error {
			w.replaceBundle(bytes.ReplaceAll(good.CertificatePEM, []byte("CERTIFICATE"), []byte("PUBLIC KEY")))
			return nil
		}, troubleshooting.Row(`trust bundle has something other than certificates: block … it is of type "…"`)},
		"ten megabytes": {func() error {
			w.replaceBundle(bytes.Repeat(good.CertificatePEM, 10<<20/len(good.CertificatePEM)))
			return nil
		}, troubleshooting.Row("trust bundle is larger than 1 MiB")},
		"a folder": {func() error { return os.Mkdir(w.bundleFile(), 0o700) }, troubleshooting.Row("it is not a regular file")},
		"deleted":  {func() error { return nil }, troubleshooting.Row("no such file or directory")},
	} {
		w.check(os.RemoveAll(w.bundleFile()))
		w.check(row.change())
		w.eventually(name+": an Event", func() bool { return row.want.In(told()) && row.want.In(w.driver.BundleDetail()) })
		row.want.Seen(t, w.log.String())
		if w.generation(target) != generation || !hasFile(target, "ca.crt", good.CertificatePEM) {
			t.Fatalf("%s: the volume has changed", name)
		}
		if !hasFile(w.publish(w.pod("new-"+strings.ReplaceAll(name, " ", "-"))), "ca.crt", good.CertificatePEM) {
			t.Errorf("%s: a new volume has not the last good bundle", name)
		}
		good = w.newCA(name)
		w.check(os.RemoveAll(w.bundleFile()))
		w.writeBundle(good)
		w.eventually(name+": the next good one", func() bool { return hasFile(target, "ca.crt", good.CertificatePEM) })
		generation = w.generation(target)
	}
	w.replaceBundle(slices.Concat(good.CertificatePEM, []byte(w.readFile(target, "tls.crt")))) // with a leaf
	w.logged("is of no use")
	troubleshooting.Row(`certificate … ("…"): it is not a CA`).Seen(t, w.log.String())
	all := told() + w.log.String()
	if secret := strings.Split(string(w.ca.KeyPEM), "\n")[1]; strings.Contains(all, secret) || !strings.Contains(all, "TrustBundleRestored false") {
		t.Errorf("a key is told, or that it is over is not: %s", told())
	}
	if n := strings.Count(told(), "TrustBundleRefused true"); n < 6 {
		t.Errorf("%d Events of refusals: %s", n, told())
	}
}

// A volume that cannot be written is tried again, and the others do not wait.
func TestOneFailingVolumeDoesNotHoldUpOthers(t *testing.T) {
	w := newWorld(t, withBundle)
	requests := w.publishMany(5)
	damaged := filepath.Join(w.config.Volume.TmpfsPath, requests[0].GetVolumeId(), "data", "..data", "tls.crt")
	lost, err := os.ReadFile(damaged)
	w.check(err)
	w.check(os.Remove(damaged))
	other := w.newCA("other")
	w.writeBundle(other)
	for _, target := range targetsOf(requests)[1:] {
		w.eventually("the bundle is in "+target, func() bool { return hasFile(target, "ca.crt", other.CertificatePEM) })
	}
	w.eventually("only the damaged one is behind", func() bool { return w.driver.VolumesOutdated() == 1 })
	w.logs(troubleshooting.Row("a live volume could not be written anew"))
	w.check(os.WriteFile(damaged, lost, 0o600))
	w.eventually("it catches up", func() bool {
		return hasFile(requests[0].GetTargetPath(), "ca.crt", other.CertificatePEM) && w.driver.VolumesOutdated() == 0
	})
}

// tryDriver returns why a driver does not start.
func (w *world) tryDriver(c *config.Config) error {
	w.t.Helper()
	_, err := driver.New(driver.Options{
		Node: w.node, Socket: w.socketPath(), Config: config.NewHolder(c), REST: w.installation.Driver, Log: w.logger("driver"),
	})
	return err
}

func TestStartNeedsAGoodBundle(t *testing.T) {
	w := prepare(t, func(w *world) string { return "trustBundle: {path: " + w.bundleFile() + "}" })
	err := w.tryDriver(w.config)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	troubleshooting.Row("to start without it, and take it up when it is good, set trustBundle.required: false").Seen(t, fmt.Sprint(err))
	w.replaceBundle(w.ca.KeyPEM)
	if err := w.tryDriver(w.config); !errors.Is(err, trustbundle.ErrPrivateKey) {
		t.Errorf("with a private key: %v", err)
	}
}

// Where the operator says so, pods get their identities before there is a bundle.
func TestBundleThatAppearsLater(t *testing.T) {
	w := newWorld(t, func(w *world) string { return "trustBundle: {required: false, path: " + w.bundleFile() + "}" })
	target := w.publish(w.pod("web-0"))
	w.readSVID(target)
	_, err := os.Stat(filepath.Join(target, "ca.crt"))
	troubleshooting.Row("ca.crt: no such file or directory").Seen(t, fmt.Sprint(err))
	w.writeBundle(w.ca)
	w.eventually("the bundle", func() bool { return hasFile(target, "ca.crt", w.ca.CertificatePEM) })
}

// What was switched on, and is not there yet, fails new pods with the reason, and
// leaves live ones alone.
func TestRequiredBundleThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	live := w.publish(w.pod("web-0"))
	generation := w.generation(live)
	w.ofDriver.Set(w.changedConfig("trustBundle: {path: " + w.bundleFile() + "}"))
	w.eventually("the file is missed", func() bool { return strings.Contains(w.driver.BundleDetail(), "no such file") })
	pod := w.pod("web-1")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.FailedPrecondition, "no such file")
	if w.generation(live) != generation {
		t.Error("the live volume has changed")
	}
	w.writeBundle(w.ca)
	w.eventually("the pod is published", func() bool {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
	w.eventually("the live one has it, too", func() bool { return hasFile(live, "ca.crt", w.ca.CertificatePEM) })
}

// After a restart, volumes have what the file has now, and are not written if that
// is what they have; while there is nothing good, they keep what they have.
func TestBundleAcrossARestart(t *testing.T) {
	w := prepare(t, withBundle)
	w.startApprover()
	stop := w.startDriver()
	target := w.publish(w.pod("web-0"))
	generation := w.generation(target)
	restart := func() { stop(); stop = w.startDriver() }

	restart()
	w.publish(w.pod("web-1"))
	if w.generation(target) != generation || w.driver.VolumesOutdated() != 0 {
		t.Error("written though nothing had changed")
	}
	other := w.newCA("other")
	stop()
	w.writeBundle(other)
	stop = w.startDriver()
	w.eventually("what changed meanwhile", func() bool { return hasFile(target, "ca.crt", other.CertificatePEM) })

	stop()
	w.check(os.Remove(w.bundleFile()))
	optional := *w.config
	optional.TrustBundle.Required = false
	optional.Volume.Files.CredentialBundle = "both.pem" // so that it is written
	w.ofDriver.Set(&optional)
	stop = w.startDriver()
	w.eventually("the new file", func() bool { _, err := os.Stat(filepath.Join(target, "both.pem")); return err == nil })
	if !hasFile(target, "ca.crt", other.CertificatePEM) {
		t.Error("the bundle was lost with its file")
	}
	w.writeBundle(w.ca)
	w.eventually("the next good one", func() bool { return hasFile(target, "ca.crt", w.ca.CertificatePEM) })
}

// A required bundle that is bad when the driver is started anew fails no running
// pod: its volume keeps the bundle that it has, and is renewed. New pods are refused
// until the file is good.
func TestRestartWithoutTheRequiredBundle(t *testing.T) {
	w := prepare(t, withBundle, func(*world) string { return "certificate: {duration: 9s}" })
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	stop()
	w.replaceBundle(w.ca.CertificatePEM[:100])
	w.startDriver()
	const row = troubleshooting.Row("there is no trust bundle for the pod, and trustBundle.required is true")
	row.Seen(t, fmt.Sprint(w.driver.Ready()))
	late := w.pod("late")
	_, err := w.kubelet.Publish(t.Context(), late, testkit.VolumeName)
	w.requireRefusal(err, codes.FailedPrecondition, "damaged or cut short")
	row.Seen(t, err.Error())
	w.requireRequestsOf(late, 0)
	for range 2 {
		before := w.generation(target)
		w.eventually("the live volume is renewed", func() bool {
			w.publish(pod) // with a token, which is in memory only
			return w.generation(target) != before
		})
		w.readSVID(target)
		if !hasFile(target, "ca.crt", w.ca.CertificatePEM) {
			t.Error("the bundle was lost")
		}
	}
	other := w.newCA("other")
	w.writeBundle(other)
	w.eventually("the good one", func() bool { return hasFile(target, "ca.crt", other.CertificatePEM) })
	if !hasFile(w.publish(late), "ca.crt", other.CertificatePEM) {
		t.Error("the new pod has not the good bundle")
	}
	w.check(w.driver.Ready())
}
