// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// small limits the tmpfs.
func small(w *world) {
	w.config = w.changedConfig("volume: {tmpfsPath: " + filepath.Join(w.dir, "tmpfs") + ", tmpfsSize: 1Mi}")
}

// remount changes the options of the tmpfs.
func (w *world) remount(flags uintptr) {
	w.t.Helper()
	flags |= unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	w.check(unix.Mount("", w.config.Volume.TmpfsPath, "", flags, ""))
}

// While the tmpfs takes nothing, live volumes stay as they are, new ones fail and
// say why, and nothing is asked for; afterwards all goes on, without a restart.
func TestTmpfsThatTakesNothing(t *testing.T) {
	for name, row := range map[string]struct {
		spoil, mend func(w *world)
		message     troubleshooting.Row
	}{
		"full": {
			func(w *world) {
				w.check(os.WriteFile(w.filler(), bytes.Repeat([]byte("x"), 900<<10), 0o600))
			},
			func(w *world) { w.check(os.Remove(w.filler())) },
			troubleshooting.Row("the tmpfs for keys and certificates is full (volume.tmpfsSize)"),
		},
		"read-only": {
			func(w *world) { w.remount(unix.MS_RDONLY) },
			func(w *world) { w.remount(0) },
			troubleshooting.Row("the tmpfs for keys and certificates is read-only"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
			small(w)
			w.startApprover()
			w.startDriver()
			live, late := w.pod("live"), w.pod("late")
			target := w.publish(live)
			row.spoil(w)
			for range 2 {
				_, err := w.kubelet.Publish(t.Context(), late, testkit.VolumeName)
				w.requireRefusal(err, codes.ResourceExhausted)
				row.message.Seen(t, err.Error())
			}
			w.requireRequestsOf(late, 0)
			w.publish(live)
			w.readSVID(target)
			row.mend(w)
			w.publish(late)
			before := w.generation(target)
			w.eventually("the live volume is renewed", func() bool { return w.generation(target) != before })
			w.readSVID(target)
		})
	}
}

// Space for renewals is kept, so that new pods fail before live ones do.
func TestRenewalsGoOnInATmpfsThatIsFullForNewVolumes(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	small(w)
	w.startApprover()
	w.startDriver()
	target := w.publish(w.pod("live"))
	w.check(os.WriteFile(w.filler(), bytes.Repeat([]byte("x"), 700<<10), 0o600))
	before := w.generation(target)
	w.eventually("the live volume is renewed", func() bool { return w.generation(target) != before })
	w.readSVID(target)
	_, err := w.kubelet.Publish(t.Context(), w.pod("late"), testkit.VolumeName)
	w.requireRefusal(err, codes.ResourceExhausted, "which are kept for renewals")
}

// A renewal that has no room for the key of its request asks for nothing.
func TestRenewalWithoutRoomForItsKeyAsksForNothing(t *testing.T) {
	w := prepare(t, soonDue)
	small(w)
	w.startApprover()
	w.startDriver()
	pod := w.pod("live")
	target := w.publish(pod)
	before := w.generation(target)
	w.check(w.fill())
	w.failsForWantOfRoom(3)
	if w.generation(target) != before {
		t.Error("the files were written")
	}
	w.requireRequestsOf(pod, 1)
	w.readSVID(target)
	w.check(os.Remove(w.filler()))
	w.eventually("the live volume is renewed", func() bool { return w.generation(target) != before })
	w.readSVID(target)
}

// A renewal that finds no room for its SVID asks for no other, however often it
// is tried, and has that one when there is room.
func TestRenewalWithoutRoomAsksOnce(t *testing.T) {
	w := prepare(t, soonDue)
	small(w)
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	pod := w.pod("live")
	target := w.publish(pod)
	first, before := w.requestsOf(pod), w.generation(target)
	proxy.Inject(testkit.OnCreate(func(response http.ResponseWriter, request *http.Request, forward http.HandlerFunc) {
		if err := w.fill(); err != nil { // the key is kept by now
			t.Error(err)
		}
		forward(response, request)
	}))
	w.failsForWantOfRoom(3)
	if w.generation(target) != before {
		t.Error("the files were written")
	}
	w.readSVID(target)
	asked := slices.DeleteFunc(w.requestsOf(pod), func(name string) bool { return slices.Contains(first, name) })
	if len(asked) != 1 {
		t.Fatalf("asked for %q, want one", asked)
	}
	proxy.Inject(nil)
	w.check(os.Remove(w.filler()))
	w.eventually("the live volume is renewed", func() bool { return w.generation(target) != before })
	w.logged("msg=renewed")
	_, renewed, _ := strings.Cut(w.log.String(), "msg=renewed")
	if line, _, _ := strings.Cut(renewed, "\n"); !strings.Contains(line, "request="+w.workload.Namespace+"/"+asked[0]) {
		t.Errorf("renewed by another request than %s:%s", asked[0], line)
	}
	w.readSVID(target)
}

// soonDue has an SVID be due after 5 to 10 s. It lasts for long: one of which less
// than half is left is not used any more.
func soonDue(*world) string { return "certificate: {duration: 30m, renewBefore: 29m50s}" }

// failsForWantOfRoom waits until renewals have failed so many times.
func (w *world) failsForWantOfRoom(times int) {
	w.t.Helper()
	w.eventually("the renewal fails for want of room, again and again", func() bool {
		failed := 0
		for line := range strings.Lines(w.log.String()) {
			if strings.Contains(line, `msg="renewal failed"`) && strings.Contains(line, "volume.tmpfsSize") {
				failed++
			}
		}
		return failed >= times
	})
}

// fill fills the tmpfs to the last byte.
func (w *world) fill() error {
	filler, err := os.Create(w.filler())
	if err != nil {
		return err
	}
	for err == nil {
		_, err = filler.Write(bytes.Repeat([]byte("x"), 512))
	}
	if !errors.Is(err, unix.ENOSPC) {
		return errors.Join(err, filler.Close())
	}
	return filler.Close()
}

// A driver whose tmpfs cannot be mounted when it starts tells why, and publishes
// as soon as it can.
func TestTmpfsThatCannotBeMounted(t *testing.T) {
	w := prepare(t)
	w.check(os.WriteFile(w.config.Volume.TmpfsPath, nil, 0o600)) // a file in its place
	w.startApprover()
	w.startDriver()
	const row = troubleshooting.Row("the tmpfs for keys and certificates is not there: …")
	row.Seen(t, fmt.Sprint(w.driver.Ready()))
	pod := w.pod("web-0")
	for range 2 {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		w.requireRefusal(err, codes.Unavailable, w.config.Volume.TmpfsPath)
		row.Seen(t, err.Error())
	}
	w.requireRequestsOf(pod, 0)
	w.check(os.Remove(w.config.Volume.TmpfsPath))
	w.readSVID(w.publish(pod))
	w.check(w.driver.Ready())
}

func (w *world) filler() string { return filepath.Join(w.config.Volume.TmpfsPath, "filler") }

// A bundle that has grown beyond what the tmpfs holds reaches the volumes that
// there is room for. The others keep the one that they have, all of them are
// renewed, new pods are refused, and a smaller bundle is in every volume again.
func TestBundleThatDoesNotFitLeavesRenewalsAlone(t *testing.T) {
	const count = 12
	w := prepare(t, withBundle, func(*world) string { return "certificate: {duration: 9s}" })
	small(w)
	w.startApprover()
	w.startDriver()
	requests := w.publishMany(count)
	var many []testkit.CA
	for range 100 { // as many as make some 60 KiB
		many = append(many, w.newCA("root"))
	}
	w.writeBundle(many...)
	large := slices.Concat(pemOf(many)...)
	having := func(want []byte) (n int) {
		for _, target := range targetsOf(requests) {
			if hasFile(target, "ca.crt", want) {
				n++
			}
		}
		return n
	}
	w.eventually("those that there is room for have it", func() bool {
		have := having(large)
		return have > 0 && have < count && w.driver.VolumesOutdated() == count-have
	})
	// Some may be written at the moment: the two are not counted at the same time.
	w.eventually("each volume has one of the two", func() bool { return having(large)+having(w.ca.CertificatePEM) == count })
	keys := map[string]string{}
	for _, target := range targetsOf(requests) {
		keys[target] = w.readFile(target, "tls.key")
	}
	w.eventually("every volume is renewed", func() bool {
		for target, key := range keys {
			if now, err := os.ReadFile(filepath.Join(target, "tls.key")); err != nil || string(now) == key {
				return false
			}
		}
		return true
	})
	for target := range keys {
		w.readSVID(target)
	}
	if having(w.ca.CertificatePEM) == 0 || w.driver.VolumesOutdated() == 0 {
		t.Error("a renewal has brought the bundle that does not fit")
	}
	_, err := w.kubelet.Publish(t.Context(), w.pod("late"), testkit.VolumeName)
	w.requireRefusal(err, codes.ResourceExhausted, "kept for renewals")

	w.writeBundle(w.ca, many[0])
	w.eventually("the smaller one is in all", func() bool {
		return having(slices.Concat(w.ca.CertificatePEM, many[0].CertificatePEM)) == count && w.driver.VolumesOutdated() == 0
	})
}
