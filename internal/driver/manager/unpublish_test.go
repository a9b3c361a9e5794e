// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// untilDue lets time pass until the volume of a pod is due for renewal, and a little more.
func (w *world) untilDue(p pod) {
	w.t.Helper()
	due := w.of(p).RenewalDue
	if due.IsZero() {
		w.t.Fatal("no renewal is planned")
	}
	pass(time.Until(due) + time.Millisecond)
}

func TestUnpublishDestroysEverything(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		for range 2 { // it must be idempotent
			check(t, w.unpublish(web()))
			pass(time.Second)
			w.mustLeaveNothing()
			w.api.mustHave(t, 0)
		}
		pass(24 * time.Hour)
		w.api.mustHaveAsked(t, 1)
	})
}

// Whatever is going on for a volume ends when it is unpublished, and leaves neither a
// request nor its key.
func TestUnpublishWhileARequestIsUnderWay(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		api  behaviour
		// renewal is whether the volume is published, and is being renewed.
		renewal bool
	}{
		{"of a publish", behaviour{undecided: everybody}, false},
		{"of a publish, which the API server has no answer for", behaviour{hangs: everybody}, false},
		{"of a publish, which is tried again later", behaviour{create: func(issuance.Order) error { return errAway }}, false},
		{"of a publish, which ends late", behaviour{undecided: everybody, lingers: time.Second}, false},
		{"of a renewal", behaviour{undecided: everybody}, true},
		{"of a renewal, which the API server has no answer for", behaviour{hangs: everybody}, true},
		{"of a renewal, which ends late", behaviour{undecided: everybody, lingers: time.Second}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				var answer <-chan error
				if row.renewal {
					w.mustPublish(web())
					w.api.now(row.api)
					w.untilDue(web())
				} else {
					w.api.now(row.api)
					answer = w.publishing(web())
					mustWait(t, answer)
				}
				check(t, w.unpublish(web()))
				if answer != nil {
					if err := answered(t, answer); !errors.Is(err, lifecycle.ErrUnpublished) {
						t.Errorf("the publish: got %v, want %v", err, lifecycle.ErrUnpublished)
					}
				}
				pass(time.Minute)
				w.mustLeaveNothing()
				w.api.mustHave(t, 0)
			})
		})
	}
}

// While the driver stops it answers the calls that have come, and nobody tells any more that
// a request has ended. The next process deletes the request.
func TestUnpublishWhileTheDriverStops(t *testing.T) {
	t.Parallel()
	for name, renewal := range map[string]bool{"of a publish": false, "of a renewal": true} {
		t.Run("a request "+name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				if renewal {
					w.mustPublish(web())
				}
				w.api.now(behaviour{undecided: everybody})
				if renewal {
					w.untilDue(web())
					w.end()
				} else {
					answer := w.publishing(web())
					mustWait(t, answer)
					w.end()
					if err := answered(t, answer); !errors.Is(err, manager.ErrStopping) {
						t.Errorf("the publish: got %v, want %v", err, manager.ErrStopping)
					}
				}
				check(t, answered(t, calling(func() error { return w.unpublish(web()) })))
				w.mustLeaveNothing()
				w.restart()
				pass(time.Minute)
				w.mustLeaveNothing()
				w.api.mustHave(t, 0)
			})
		})
	}
}

// A volume whose ID looks like the label of another one's requests has none of these.
func TestVolumeIDThatLooksLikeTheLabelOfAnother(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t, "driver: {publishTimeout: 110s}")
		long := podOf("sandbox", strings.Repeat("0123456789", 8)) // so long that the label is a hash
		w.mustPublish(long)
		pass(time.Minute)
		w.api.now(behaviour{undecided: everybody})
		w.untilDue(long)
		w.api.mustHave(t, 2)
		label := issuance.VolumeLabel(long.volume())
		if label == long.volume() || issuance.VolumeLabel(label) != label {
			t.Fatalf("the label is %s", label)
		}
		check(t, w.Unpublish(t.Context(), label, w.target(web())))
		pass(time.Minute)
		w.api.mustHave(t, 2)
		w.api.decide(nil)
		pass(time.Second)
		w.log.mustSay(t, 1, "msg=renewed")
		w.log.mustSay(t, 0, "renewal failed")
	})
}

// An SVID that comes while its volume is being unpublished is for nobody.
func TestSVIDThatComesDuringUnpublish(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.api.now(behaviour{undecided: everybody, lingers: time.Minute})
		w.untilDue(web())
		answer := calling(func() error { return w.unpublish(web()) })
		mustWait(t, answer)
		w.api.decide(nil)
		check(t, answered(t, answer))
		pass(time.Minute)
		w.mustLeaveNothing()
		w.api.mustHave(t, 0)
	})
}

// Nor is one that nobody has collected.
func TestSVIDThatNobodyHasCollected(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world) error{
		"the volume is unpublished": func(w *world) error { return w.unpublish(web()) },
		"nobody asks for it":        func(*world) error { pass(11 * time.Minute); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(behaviour{undecided: everybody})
				if err := w.publish(web()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				w.api.decide(nil)
				pass(time.Second)
				check(t, end(w))
				pass(time.Second)
				w.mustLeaveNothing()
				w.api.mustHave(t, 0)
				if got := observetest.Samples(t, w.Metrics()...); got["issuances_total{operation=publish,outcome=abandoned,stage=collect}"] != 1 {
					t.Errorf("the metrics are %v", got)
				}
			})
		})
	}
}

// A volume that is published again while it is being unpublished is a new one.
func TestPublishDuringUnpublish(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		before := w.mustPublish(web())
		w.api.now(behaviour{undecided: everybody, lingers: time.Second})
		w.untilDue(web())
		unpublished := calling(func() error { return w.unpublish(web()) })
		mustWait(t, unpublished)
		published := w.publishing(web())
		mustWait(t, published)
		w.api.now(behaviour{})
		pass(time.Second)
		check(t, answered(t, unpublished))
		check(t, answered(t, published))
		if after := w.mustHaveSVID(web()); after.Certificates[0].Equal(before.Certificates[0]) {
			t.Error("the volume has the SVID of before")
		}
		pass(time.Minute)
		w.api.mustHave(t, 1)
	})
}

// As long as a volume cannot be unpublished it is renewed.
func TestVolumeThatCannotBeUnpublished(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		check(t, os.MkdirAll(w.target(web()), 0o750))
		inTheWay := filepath.Join(w.target(web()), "file")
		check(t, os.WriteFile(inTheWay, nil, 0o600))
		w.mustPublish(web())
		due := w.of(web()).RenewalDue
		if err := w.unpublish(web()); err == nil {
			t.Error("unpublished, and its folder cannot be removed")
		}
		pass(0)
		if got := w.of(web()).RenewalDue; !got.Equal(due) {
			t.Errorf("due at %s, want %s as before", got, due)
		}
		w.untilDue(web())
		w.api.mustHaveAsked(t, 2)
		check(t, os.Remove(inTheWay))
		check(t, w.unpublish(web()))
		w.mustLeaveNothing()
	})
}

// An unpublish that the kubelet gives up, because a request does not end, has the volume
// renewed. One beside another that goes on does not.
func TestUnpublishThatGivesUp(t *testing.T) {
	t.Parallel()
	for name, another := range map[string]bool{"alone": false, "beside another": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(web())
				w.api.now(behaviour{undecided: everybody, lingers: time.Minute})
				w.untilDue(web())
				var other <-chan error
				if another {
					other = calling(func() error { return w.unpublish(web()) })
					mustWait(t, other)
				}
				gaveUp := errors.New("the kubelet hung up")
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(gaveUp)
				if err := w.Unpublish(ctx, web().volume(), w.target(web())); !errors.Is(err, gaveUp) {
					t.Errorf("got %v, want %v", err, gaveUp)
				}
				w.api.now(behaviour{})
				pass(2 * time.Minute)
				if another {
					check(t, answered(t, other))
					w.mustLeaveNothing()
					return
				}
				w.log.mustSay(t, 1, "msg=renewed")
				w.mustHaveSVID(web())
			})
		})
	}
}

// A volume that the kubelet has at another target now is unpublished at both.
func TestUnpublishTakesAVolumeAwayWhereverItIs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		moved := w.request(web())
		moved.TargetPath = filepath.Join(filepath.Dir(w.target(web())), "moved")
		check(t, w.publishAs(moved))
		w.api.mustHaveAsked(t, 1)
		check(t, w.Unpublish(t.Context(), moved.VolumeID, moved.TargetPath))
		w.mustLeaveNothing()
	})
}

// Metadata that were copied from one volume to another say that both are at the same
// target. The one that is not there is destroyed without taking the other's away.
func TestMetadataWithTheTargetOfAnotherVolume(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.stop()
		meta, err := w.store.ReadMetadata(web().volume())
		check(t, err)
		const id = "csi-copy"
		check(t, w.store.Write(id, map[string][]byte{"tls.crt": w.read(web(), "tls.crt"), "tls.key": w.read(web(), "tls.key")}, meta))
		own := filepath.Join(filepath.Dir(w.target(web())), "own")
		check(t, w.store.Mount(id, own))
		w.start()
		if err := w.Unpublish(t.Context(), id, w.target(web())); !errors.Is(err, mounts.ErrOccupied) {
			t.Errorf("at the target of the other: got %v, want %v", err, mounts.ErrOccupied)
		}
		if err := w.Occupied(id, w.target(web())); !errors.Is(err, mounts.ErrOccupied) {
			t.Errorf("asked whether it is the other's: got %v, want %v", err, mounts.ErrOccupied)
		}
		check(t, w.Unpublish(t.Context(), id, own))
		w.mustHaveSVID(web())
		if _, err := os.Lstat(own); !os.IsNotExist(err) {
			t.Errorf("its own target: %v", err)
		}
		check(t, w.unpublish(web()))
		w.mustLeaveNothing()
	})
}

// A volume is known to be at its target until it is unpublished.
func TestIsAt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		mustBeAt := func(want bool) {
			t.Helper()
			if got := w.IsAt(web().volume(), w.target(web())); got != want {
				t.Errorf("it is at its target: %t, want %t", got, want)
			}
		}
		mustBeAt(false)
		w.mustPublish(web())
		mustBeAt(true)
		w.restart()
		mustBeAt(true)
		check(t, w.unpublish(web()))
		mustBeAt(false)
	})
}

// The key of a volume is gone when the kubelet is told that the volume is.
func TestUnpublishTakesTheKeyAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.untilDue(web()) // so that there is a replaced generation
		check(t, w.unpublish(web()))
		if _, err := w.store.ReadMetadata(web().volume()); !errors.Is(err, volume.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(filepath.Join(w.store.Root(), web().volume())); !os.IsNotExist(err) {
			t.Errorf("the folder: %v", err)
		}
	})
}
