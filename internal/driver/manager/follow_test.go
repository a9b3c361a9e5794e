// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// somePods are pods of one namespace.
func somePods(n int) (pods []pod) {
	for i := range n {
		pods = append(pods, podOf("sandbox", fmt.Sprint("web-", i)))
	}
	return pods
}

// toReissue counts the volumes whose SVID is not what is asked for.
func (w *world) toReissue() (n int) {
	for s := range w.Snapshots() {
		if s.ToReissue {
			n++
		}
	}
	return n
}

const ed25519Keys = "certificate: {privateKey: {algorithm: Ed25519}}"

// A change of what SVIDs are reaches all volumes within the window, and not at once.
func TestReissueIsSpreadOverTheWindow(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		const window = "rollout: {reissueWindow: 10m}"
		w := newStarted(t, window)
		pods := somePods(8)
		w.mustPublish(pods...)
		began := time.Now()
		w.configure(window, ed25519Keys)
		pass(0)
		if n := w.toReissue(); n != len(pods) {
			t.Errorf("%d are to be re-issued, want all", n)
		}
		w.log.mustSay(t, 1, "live volumes are re-issued", "volumes=8", "window=10m")
		pass(10 * time.Minute)
		var moments []time.Duration
		for _, p := range pods {
			if _, ok := w.mustHaveSVID(p).Certificates[0].PublicKey.(ed25519.PublicKey); !ok {
				t.Errorf("%s has no new SVID", p.name)
			}
			moments = append(moments, w.api.askedSince(p, began.Add(time.Nanosecond)))
		}
		if first, last := slices.Min(moments), slices.Max(moments); last-first < 3*time.Minute {
			t.Errorf("all were asked for between %s and %s", first, last)
		}
		w.api.mustHaveAsked(t, 2*len(pods))
		w.log.mustSay(t, 1, "no live volume has to be re-issued any more")
	})
}

// A change that is taken back, and one that need not be followed at once, ask for nothing.
func TestChangeOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// changes are put in force one after the other.
		changes [][]string
		reissue int
		// asked is how often was asked a minute later.
		asked int
		// sooner is whether the renewal is planned for an earlier moment.
		sooner bool
	}{
		{"another key", [][]string{{ed25519Keys}}, 1, 1, true},
		{"another key, at once", [][]string{{ed25519Keys, "rollout: {reissueWindow: 0s}"}}, 0, 2, false},
		{"another key, taken back", [][]string{{ed25519Keys}, {}}, 0, 1, false},
		{"a longer lifetime", [][]string{{"certificate: {duration: 2h}"}}, 0, 1, false},
		{"a shorter lifetime", [][]string{{"certificate: {duration: 30m}", "rollout: {reissueWindow: 0s}"}}, 0, 2, false},
		{"an earlier renewal", [][]string{{"certificate: {renewBefore: 50m}"}}, 0, 1, true},
		{"nothing that SVIDs depend on", [][]string{{"driver: {maxConcurrentRenewals: 7}"}}, 0, 1, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(web())
				due := w.of(web()).RenewalDue
				for _, lines := range row.changes {
					w.configure(lines...)
					pass(0)
				}
				pass(time.Millisecond)
				if n := w.toReissue(); n != row.reissue {
					t.Errorf("%d are to be re-issued, want %d", n, row.reissue)
				}
				w.api.mustHaveAsked(t, row.asked)
				if now := w.of(web()).RenewalDue; row.asked == 1 && now.Before(due) != row.sooner {
					t.Errorf("due at %s, before the change at %s", now, due)
				}
				w.mustHaveSVID(web())
			})
		})
	}
}

// A renewal that is under way under another policy is given up, and the volume gets what is
// asked for now.
func TestConfigurationChangesDuringARenewal(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.api.now(behaviour{undecided: everybody})
		w.untilDue(web())
		w.api.now(behaviour{})
		w.configure(ed25519Keys, "rollout: {reissueWindow: 1m}")
		pass(time.Minute)
		if _, ok := w.mustHaveSVID(web()).Certificates[0].PublicKey.(ed25519.PublicKey); !ok {
			t.Error("the volume has no new SVID")
		}
		w.api.mustHaveAsked(t, 3)
		pass(time.Minute)
		w.api.mustHave(t, 1)
	})
}

// Of the requests of a volume as many are kept as the configuration says, and what is too
// many goes when it says less.
func TestHistoryOfRequests(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t, "certificateRequests: {historyLimit: 3}")
		w.mustPublish(web())
		for range 4 {
			w.untilDue(web())
			pass(time.Minute)
		}
		w.api.mustHave(t, 3)
		w.configure("certificateRequests: {historyLimit: 2}")
		pass(time.Minute)
		w.api.mustHave(t, 2)
		calls := w.api.asked()
		if names := w.api.names(); !slices.Contains(names, calls[len(calls)-1].request) || !slices.Contains(names, calls[len(calls)-2].request) {
			t.Errorf("left are %v, want the latest two", names)
		}
	})
}

// What cannot be deleted is tried again.
func TestRequestThatCannotBeDeleted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		pass(time.Second)
		w.api.now(behaviour{delete: func(types.NamespacedName) error { return errAway }})
		check(t, w.unpublish(web()))
		pass(time.Minute)
		w.mustLeaveNothing()
		w.api.mustHave(t, 1)
		w.api.now(behaviour{})
		pass(5 * time.Minute)
		w.api.mustHave(t, 0)
	})
}

// Other files reach all live volumes. One that cannot be written does not hold up the
// others, keeps what it has, and is tried again.
func TestOtherFilesReachAllVolumes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		pods := somePods(5)
		w.mustPublish(pods...)
		bad := pods[2]
		good := w.read(bad, "tls.crt")
		path := filepath.Join(w.store.DataPath(bad.volume()), "tls.crt")
		check(t, os.Chmod(path, 0o600))
		check(t, os.WriteFile(path, append(bytes.Clone(good), good[:len(good)-30]...), 0o600))
		w.configure("volume: {files: {credentialBundle: both.pem}}")
		pass(0)
		for _, p := range pods {
			if p == bad {
				continue
			}
			if got, want := w.read(p, "both.pem"), append(w.read(p, "tls.key"), w.read(p, "tls.crt")...); !bytes.Equal(got, want) {
				t.Errorf("both.pem of %s reads %q", p.name, got)
			}
		}
		if s := w.of(bad); !s.Outdated {
			t.Errorf("it is told of as %+v", s)
		}
		w.log.mustSay(t, 1, "a live volume could not be written anew; it keeps what it has", "volume="+bad.volume(), "failures=1")
		pass(time.Minute)
		w.log.mustSay(t, 1, "but for some that cannot be written", "written=4", "left=1")
		check(t, os.WriteFile(path, good, 0o600))
		pass(5 * time.Minute)
		if s := w.of(bad); s.Outdated {
			t.Errorf("it is told of as %+v", s)
		}
		w.mustHaveSVID(bad)
		w.log.mustSay(t, 1, "all live volumes have the present trust bundle and files\"", "written=1")
		if got := observetest.Samples(t, w.Metrics()...); got["fan_out_duration_seconds_count{}"] != 1 || got["fan_out_failures_total{}"] < 3 {
			t.Errorf("the metrics are %v", got)
		}
		w.api.mustHaveAsked(t, len(pods))
	})
}

// eventually waits in real time until something is so: to follow a trust bundle is to wait
// for the kernel, which no bubble can.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("it has not come about that %s", what)
		}
	}
}

// newRoot returns the certificate of a CA in PEM.
func newRoot(t *testing.T) []byte {
	t.Helper()
	ca, err := testkit.NewCA("another root")
	check(t, err)
	return ca.CertificatePEM
}

// withBundle has a world deliver a trust bundle, and returns how to change it.
func withBundle(t *testing.T, w *world, lines ...string) (path string, change func([]byte)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(path, w.api.root, 0o600))
	w.configure(append(lines, "trustBundle: {path: "+path+"}")...)
	return path, func(content []byte) {
		t.Helper()
		check(t, os.WriteFile(path, content, 0o600))
		w.bundle.Take(path, filewatch.Read(path, trustbundle.MaxSize))
	}
}

func TestATrustBundleReachesAllVolumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, change := withBundle(t, w)
	w.start()
	pods := somePods(20)
	w.mustPublish(pods...)
	has := func(bundle []byte) func() bool {
		return func() bool {
			return !slices.ContainsFunc(pods, func(p pod) bool { return !bytes.Equal(w.read(p, "ca.crt"), bundle) })
		}
	}
	if !has(w.api.root)() {
		t.Error("volumes were published without the trust bundle")
	}
	next := newRoot(t)
	change(next)
	eventually(t, "all have the next bundle", has(next))
	change(nil) // which is none
	w.log.mustSay(t, 1, "trust bundle refused")
	w.restart()
	eventually(t, "all have it still", has(next))
	w.api.mustHaveAsked(t, len(pods))
}

// Where a larger bundle finds no room, volumes keep the one that they have, their renewals
// go on beside it, and they catch up when there is room.
func TestRenewalBesideABundleThatHasNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, openStore(t, volume.WithSize(1<<20)))
	const atOnce = "rollout: {reissueWindow: 0s}"
	path, change := withBundle(t, w, atOnce)
	w.start()
	before := w.mustPublish(web())
	small := w.api.root
	mustReadBundle := func(want []byte) {
		t.Helper()
		if got := w.read(web(), "ca.crt"); !bytes.Equal(got, want) {
			t.Errorf("ca.crt has %d bytes, want %d", len(got), len(want))
		}
	}

	filler := filepath.Join(w.store.Root(), "filler")
	check(t, os.WriteFile(filler, make([]byte, 400<<10), 0o600))
	large := largeRoot(t)
	change(large)
	eventually(t, "a write has failed", func() bool { return len(w.log.lines("could not be written anew")) > 0 })
	mustReadBundle(small)

	w.configure(atOnce, ed25519Keys, "trustBundle: {path: "+path+"}")
	eventually(t, "the volume is renewed", func() bool { return len(w.log.lines("msg=renewed")) > 0 })
	if samePublicKey(before, w.mustHaveSVID(web())) {
		t.Error("the volume has the key of before")
	}
	mustReadBundle(small)
	w.log.mustSay(t, 1, "there is no room for a larger volume; its new SVID is put beside what it has")
	if !w.of(web()).Outdated {
		t.Error("it is told of as up to date")
	}

	check(t, os.Remove(filler))
	eventually(t, "the volume has caught up", func() bool { return !w.of(web()).Outdated })
	mustReadBundle(large)
}

// largeRoot returns a certificate of 200 KiB in PEM.
func largeRoot(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473}, Value: make([]byte, 150<<10)}},
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A chain that the trust bundle does not verify is warned of once for each bundle, and told
// of for as long as it is so.
func TestChainThatTheBundleDoesNotVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, change := withBundle(t, w)
	check(t, os.WriteFile(path, newRoot(t), 0o600))
	w.start()
	w.mustPublish(web())
	const warning, again = "the trust bundle in force does not verify the certificate chain of a volume", "verifies the certificate chain of a volume again"
	warned := func(n int) func() bool { return func() bool { return len(w.log.lines(warning)) == n } }
	eventually(t, "it is warned of", warned(1))
	eventually(t, "it is told of", func() bool { return w.of(web()).Unverified })
	change(newRoot(t))
	eventually(t, "it is warned of another bundle", warned(2))
	w.BundleChanged() // it is checked again
	change(w.api.root)
	eventually(t, "the right one verifies it", func() bool { return !w.of(web()).Unverified })
	w.log.mustSay(t, 2, warning, "level=WARN", "spiffeID=", "trustBundle=", "error=")
	w.log.mustSay(t, 1, again, "level=INFO")
	change(newRoot(t))
	eventually(t, "it is told of again", func() bool { return w.of(web()).Unverified })
	w.configure() // none is asked for any more
	eventually(t, "it does not matter", func() bool { return !w.of(web()).Unverified })
	w.log.mustSay(t, 1, again)
}

// A bad bundle keeps new pods from starting, and nothing from those that run: they keep the
// bundle that they have, and are renewed.
func TestABadBundleKeepsOnlyNewPodsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const atOnce = "rollout: {reissueWindow: 0s}"
	path, change := withBundle(t, w, atOnce)
	w.start()
	w.mustPublish(web())
	w.stop()
	check(t, os.Remove(path))
	w.start()
	if s := w.of(web()); s.Outdated {
		t.Error("the volume is to have a bundle that there is not")
	}
	w.mustPublish(web())
	if err := w.publish(podOf("sandbox", "late")); err == nil {
		t.Error("a new pod has no trust bundle")
	} else {
		mustContain(t, err.Error(), "there is no trust bundle for the pod, and trustBundle.required is true")
	}
	w.configure(atOnce, ed25519Keys, "trustBundle: {path: "+path+"}")
	eventually(t, "the volume is renewed", func() bool {
		_, ok := w.mustHaveSVID(web()).Certificates[0].PublicKey.(ed25519.PublicKey)
		return ok
	})
	if got := w.read(web(), "ca.crt"); !bytes.Equal(got, w.api.root) {
		t.Errorf("after a renewal ca.crt reads %q", got)
	}
	next := newRoot(t)
	change(next)
	eventually(t, "the volume has the good bundle", func() bool { return bytes.Equal(w.read(web(), "ca.crt"), next) })
	w.mustPublish(podOf("sandbox", "late"))
}
