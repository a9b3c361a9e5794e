// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// allForms has every file there is, with a password that each volume gets.
const allForms = "{credentialBundle: both.pem, spiffeBundle: bundle.json, pkcs12: {keystore: key.p12, truststore: trust.p12}, " +
	"jks: {keystore: key.jks, truststore: trust.jks}, storePassword: {value: '', file: password}}"

// volumeSection is the line of a configuration for the files of volumes.
func (w *world) volumeSection(files string) string {
	return "volume: {tmpfsPath: " + filepath.Join(w.dir, "tmpfs") + ", files: " + files + "}"
}

// fileNames are those of a volume as its pod sees it.
func (w *world) fileNames(target string) []string {
	w.t.Helper()
	entries, err := os.ReadDir(target)
	w.check(err)
	var names []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "..") {
			names = append(names, entry.Name())
		}
	}
	return names
}

// Forms come and go in live volumes with the configuration, without a new SVID.
func TestFormsAreSwitchedInLiveVolumes(t *testing.T) {
	w := newWorld(t, withBundle)
	target := w.publish(w.pod("web-0"))
	before := w.readSVID(target)
	three := w.fileNames(target)
	w.ofDriver.Set(w.changedConfig(w.volumeSection(allForms)))
	all := []string{"both.pem", "bundle.json", "ca.crt", "key.jks", "key.p12", "password", "tls.crt", "tls.key", "trust.jks", "trust.p12"}
	w.eventually("all forms", func() bool { return slices.Equal(w.fileNames(target), all) })
	if !sameKey(w.readSVID(target).PrivateKey.Public(), before.PrivateKey.Public()) {
		t.Error("there is another key")
	}
	if !hasForms(target, w.readFile(target, "password")) {
		t.Error("the forms cannot be read")
	}
	w.eventually("no volume is behind", func() bool { return w.driver.VolumesOutdated() == 0 })

	generation := w.generation(target)
	w.ofDriver.Set(w.changedConfig(w.volumeSection("{credentialBundle: another.pem}")))
	w.eventually("the stores are gone", func() bool { return len(w.fileNames(target)) == 4 })
	if names := w.fileNames(target); w.generation(target) == generation || !slices.Contains(names, "both.pem") {
		t.Errorf("files %q: a file that stays keeps its name", names)
	}
	w.ofDriver.Set(w.changedConfig(w.volumeSection("{}")))
	w.eventually("three files again", func() bool { return slices.Equal(w.fileNames(target), three) })
	w.onlyRequest()
}

// readFile is one file of a volume, at any time.
func (w *world) readFile(target, name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(target, name))
	w.check(err)
	return string(data)
}

// hasForms reports whether stores and bundle of a volume are good.
func hasForms(target, password string) bool {
	_, bundleErr := spiffebundle.Load(spiffeid.RequireTrustDomainFromString(trustDomain), filepath.Join(target, "bundle.json"))
	store, err := os.ReadFile(filepath.Join(target, "key.p12"))
	if err != nil || bundleErr != nil {
		return false
	}
	_, _, err = pkcs12.Decode(store, password)
	return err == nil
}

// A volume's own password stays when the SVID and the bundle are others, and is
// not that of another volume; a configured one is that of all.
func TestPasswordOfStores(t *testing.T) {
	w := prepare(t, withBundle, func(*world) string { return "certificate: {duration: 9s}" })
	w.config = w.changedConfig(w.volumeSection(allForms))
	w.startApprover()
	stop := w.startDriver()
	target, other := w.publish(w.pod("web-0")), w.publish(w.pod("web-1"))
	own := w.readFile(target, "password")
	if len(own) < 20 || own == w.readFile(other, "password") {
		t.Errorf("passwords %q and %q", own, w.readFile(other, "password"))
	}
	w.writeBundle(w.newCA("other"))
	serial := func() string {
		svid, err := podFiles{target}.GetX509SVID()
		w.check(err)
		return svid.Certificates[0].SerialNumber.String()
	}
	before := serial()
	w.eventually("a renewal", func() bool {
		_, err := w.kubelet.Publish(t.Context(), w.podOf("web-0"), testkit.VolumeName)
		return err == nil && serial() != before
	})
	stop()
	w.startDriver()
	w.publish(w.podOf("web-0"))
	if got := w.readFile(target, "password"); got != own || !hasForms(target, own) {
		t.Errorf("the password was %q, is %q", own, got)
	}
	configured := strings.Replace(allForms, "value: ''", "value: correct horse", 1)
	w.ofDriver.Set(w.changedConfig(w.volumeSection(configured)))
	w.eventually("the configured one", func() bool { return hasForms(target, "correct horse") && hasForms(other, "correct horse") })
	if got := w.readFile(target, "password"); got != "correct horse" {
		t.Errorf("the file has %q", got)
	}
	if logged := w.log.String(); strings.Contains(logged, own) {
		t.Error("the log has a password")
	}
}

// Every file belongs to the pod's group, whatever its form.
func TestFormsHaveTheRightsOfTheOthers(t *testing.T) {
	group := int64(0) // the only one that is sure to exist in a user namespace
	w := prepare(t, withBundle)
	changed := *w.changedConfig(w.volumeSection(allForms))
	changed.Volume.DefaultFSGroup = &group
	w.config = &changed
	w.startApprover()
	w.startDriver()
	target := w.publish(w.pod("web-0"))
	for _, name := range w.fileNames(target) {
		info, err := os.Stat(filepath.Join(target, name))
		w.check(err)
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || info.Mode().Perm() != 0o440 || int64(stat.Gid) != group {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
}

// What people run reads what is written.
func TestOtherProgramsReadTheForms(t *testing.T) {
	for name, key := range map[string]string{"ECDSA": "{algorithm: ECDSA, size: 521}", "RSA": "{algorithm: RSA, size: 2048}", "Ed25519": "{algorithm: Ed25519}"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, withBundle, func(*world) string { return "certificate: {privateKey: " + key + "}" }, func(w *world) string { return w.volumeSection(allForms) })
			w.writeBundle(w.ca, w.newCA("other"))
			target := w.publish(w.pod("web-0"))
			w.eventually("both roots", func() bool { return strings.Count(w.readFile(target, "ca.crt"), "BEGIN") == 2 })
			in := func(name string) string { return filepath.Join(target, name) }
			password := "pass:" + w.readFile(target, "password")
			t.Run("openssl", func(t *testing.T) {
				requireProgram(t, "openssl")
				requireOutput(t, "OK", "openssl", "verify", "-CAfile", in("ca.crt"), "-untrusted", in("tls.crt"), in("tls.crt"))
				requireOutput(t, "OK", "openssl", "verify", "-CAfile", in("ca.crt"), in("both.pem"))
				requireOutput(t, "PRIVATE KEY", "openssl", "pkey", "-in", in("both.pem"))
				requireOutput(t, "friendlyName: ca-", "openssl", "pkcs12", "-in", in("trust.p12"), "-passin", password, "-nokeys")
				requireOutput(t, "PRIVATE KEY", "openssl", "pkcs12", "-in", in("key.p12"), "-passin", password, "-nodes")
			})
			t.Run("keytool", func(t *testing.T) {
				requireProgram(t, "keytool")
				for store, want := range map[string]string{"key.p12": "1, ", "key.jks": "svid, ", "trust.p12": "ca-", "trust.jks": "ca-"} {
					got := requireOutput(t, want, "keytool", "-list", "-keystore", in(store), "-storepass:file", in("password"))
					entries := map[bool]string{true: "PrivateKeyEntry", false: "trustedCertEntry"}[strings.HasPrefix(store, "key")]
					count := map[bool]int{true: 1, false: 2}[strings.HasPrefix(store, "key")]
					if strings.Count(got, entries) != count {
						t.Errorf("%s: want %d times %s:\n%s", store, count, entries, got)
					}
				}
			})
		})
	}
}

// requireProgram skips a test where a program that people may have is missing.
func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s (Debian: openssl, default-jre-headless) on the PATH: %v", name, err)
	}
}

// requireOutput runs a program, which must succeed and say something.
func requireOutput(t *testing.T, want, name string, args ...string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(output), want) {
		t.Errorf("%s %q: %v\n%s", name, args, err, fmt.Sprintf("%.2000s", output))
	}
	return string(output)
}
