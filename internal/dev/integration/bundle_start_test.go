// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

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
	if w.generation(target) != generation || w.driver.VolumesBehind() != 0 {
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
