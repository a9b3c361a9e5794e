// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package requests_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/requests"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// own is the pod of the volume, and other another pod of the namespace.
func own() issuance.Pod {
	return issuance.Pod{Namespace: "sandbox", ServiceAccount: "example-app", Name: "web-0", UID: "c2f0f7a1"}
}

func other() issuance.Pod {
	return issuance.Pod{Namespace: "sandbox", ServiceAccount: "example-app", Name: "web-1", UID: "77"}
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "sandbox", Name: name}
}

// issued is a request that has brought a certificate, created in a second.
func issued(name string, second int64) issuance.Known {
	return issuance.Known{Request: named(name), UID: types.UID("uid-" + name), Pod: own(), Created: time.Unix(second, 0), Issued: true}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	failed := issued("failed", 4)
	failed.Issued = false
	elsewhere := issued("elsewhere", 4)
	elsewhere.Request.Namespace = "other"
	history := []issuance.Known{issued("later", 9), issued("same-second", 5), issued("svid", 5), failed, elsewhere, issued("earlier", 3), issued("first", 1)}
	for _, row := range []struct {
		name          string
		next, present string
		limit         int
		want          []string
	}{
		{"nothing", "", "", 3, nil},
		{"not published", "next", "", 3, []string{"next"}},
		{"published", "", "svid", 1, []string{"svid"}},
		{"published, and about to be renewed", "next", "svid", 1, []string{"next", "svid"}},
		{"no history", "next", "svid", 0, []string{"next"}},
		{"the one before may be of the same second", "", "svid", 2, []string{"svid", "same-second"}},
		{"what brought nothing, or is elsewhere, is not history", "", "svid", 3, []string{"svid", "same-second", "earlier"}},
		{"as many as there are", "next", "svid", 9, []string{"next", "svid", "same-second", "earlier", "first"}},
		{"one that the watch does not know yet", "", "unseen", 2, []string{"unseen", "later"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := requests.Volume{ID: "csi-1", Pod: own()}
			if row.next != "" {
				v.Next = named(row.next)
			}
			if row.present != "" {
				v.Present = named(row.present)
			}
			asked := false
			var got []string
			for _, name := range requests.Wanted(v, row.limit, func() []issuance.Known { asked = true; return history }) {
				if name.Name != "" {
					got = append(got, name.Name)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if matters := row.present != "" && row.limit > 1; asked != matters {
				t.Errorf("the history was asked for: %t, want %t", asked, matters)
			}
		})
	}
}

// api has the requests of one volume.
type api struct {
	mu      sync.Mutex
	known   []issuance.Known
	deleted []string
	// refuse returns why a request cannot be deleted, or nil.
	refuse func(name string) error
}

// OfVolume implements [requests.API].
func (a *api) OfVolume(_ string, pod issuance.Pod) (of []issuance.Known) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range a.known {
		if known.Pod.Is(pod) {
			of = append(of, known)
		}
	}
	return of
}

// Delete implements [requests.API].
func (a *api) Delete(_ context.Context, ref issuance.Ref) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		if err := a.refuse(ref.Name.Name); err != nil {
			return err
		}
	}
	a.known = slices.DeleteFunc(a.known, func(known issuance.Known) bool { return known.Request == ref.Name })
	a.deleted = append(a.deleted, ref.Name.Name)
	return nil
}

// deletions counts deletions.
func (a *api) deletions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.deleted)
}

// mustHaveDeleted fails the test unless these requests have been deleted, in any order.
func (a *api) mustHaveDeleted(t *testing.T, want ...string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	got := slices.Compact(slices.Sorted(slices.Values(a.deleted)))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("deleted are %q, want %q", got, want)
	}
}

// keeping is a Keeper that runs in a bubble of synctest.
type keeping struct {
	*requests.Keeper

	api *api
	log *strings.Builder

	mu sync.Mutex
	// volume is what is wanted of the one volume that there is, unless it is gone.
	volume requests.Volume
	gone   bool
}

// want changes what is wanted of the volume.
func (k *keeping) want(change func()) requests.Volume {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	return k.volume
}

// keep has a Keeper keep the requests of a volume in order, with a history of one.
func keep(t *testing.T, known ...issuance.Known) *keeping {
	t.Helper()
	k := &keeping{
		api: &api{known: known}, log: &strings.Builder{},
		volume: requests.Volume{ID: "csi-1", Pod: own(), Present: named("svid")},
	}
	k.Keeper = requests.New(k.api, func(label string) (requests.Volume, bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if label != issuance.VolumeLabel("csi-1") || k.gone {
			return requests.Volume{}, false
		}
		return k.volume, true
	}, func() int { return 1 }, slog.New(slog.NewTextHandler(k.log, nil)))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return k
}

// pass lets time pass, and waits until everything has come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRetireDeletesWhatIsNotWanted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ofOther := issued("of-other", 1)
		ofOther.Pod = other()
		k := keep(t, issued("svid", 9), issued("earlier", 5), issued("first", 1), ofOther)
		if n := k.Retire(k.volume); n != 2 {
			t.Errorf("%d are to be deleted, want 2", n)
		}
		pass(0)
		k.api.mustHaveDeleted(t, "earlier", "first")
	})
}

// What a volume does not want when it is discarded is deleted, and once more a little later:
// its creation may have been cut off.
func TestDiscard(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, request, volume string
		gone                  bool
		want                  int
	}{
		{"not wanted", "failed", "csi-1", false, 2},
		{"wanted by then", "svid", "csi-1", false, 0},
		{"of a volume that is gone", "svid", "csi-1", true, 2},
		{"of a volume that nobody knows", "svid", "csi-2", false, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := keep(t)
				k.want(func() { k.gone = row.gone })
				k.Discard(issuance.Ref{Name: named(row.request), Pod: own()}, row.volume)
				pass(0)
				if n := k.api.deletions(); n != min(row.want, 1) {
					t.Errorf("deleted %d times at once", n)
				}
				pass(time.Minute)
				if n := k.api.deletions(); n != row.want {
					t.Errorf("deleted %d times, want %d", n, row.want)
				}
			})
		})
	}
}

// A request that appears and that no volume wants is deleted after some time: another
// process may be about to end that made it.
func TestStrays(t *testing.T) {
	t.Parallel()
	ofOther := issued("of-other", 9)
	ofOther.Pod = other()
	for _, row := range []struct {
		name  string
		seen  issuance.Known
		label string
		want  []string
	}{
		{"wanted", issued("svid", 9), "csi-1", nil},
		{"not wanted", issued("stray", 9), "csi-1", []string{"stray"}},
		{"that another pod has made", ofOther, "csi-1", nil},
		{"of a volume that is not there", ofOther, "csi-2", []string{"of-other"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, row.seen)
				k.Seen(row.seen, issuance.VolumeLabel(row.label))
				pass(9 * time.Second)
				k.api.mustHaveDeleted(t)
				pass(time.Minute)
				k.api.mustHaveDeleted(t, row.want...)
			})
		})
	}
}

// The request that makes earlier ones too many may be seen before them.
func TestStraysAmongEarlierRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, issued("svid", 9), issued("earlier", 5))
		k.Seen(issued("svid", 9), issuance.VolumeLabel("csi-1"))
		pass(time.Minute)
		k.api.mustHaveDeleted(t, "earlier")
	})
}

// What cannot be deleted is tried again, the later the more often that has failed, and no
// more if it is wanted by then.
func TestDeletionIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		wanted bool
		want   []string
	}{
		"until it succeeds":    {false, []string{"earlier"}},
		"while it is unwanted": {true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, issued("svid", 9), issued("earlier", 5))
				var tries []time.Duration
				began := time.Now()
				k.api.refuse = func(string) error { // with the lock
					if len(tries) == 4 {
						return nil
					}
					tries = append(tries, time.Since(began))
					return errors.New("connection refused")
				}
				k.Retire(k.volume)
				pass(0)
				if row.wanted {
					k.want(func() { k.volume.Next = named("earlier") })
				}
				pass(time.Hour)
				k.api.mustHaveDeleted(t, row.want...)
				if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}; !row.wanted && !slices.Equal(tries, want) {
					t.Errorf("tried after %s, want %s", tries, want)
				}
				if lines := strings.Count(k.log.String(), "could not delete a request that is of no use any more; tries again"); lines != len(tries) {
					t.Errorf("%d lines say so, want %d: %s", lines, len(tries), k.log)
				}
			})
		})
	}
}

// Where a quota has no room, the volume gives up its history, and nothing of others.
func TestMakeRoom(t *testing.T) {
	t.Parallel()
	ofOther := issued("of-other", 1)
	ofOther.Pod = other()
	for _, row := range []struct {
		name    string
		known   []issuance.Known
		refused string
		made    bool
		deleted []string
	}{
		{"there is a history", []issuance.Known{issued("next", 9), issued("svid", 5), issued("earlier", 1), ofOther}, "", true, []string{"earlier", "svid"}},
		{"a part of it cannot be deleted", []issuance.Known{issued("svid", 5), issued("earlier", 1)}, "svid", true, []string{"earlier"}},
		{"none of it can be deleted", []issuance.Known{issued("svid", 5)}, "svid", false, nil},
		{"there is nothing to give up", []issuance.Known{issued("next", 9), ofOther}, "", false, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, row.known...)
				k.api.refuse = func(name string) error {
					if name == row.refused {
						return errors.New("connection refused")
					}
					return nil
				}
				v := k.want(func() { k.volume.Next = named("next") })
				if made := k.MakeRoom(t.Context(), v); made != row.made {
					t.Errorf("made room: %t, want %t", made, row.made)
				}
				k.api.mustHaveDeleted(t, row.deleted...)
			})
		})
	}
}
