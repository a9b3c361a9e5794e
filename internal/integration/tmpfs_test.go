// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit/troubleshooting"
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

// A renewal that finds no room keeps what it has been given, and asks for nothing
// a second time.
func TestRenewalWithoutRoomAsksOnce(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 30s, renewBefore: 25s}" })
	small(w)
	w.startApprover()
	w.startDriver()
	pod := w.pod("live")
	target := w.publish(pod)
	before := w.generation(target)
	filler, err := os.Create(w.filler())
	w.check(err)
	for err == nil { // to the last byte
		_, err = filler.Write(bytes.Repeat([]byte("x"), 512))
	}
	w.check(filler.Close())
	w.eventually("the renewal fails for want of room", func() bool {
		return strings.Contains(w.log.String(), "renewal failed") && strings.Contains(w.log.String(), "volume.tmpfsSize")
	})
	if w.generation(target) != before {
		t.Error("the files were written")
	}
	w.readSVID(target)
	w.check(os.Remove(w.filler()))
	w.eventually("the live volume is renewed", func() bool { return w.generation(target) != before })
	w.readSVID(target)
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
