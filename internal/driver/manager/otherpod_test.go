// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// The ID of a volume is made of the UID of its pod: another pod with it is an error
// somewhere, and neither gets the SVID nor leaves its token behind.
func TestPublishForAnotherPod(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		other := w.request(web())
		other.Token = podOf("sandbox", "web-1").token(time.Now().Add(time.Hour))
		if err := w.publishAs(other); !errors.Is(err, manager.ErrWrongPod) {
			t.Errorf("got %v, want %v", err, manager.ErrWrongPod)
		}
		pass(time.Until(w.of(web()).RenewalDue))
		calls := w.api.asked()
		if used := calls[len(calls)-1].order.Pod.PodName; len(calls) != 2 || used != "web-0" {
			t.Errorf("asked %d times, lastly as %s", len(calls), used)
		}
	})
}

// While one waits for its SVID, neither do both go on.
func TestPublishForAnotherPodMeanwhile(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{undecided: everybody})
		answer := w.publishing(web())
		mustWait(t, answer)
		w.api.now(behaviour{})
		other := w.request(web())
		other.Token = podOf("sandbox", "web-1").token(time.Now().Add(time.Hour))
		if err := w.publishAs(other); err != nil && !errors.Is(err, manager.ErrWrongPod) {
			t.Errorf("got %v", err)
		}
		if err := answered(t, answer); err != nil && !errors.Is(err, manager.ErrWrongPod) {
			t.Errorf("got %v", err)
		}
	})
}

// intruder is a pod of another ServiceAccount, whose calls name the volume of [web].
func intruder() pod { return pod{"elsewhere", "other-app", "other-0", "uid-other"} }

// requestOfIntruder is a call for the volume of [web], with all else of another pod.
func (w *world) requestOfIntruder() manager.PublishRequest {
	request := w.request(intruder())
	request.VolumeID = web().volume()
	return request
}

// mustAskOnlyFor fails the test if an SVID was asked for that is of none of some pods, with
// the token of another pod, or by a request that was made for another one.
func (w *world) mustAskOnlyFor(pods ...pod) {
	w.t.Helper()
	owners := map[types.NamespacedName]string{}
	for _, c := range w.api.asked() {
		i := slices.IndexFunc(pods, func(p pod) bool { return p.uid == c.order.Pod.PodUID })
		if i < 0 || !strings.HasPrefix(c.order.Token.Reveal(), "token of "+pods[i].name+" ") {
			w.t.Errorf("%s was asked for by %s, with the %s", c.request, c.order.Pod.PodName, c.order.Token.Reveal())
		}
		if owner := owners[c.request]; owner != "" && owner != c.order.Pod.PodUID {
			w.t.Errorf("%s of the pod %s was asked for by %s", c.request, owner, c.order.Pod.PodName)
		}
		owners[c.request] = c.order.Pod.PodUID
	}
}

// mustHaveItsOwnOrNothing fails the test unless a call of a pod was answered with an SVID of
// the pod, or has failed because the volume is another's and left nothing. It reports which.
func (w *world) mustHaveItsOwnOrNothing(p pod, err error) (has bool) {
	w.t.Helper()
	if err != nil {
		if _, at := os.Lstat(w.target(p)); !os.IsNotExist(at) || !errors.Is(err, manager.ErrWrongPod) {
			w.t.Errorf("the call of %s: got %v, want %v; at its target: %v", p.name, err, manager.ErrWrongPod, at)
		}
		return false
	}
	pair, err := os.OpenRoot(filepath.Join(w.target(p), "..data"))
	check(w.t, err)
	defer pair.Close()
	if got, want := mustReadSVID(w.t, pair).ID.String(), "spiffe://my.trust.domain/ns/"+p.namespace+"/sa/"+p.account; got != want {
		w.t.Errorf("the pod is %s, want %s", got, want)
	}
	return true
}

// Of two pods whose calls wait while the volume is being unpublished one gets it, with an
// SVID of its own, and the other nothing, also if one of them has given up a further call.
func TestCallsOfTwoPodsDuringUnpublish(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{undecided: everybody, lingers: time.Second})
		first := w.publishing(web())
		mustWait(t, first)
		unpublished := calling(func() error { return w.unpublish(web()) }) // waits until the request has ended
		mustWait(t, unpublished)
		second := w.publishing(web())
		mustWait(t, second)
		intruders := calling(func() error { return w.publishAs(w.requestOfIntruder()) })
		mustWait(t, intruders)
		gaveUp := errors.New("the kubelet hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		third := calling(func() error { return w.Publish(ctx, w.config.Current(), w.request(web())) })
		mustWait(t, third)
		cancel(gaveUp)
		if err := answered(t, third); !errors.Is(err, gaveUp) {
			t.Errorf("the third call: got %v, want %v", err, gaveUp)
		}
		w.api.now(behaviour{})
		pass(2 * time.Second)
		if err := answered(t, first); !errors.Is(err, lifecycle.ErrUnpublished) {
			t.Errorf("the first call: got %v, want %v", err, lifecycle.ErrUnpublished)
		}
		check(t, answered(t, unpublished))
		own := w.mustHaveItsOwnOrNothing(web(), answered(t, second))
		others := w.mustHaveItsOwnOrNothing(intruder(), answered(t, intruders))
		if own == others {
			t.Errorf("the volume is of its pod: %t, and of the other: %t", own, others)
		}
		w.mustAskOnlyFor(web(), intruder())
	})
}

// A request that waits to be made again is never made with the token of another pod, whose
// call came meanwhile.
func TestCallOfAnotherPodWhileTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{create: func(issuance.Order) error { return errAway }})
		answer := w.publishing(web())
		mustWait(t, answer)
		w.room = errors.New("no room")
		if err := w.publishAs(w.requestOfIntruder()); !errors.Is(err, w.room) {
			t.Errorf("the call of the other pod: got %v, want %v", err, w.room)
		}
		w.room = nil
		w.api.now(behaviour{})
		pass(time.Minute)
		w.mustHaveItsOwnOrNothing(web(), answered(t, answer))
		w.mustAskOnlyFor(web())
		w.mustPublish(web())
	})
}

// After a restart, a call of another pod does not take a volume over that is mounted in
// its own pod. It fails, and the volume is renewed as before.
func TestCallOfAnotherPodAfterARestart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// republished is whether the volume's own pod has called since the restart.
		republished bool
		verdict     func(issuance.Order) error
	}{
		{"before its own", false, nil},
		{"after its own", true, nil},
		{"before its own, and would be denied", false, func(issuance.Order) error { return issuance.ErrDenied }},
		{"after its own, and would be denied", true, func(issuance.Order) error { return issuance.ErrDenied }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				before := w.mustPublish(web())
				w.restart()
				if row.republished {
					w.mustPublish(web())
				}
				w.api.now(behaviour{verdict: row.verdict})
				if err := w.publishAs(w.requestOfIntruder()); !errors.Is(err, manager.ErrWrongPod) {
					t.Errorf("got %v, want %v", err, manager.ErrWrongPod)
				}
				if !w.mustPublish(web()).Certificates[0].Equal(before.Certificates[0]) {
					t.Error("the SVID has changed")
				}
				w.api.mustHaveAsked(t, 1)
				w.api.now(behaviour{})
				w.untilDue(web())
				w.log.mustSay(t, 1, "msg=renewed")
				w.mustAskOnlyFor(web())
				if _, err := os.Lstat(w.target(intruder())); !os.IsNotExist(err) {
					t.Errorf("at the target of the other pod: %v", err)
				}
			})
		})
	}
}
