// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
)

// list is what the command volumes prints.
func (w *world) list() []listing.Volume { return observe.List("worker-1", w.Snapshots()).Volumes }

// A volume is told of from the first call of the kubelet until it is gone.
func TestSnapshotsOfAVolumesLife(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t, "driver: {publishTimeout: 5s}")
		mustBe := func(when string, is func(s observe.Snapshot) bool) {
			t.Helper()
			if s := w.of(web()); !is(s) {
				t.Errorf("%s it is told of as %+v", when, s)
			}
		}
		isEmpty := func(s observe.Snapshot) bool { return s == observe.Snapshot{VolumeID: web().volume()} }
		mustBe("before all", isEmpty)

		w.api.now(behaviour{undecided: everybody})
		answer := w.publishing(web())
		mustWait(t, answer)
		mustBe("while it waits", func(s observe.Snapshot) bool {
			return s.Live == nil && s.Issuance != nil && s.Issuance.Progress.Stage == issuance.StageApprove && s.Issuance.Progress.UnderWay &&
				s.Issuance.Progress.Operation == observe.Publishing && s.Issuance.Pod.PodName == "web-0" &&
				strings.Contains(s.Issuance.Explanation, "waiting for approval: no approver has decided") && s.OpenRequest == w.api.asked()[0].request
		})
		if list := w.list(); len(list) != 1 || list[0].State != listing.Pending || list[0].PodName != "web-0" {
			t.Errorf("the list says %+v", list)
		}

		w.api.decide(nil)
		check(t, answered(t, answer))
		mustBe("when it is published", func(s observe.Snapshot) bool {
			return s.Live != nil && s.Issuance == nil && s.OpenRequest.Name == "" && s.RenewalDue.After(time.Now()) && !s.Renewing &&
				s.Lifetime.Until().Equal(s.Live.NotAfter)
		})
		if list := w.list(); len(list) != 1 || list[0].State != listing.Published || list[0].NextRenewal.IsZero() || list[0].TargetPath != w.target(web()) {
			t.Errorf("the list says %+v", list)
		}

		w.untilDue(web())
		mustBe("while it is renewed", func(s observe.Snapshot) bool {
			return s.Renewing && s.RenewalDue.IsZero() && s.Issuance.Progress.Operation == observe.Renewing && s.OpenRequest == w.api.asked()[1].request
		})
		pass(5 * time.Second)
		mustBe("when that has failed", func(s observe.Snapshot) bool { return s.Failures == 1 && s.LastError != nil && !s.LastErrorAt.IsZero() })

		w.api.now(behaviour{})
		w.api.decide(nil)
		w.until(func() bool { return w.of(web()).Failures == 0 })
		mustBe("when it is renewed", func(s observe.Snapshot) bool {
			return s.LastError == nil && s.Live.Request == w.api.asked()[1].request.Name && s.Issuance == nil
		})
		check(t, w.unpublish(web()))
		mustBe("after all", isEmpty)
		if list := w.list(); len(list) != 0 {
			t.Errorf("the list says %+v", list)
		}
	})
}

// A request that cannot be used does not fail a volume that is there, be it damaged or that
// of another driver.
func TestKeeps(t *testing.T) {
	t.Parallel()
	unusable := errors.New("it cannot be used")
	foreign := func(w *world) {
		check(w.t, os.MkdirAll(w.target(web()), 0o750))
		check(w.t, unix.Mount("the earlier driver", w.target(web()), "tmpfs", 0, ""))
		w.t.Cleanup(func() { check(w.t, volume.Unmount(w.target(web()))) })
	}
	for _, row := range []struct {
		name    string
		arrange func(w *world)
		change  func(w *world, r *manager.UnusableRequest)
		kept    bool
		// damaged is whether the volume is told of as damaged then.
		damaged bool
	}{
		{"published", func(w *world) { w.mustPublish(web()) }, nil, true, false},
		{"published elsewhere", func(w *world) { w.mustPublish(web()) }, func(_ *world, r *manager.UnusableRequest) { r.TargetPath += "2" }, false, false},
		{"nothing", func(*world) {}, nil, false, false},
		{"no volume ID", func(w *world) { w.mustPublish(web()) }, func(_ *world, r *manager.UnusableRequest) { r.VolumeID = "../x" }, false, false},
		{"something else is mounted", foreign, nil, true, true},
		{"something else, and the target is of another pod", foreign, func(_ *world, r *manager.UnusableRequest) { r.PodUID = "another" }, false, false},
		{"something else, at no target", foreign, func(_ *world, r *manager.UnusableRequest) { r.TargetPath = "/proc" }, false, false},
		{"something else, at the target of another volume", func(w *world) { w.mustPublish(web()) }, func(_ *world, r *manager.UnusableRequest) { r.VolumeID = "csi-other" }, false, false},
		{"a file system that is dead", func(w *world) { volumetest.MountDead(w.t, w.target(web())) }, nil, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				t.Cleanup(func() { check(t, volume.Unmount(w.target(web()))) })
				row.arrange(w)
				request := manager.UnusableRequest{
					VolumeID: web().volume(), TargetPath: w.target(web()),
					PodNamespace: "sandbox", PodName: strings.Repeat("x", 1000), PodUID: web().uid,
				}
				if row.change != nil {
					row.change(w, &request)
				}
				if kept := w.Keeps(w.config.Current(), request, unusable); kept != row.kept {
					t.Errorf("kept: %t, want %t", kept, row.kept)
				}
				pass(0)
				damage := w.Snapshot(request.VolumeID).Damage
				if (damage != nil) != row.damaged {
					t.Fatalf("it is told of as %+v", damage)
				}
				if damage != nil && (!errors.Is(damage.Err, unusable) || damage.Target != request.TargetPath || len(damage.PodName) > 500) {
					t.Errorf("it is told of as %+v", damage)
				}
			})
		})
	}
}

// mustBeDamagedByAMount mounts something in the place of a pod's volume, and has the driver
// find that by a request that cannot be used.
func (w *world) mustBeDamagedByAMount(p pod) {
	w.t.Helper()
	check(w.t, unix.Mount("somebody", w.target(p), "tmpfs", 0, ""))
	request := manager.UnusableRequest{VolumeID: p.volume(), TargetPath: w.target(p), PodUID: p.uid}
	if !w.Keeps(w.config.Current(), request, errors.New("it cannot be used")) {
		w.t.Error("the volume is not kept")
	}
}

// What was wrong with a volume is forgotten when it is found well.
func TestDamageIsForgottenWhenThereIsNone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.mustBeDamagedByAMount(web())
		if list := w.list(); len(list) != 1 || list[0].State != listing.Damaged {
			t.Errorf("the list says %+v", list)
		}
		// A new SVID changes nothing of what is mounted in the volume's place.
		w.untilDue(web())
		w.log.mustSay(t, 1, "msg=renewed")
		if list := w.list(); len(list) != 1 || list[0].State != listing.Damaged {
			t.Errorf("after a renewal the list says %+v", list)
		}
		check(t, unix.Unmount(w.target(web()), 0))
		w.mustPublish(web())
		if list := w.list(); len(list) != 1 || list[0].State != listing.Published {
			t.Errorf("the list says %+v", list)
		}
	})
}

// A new SVID heals a damaged volume that is mounted in its pod.
func TestDamageIsForgottenAfterARenewal(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.mustBeDamagedByAMount(web())
		check(t, unix.Unmount(w.target(web()), 0))
		if list := w.list(); len(list) != 1 || list[0].State != listing.Damaged {
			t.Errorf("before a renewal the list says %+v", list)
		}
		w.untilDue(web())
		w.log.mustSay(t, 1, "msg=renewed")
		if list := w.list(); len(list) != 1 || list[0].State != listing.Published || list[0].LastError != "" {
			t.Errorf("after it the list says %+v", list)
		}
	})
}

// Where another driver's volume is at the target, running containers go on seeing that. It
// is told in the log, in an Event, and in the list, of the next process too, until the pod
// is gone.
func TestVolumeOverThatOfAnotherDriver(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		check(t, os.MkdirAll(w.target(web()), 0o750))
		check(t, unix.Mount("the earlier driver", w.target(web()), "tmpfs", 0, ""))
		w.mustPublish(web(), web())
		w.log.mustSay(t, 1, "a volume may be hidden from its pod", "level=WARN", "the earlier driver")
		w.log.mustSay(t, 1, "msg=Event", "reason=VolumeHidden", "pod sandbox/web-0", "delete the pod", "(1 now)")
		for range 2 {
			if list := w.list(); len(list) != 1 || list[0].LastError != w.of(web()).Shadowed || !strings.Contains(list[0].LastError, "the earlier driver") {
				t.Errorf("the list says %+v", list)
			}
			w.restart()
		}
		check(t, w.unpublish(web()))
		w.mustLeaveNothing()
	})
}

// A file system that is dead hides a live volume from nobody: it gives way.
func TestDeadMountOverALiveVolume(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"when a process starts": false, "while it runs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(web())
				volumetest.MountDead(t, w.target(web()))
				if !running {
					w.restart()
				}
				if s := w.of(web()); s.Shadowed != "" {
					t.Errorf("it is told of as %+v", s)
				}
				w.mustPublish(web())
				w.api.mustHaveAsked(t, 1)
			})
		})
	}
}

// A pod that starts must not start with a dead file system in place of its SVID.
func TestDeadMountIsNoVolume(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		volumetest.MountDead(t, w.target(web()))
		w.api.now(behaviour{verdict: func(issuance.Order) error { return issuance.ErrDenied }})
		if err := w.publish(web()); !errors.Is(err, issuance.ErrDenied) {
			t.Errorf("got %v", err)
		}
		w.api.now(behaviour{})
		w.mustPublish(web())
	})
}

// A volume whose mount is not read-only yet, as an earlier version has left it, is at its
// target all the same.
func TestVolumeThatIsNotReadOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.stop()
		check(t, unix.Mount("", w.target(web()), "", unix.MS_REMOUNT|unix.MS_BIND, ""))
		w.start()
		w.log.mustSay(t, 1, "is not mounted read-only")
		if err := w.Occupied("csi-other", w.target(web())); !errors.Is(err, mounts.ErrOccupied) {
			t.Errorf("for another volume: got %v, want %v", err, mounts.ErrOccupied)
		}
		w.mustPublish(web())
		w.api.mustHaveAsked(t, 1)
	})
}

// Containers that mount a volume with subPath do not see renewed SVIDs. That is told once.
func TestContainersThatDoNotSeeARenewal(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		check(t, os.MkdirAll(filepath.Join(w.root, "pods", web().uid, "volume-subpaths/spiffe/nginx"), 0o700))
		for range 2 {
			w.untilDue(web())
		}
		w.log.mustSay(t, 2, "msg=renewed")
		w.log.mustSay(t, 1, "containers mount a volume with subPath", "containers=nginx")
		w.log.mustSay(t, 1, "msg=Event", "reason=SubPathMount")
		if s := w.of(web()); s.SubPath != mounts.SubPathNote("nginx") {
			t.Errorf("it is told of as %+v", s)
		}
	})
}

// A private key that is damaged where a start does not look is replaced all the same: as soon
// as there is a token after the start, or when the volume is to be mounted again.
func TestDamagedScalarOfAKey(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		meet func(w *world)
		said string
	}{
		{"a process starts", func(w *world) {
			w.restart()
			check(w.t, w.publish(web()))
			pass(time.Minute)
		}, "a volume of an earlier process has a damaged key, and gets another one"},
		{"it is not mounted any more", func(w *world) { check(w.t, volume.Unmount(w.target(web()))) }, "a live volume has lost its files, and gets others"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				before := w.mustPublish(web())
				check(t, overwrite(filepath.Join(w.store.DataPath(web().volume()), "tls.key"), withDamagedScalar(t, w.read(web(), "tls.key"))))
				row.meet(w)
				after := w.mustPublish(web())
				w.log.mustSay(t, 1, row.said, "level=WARN", volume.ErrDamaged.Error())
				if samePublicKey(before, after) {
					t.Error("the key is the same")
				}
				w.api.mustHaveAsked(t, 2)
			})
		})
	}
}

// withDamagedScalar returns a private key, in PEM, in which all is right but the number that
// is secret.
func withDamagedScalar(t *testing.T, encoded []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(encoded)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(t, err)
	scalar, err := key.(*ecdsa.PrivateKey).Bytes()
	check(t, err)
	block.Bytes[bytes.Index(block.Bytes, scalar)+len(scalar)/2] ^= 1
	return pem.EncodeToMemory(block)
}
