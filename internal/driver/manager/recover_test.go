// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A volume of an earlier process is as it was: nobody is asked, and its renewal is due when
// it was.
func TestAVolumeOfAnEarlierProcessStaysPublished(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		before := w.mustPublish(web())
		was := w.of(web())
		pass(time.Minute)
		w.restart()
		w.log.mustSay(t, 1, "took over the volumes of an earlier process", "volumes=1 waiting=0 damaged=0")
		is := w.of(web())
		if !is.RenewalDue.Equal(was.RenewalDue) || is.Live == nil || is.Live.SPIFFEID != was.Live.SPIFFEID || !is.Live.Obtained.Equal(was.Live.Obtained) ||
			is.Live.EarlyRenewals != was.Live.EarlyRenewals {
			t.Errorf("it is told of as %+v, before as %+v", is.Live, was.Live)
		}
		for range 3 { // the kubelet calls again and again
			check(t, w.publish(web()))
		}
		if after := w.mustHaveSVID(web()); !after.Certificates[0].Equal(before.Certificates[0]) {
			t.Error("the SVID has changed")
		}
		w.api.mustHaveAsked(t, 1)
		w.untilDue(web())
		w.api.mustHaveAsked(t, 2)
		pass(time.Minute)
		w.api.mustHave(t, 1)
	})
}

// A request that is under way when the process ends is gone on with by the next one, and
// never made again.
func TestARequestUnderWayIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		renewal bool
		// found is what the start says that it has found.
		found string
	}{
		"of a publish": {false, "volumes=0 waiting=1 damaged=0"},
		"of a renewal": {true, "volumes=1 waiting=0 damaged=0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				if row.renewal {
					w.mustPublish(web())
				}
				w.api.now(behaviour{undecided: everybody})
				if row.renewal {
					w.untilDue(web())
				} else {
					answer := w.publishing(web())
					mustWait(t, answer)
				}
				w.restart()
				w.log.mustSay(t, 1, row.found)
				pass(5 * time.Minute) // nobody deletes it
				answer := w.publishing(web())
				if !row.renewal {
					mustWait(t, answer)
				}
				w.api.decide(nil)
				check(t, answered(t, answer))
				pass(time.Second)
				w.log.mustSay(t, 1, "going on with a request that was under way")
				calls := w.api.asked()
				last := len(calls) - 1
				if calls[last].request != calls[last-1].request || w.of(web()).Live.Request != calls[last].request.Name {
					t.Errorf("asked for were %v", calls)
				}
				w.mustHaveSVID(web())
				pass(time.Minute)
				w.api.mustHave(t, 1)
			})
		})
	}
}

// The request that an earlier process has left ends when nobody asks for its volume any
// more, even if what was kept of it cannot be read.
func TestARequestThatNobodyAsksForIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(w *world) error{
		"whole":   func(*world) error { return nil },
		"damaged": func(w *world) error { return w.store.WritePending(web().volume(), []byte("{")) },
		"gone":    func(w *world) error { return w.store.RemovePending(web().volume()) },
	} {
		for when, before := range map[string]bool{"before the start": true, "after it": false} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T) {
					w := newStarted(t)
					w.api.now(behaviour{undecided: everybody})
					mustWait(t, w.publishing(web()))
					w.stop()
					if before {
						check(t, damage(w))
					}
					w.start()
					if !before {
						check(t, damage(w))
					}
					pass(11 * time.Minute)
					w.api.mustHave(t, 0)
					if before && name == "damaged" { // which is left to the kubelet
						w.log.mustSay(t, 1, "the request that was under way is lost")
						check(t, w.unpublish(web()))
					}
					w.mustLeaveNothing()
				})
			})
		}
	}
}

// A process that was killed between putting an SVID into the files and noting where it came
// from has asked for it by the request that is kept.
func TestMetadataAreCompletedFromThePendingRequest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		meta, err := w.store.ReadMetadata(web().volume())
		check(t, err)
		w.configure("certificate: {duration: 2h}")
		w.api.now(behaviour{undecided: everybody})
		w.untilDue(web())
		pending, err := w.store.ReadPending(web().volume())
		check(t, err)
		w.api.decide(nil)
		pass(time.Second)
		after := w.mustHaveSVID(web())
		w.stop()
		check(t, w.store.WritePending(web().volume(), pending))
		check(t, w.store.WriteMetadata(web().volume(), meta))
		w.start()
		request := w.api.asked()[1].request.Name
		noted, err := w.store.ReadMetadata(web().volume())
		check(t, err)
		for _, got := range []*volume.Metadata{w.of(web()).Live, &noted} {
			if got.Request != request || got.Duration != 2*time.Hour || got.EarlyRenewals != meta.EarlyRenewals-1 || time.Since(got.Obtained) > time.Second {
				t.Errorf("known is %+v, want what %s says", got, request)
			}
		}
		if _, err := w.store.ReadPending(web().volume()); !errors.Is(err, volume.ErrNotFound) {
			t.Errorf("the pending request: %v, want it gone", err)
		}
		w.mustPublish(web())
		w.api.mustHaveAsked(t, 2)
		if !w.mustHaveSVID(web()).Certificates[0].Equal(after.Certificates[0]) {
			t.Error("the SVID has changed")
		}
		pass(time.Minute)
		w.api.mustHave(t, 1)
	})
}

// When an SVID was obtained, of which nobody noted it, or which was noted by a clock that
// was set back since, the files tell.
func TestObtainedIsWhenTheFilesWereWritten(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		noted func() time.Time
		// ago is how long ago the files were written, and want how long ago the SVID was
		// obtained.
		ago, want time.Duration
	}{
		{"it was noted", func() time.Time { return time.Now().Add(-20 * time.Minute) }, 10 * time.Minute, 20 * time.Minute},
		{"nobody noted it", func() time.Time { return time.Time{} }, 10 * time.Minute, 10 * time.Minute},
		{"it was noted by another clock", func() time.Time { return time.Now().Add(time.Hour) }, 10 * time.Minute, 10 * time.Minute},
		{"both by another clock", func() time.Time { return time.Now().Add(time.Hour) }, -time.Hour, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(web())
				w.stop()
				pass(30 * time.Minute)
				meta, err := w.store.ReadMetadata(web().volume())
				check(t, err)
				meta.Obtained = row.noted()
				check(t, w.store.WriteMetadata(web().volume(), meta))
				written := time.Now().Add(-row.ago)
				generation, err := filepath.EvalSymlinks(filepath.Join(w.store.DataPath(web().volume()), "..data"))
				check(t, err)
				check(t, os.Chtimes(generation, written, written))
				w.start()
				if got := time.Since(w.of(web()).Live.Obtained); got != row.want {
					t.Errorf("it was obtained %s ago, want %s", got, row.want)
				}
			})
		})
	}
}

// damages are what may have become of a volume.
func damages() map[string]func(w *world, folder string) error {
	return map[string]func(w *world, folder string) error{
		"metadata cut short": func(_ *world, folder string) error { return os.Truncate(filepath.Join(folder, "metadata.json"), 20) },
		"metadata gone":      func(_ *world, folder string) error { return os.Remove(filepath.Join(folder, "metadata.json")) },
		"key gone":           func(_ *world, folder string) error { return os.Remove(filepath.Join(folder, "data", "tls.key")) },
		"files gone":         func(_ *world, folder string) error { return os.Remove(filepath.Join(folder, "data", "..data")) },
		"chain cut short": func(_ *world, folder string) error {
			data, err := os.ReadFile(filepath.Join(folder, "data", "tls.crt"))
			return errors.Join(err, overwrite(filepath.Join(folder, "data", "tls.crt"), append(bytes.Clone(data), data[:len(data)-30]...)))
		},
		"certificate empty": func(_ *world, folder string) error { return overwrite(filepath.Join(folder, "data", "tls.crt"), nil) },
		"metadata of nobody": func(_ *world, folder string) error {
			return overwrite(filepath.Join(folder, "metadata.json"), []byte(`{"version":1,"files":{"certificate":"tls.crt","privateKey":"tls.key"}}`))
		},
		"another identity": func(w *world, folder string) error {
			id := filepath.Base(folder)
			meta, err := w.store.ReadMetadata(id)
			meta.SPIFFEID = "spiffe://my.trust.domain/ns/sandbox/sa/other"
			return errors.Join(err, w.store.WriteMetadata(id, meta))
		},
		"nothing but its folder": func(_ *world, folder string) error {
			return errors.Join(os.RemoveAll(filepath.Join(folder, "data")), os.Remove(filepath.Join(folder, "metadata.json")))
		},
	}
}

func overwrite(path string, content []byte) error {
	return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, content, 0o600))
}

// One volume that cannot be understood stops neither the start nor the others. It is left
// alone until the kubelet publishes it again, which gives it a new SVID, or unpublishes it.
func TestDamagedVolumes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		var damaged []pod
		for name, damage := range damages() {
			p := podOf("sandbox", string(bytes.ReplaceAll([]byte(name), []byte(" "), []byte("-"))))
			damaged = append(damaged, p)
			w.mustPublish(p)
			check(t, damage(w, filepath.Join(w.store.Root(), p.volume())))
		}
		check(t, os.WriteFile(filepath.Join(w.store.Root(), "somebody's"), nil, 0o600))
		w.restart()
		w.log.mustSay(t, len(damaged), "cannot be taken over; it heals when the kubelet publishes it again")
		w.log.mustSay(t, 1, "volumes=1 waiting=0 damaged=9")
		w.log.mustSay(t, 1, "there is something in the tmpfs that is not the driver's; it is left alone", "somebody's")
		if ids, err := w.store.List(); err != nil || len(ids) != len(damaged)+1 {
			t.Errorf("left are %q, %v, want all", ids, err)
		}
		w.mustPublish(web())
		for i, p := range damaged {
			if i%2 == 0 {
				w.mustPublish(p)
			}
			check(t, w.unpublish(p))
		}
		check(t, w.unpublish(web()))
		w.mustLeaveNothing()
	})
}

// A volume that is damaged and in its pod is never failed: it is told of as damaged until it
// has a new SVID.
func TestDamagedVolumesThatAreInTheirPods(t *testing.T) {
	t.Parallel()
	all := damages()
	all["its folder gone"] = func(_ *world, folder string) error { return os.RemoveAll(folder) }
	for name, damage := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(web())
				w.stop()
				check(t, damage(w, filepath.Join(w.store.Root(), web().volume())))
				w.start()
				d := w.of(web()).Damage
				if d == nil || d.Target != w.target(web()) || d.PodUID != web().uid || d.Err == nil {
					t.Fatalf("it is told of as %+v", d)
				}
				w.api.now(behaviour{verdict: func(issuance.Order) error { return issuance.ErrDenied }})
				check(t, w.publish(web()))
				w.log.mustSay(t, 1, "it stays as it is", "level=WARN", "denied by approver")
				if d := w.of(web()).Damage; d == nil || !errors.Is(d.Err, issuance.ErrDenied) {
					t.Errorf("it is told of as %+v", d)
				}
				w.api.now(behaviour{})
				w.mustPublish(web())
				if d := w.of(web()).Damage; d != nil {
					t.Errorf("it is told of as %+v", d)
				}
				check(t, w.unpublish(web()))
				w.mustLeaveNothing()
			})
		})
	}
}

// A volume without its metadata is in its pod all the same, though there is a request for
// its next SVID.
func TestVolumeIsDamagedThoughARequestIsUnderWay(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		damage func(path string) error
		why    string
	}{
		{"metadata gone", os.Remove, "its metadata are gone"},
		{"metadata cut short", func(path string) error { return os.Truncate(path, 20) }, volume.ErrDamaged.Error()},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(web())
				w.api.now(behaviour{undecided: everybody})
				w.untilDue(web())
				w.stop()
				check(t, row.damage(filepath.Join(w.store.Root(), web().volume(), "metadata.json")))
				w.start()
				s := w.of(web())
				if s.Damage == nil || s.Damage.Target != w.target(web()) || s.Damage.SPIFFEID == "" || s.OpenRequest.Name == "" {
					t.Fatalf("it is told of as %+v", s)
				}
				mustContain(t, s.Damage.Err.Error(), row.why)
				pass(11 * time.Minute)
				if s := w.of(web()); s.Damage == nil || s.OpenRequest.Name != "" {
					t.Errorf("when nobody has asked for it, it is told of as %+v", s)
				}
				w.api.now(behaviour{})
				w.mustPublish(web())
			})
		})
	}
}

// A damaged volume that cannot be healed at another target stays whole at the first.
func TestDamagedVolumeKeepsWhatIsMountedElsewhere(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.stop()
		check(t, os.Truncate(filepath.Join(w.store.Root(), web().volume(), "metadata.json"), 20))
		w.start()
		w.api.now(behaviour{verdict: func(issuance.Order) error { return issuance.ErrDenied }})
		elsewhere := w.request(web())
		elsewhere.TargetPath = filepath.Join(filepath.Dir(w.target(web())), "elsewhere")
		if err := w.publishAs(elsewhere); !errors.Is(err, issuance.ErrDenied) {
			t.Errorf("got %v", err)
		}
		w.mustHaveSVID(web())
		if _, err := os.Lstat(elsewhere.TargetPath); !os.IsNotExist(err) {
			t.Errorf("elsewhere: %v", err)
		}
	})
}

// Metadata of another pod in a volume are damage if an earlier process has left them: the
// volume is not failed, and gets an SVID as soon as that can be.
func TestVolumeWithTheMetadataOfAnotherPod(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		before := w.mustPublish(web())
		w.stop()
		meta, err := w.store.ReadMetadata(web().volume())
		check(t, err)
		meta.PodUID, meta.PodName = "another", "web-1"
		check(t, w.store.WriteMetadata(web().volume(), meta))
		w.start()
		w.api.now(behaviour{undecided: everybody})
		check(t, w.publish(web()))
		w.log.mustSay(t, 1, "a volume of an earlier process has the metadata of another pod, and gets a new")
		if !w.mustHaveSVID(web()).Certificates[0].Equal(before.Certificates[0]) {
			t.Error("the files of the pod have changed")
		}
		w.api.decide(nil)
		w.mustPublish(web())
		if live := w.of(web()).Live; live.PodUID != web().uid || live.PodName != web().name {
			t.Errorf("it is told of as %+v", live)
		}
		w.api.mustHaveAsked(t, 2)
	})
}

// A volume that is whole and not in its pod is mounted, and nobody is asked.
func TestVolumeThatIsNotMounted(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"when a process starts": false, "while it runs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				before := w.mustPublish(web())
				check(t, volume.Unmount(w.target(web())))
				if !running {
					w.restart()
					w.log.mustSay(t, 1, "a volume of an earlier process is not mounted; it is when the kubelet publishes it again")
				}
				if after := w.mustPublish(web()); !after.Certificates[0].Equal(before.Certificates[0]) {
					t.Error("the SVID has changed")
				}
				w.api.mustHaveAsked(t, 1)
				w.log.mustSay(t, 1, "mounted again", "pod=sandbox/web-0")
			})
		})
	}
}

// A volume that has lost its files while its process runs gets others.
func TestVolumeThatHasLostItsFiles(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		before := w.mustPublish(web())
		check(t, os.RemoveAll(filepath.Join(w.store.Root(), web().volume())))
		if after := w.mustPublish(web()); after.Certificates[0].Equal(before.Certificates[0]) {
			t.Error("the SVID is that of before")
		}
		w.log.mustSay(t, 1, "a live volume has lost its files, and gets others")
		w.api.mustHaveAsked(t, 2)
	})
}

// A start does not make a request of a volume that is gone its own.
func TestRequestsOfVolumesThatAreGone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web(), podOf("sandbox", "gone"))
		w.stop()
		gone := podOf("sandbox", "gone")
		check(t, volume.Unmount(w.target(gone)))
		check(t, os.RemoveAll(filepath.Join(w.store.Root(), gone.volume())))
		w.start()
		pass(5 * time.Second) // another process may be about to end
		w.api.mustHave(t, 2)
		pass(time.Minute)
		if names := w.api.names(); len(names) != 1 || names[0] != w.api.asked()[0].request {
			t.Errorf("left are %v", names)
		}
	})
}

// The calls that wait when a manager stops are told so, and nothing goes on. What was under
// way stays as it is, for the next one.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		api  behaviour
		want error
	}{
		{"nothing is going on", behaviour{}, nil},
		{"requests wait", behaviour{undecided: everybody}, manager.ErrStopping},
		{"requests end late", behaviour{undecided: everybody, lingers: time.Second}, manager.ErrStopping},
		{"the API server is away", behaviour{create: func(issuance.Order) error { return errAway }}, manager.ErrStopping},
		{"the API server does not answer", behaviour{hangs: everybody}, manager.ErrStopping},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				renewed := podOf("sandbox", "renewed")
				w.mustPublish(renewed)
				w.api.now(row.api)
				w.untilDue(renewed)
				answer := w.publishing(web())
				pass(time.Second)
				requests := len(w.api.names())
				if err := w.Err(); err != nil {
					t.Errorf("before it stops: %v", err)
				}
				w.stop()
				if err := answered(t, answer); !errors.Is(err, row.want) {
					t.Errorf("the call was told %v, want %v", err, row.want)
				}
				if err := w.Err(); !errors.Is(err, manager.ErrStopping) {
					t.Errorf("when it has stopped: %v", err)
				}
				asked := len(w.api.asked())
				pass(24 * time.Hour)
				w.api.mustHaveAsked(t, asked)
				w.api.mustHave(t, requests)
			})
		})
	}
}
