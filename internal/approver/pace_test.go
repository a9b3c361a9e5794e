// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// course is a pacer with a clock of its own.
type course struct {
	*testing.T
	pacer pacer
	now   time.Time
}

func (c *course) enter(kind, signer, name string) *turn {
	t, _ := c.pacer.enter(kind, signer, item{uid: types.UID(name)}, c.now)
	return t
}

// mustPark asserts that a decision has no turn until another has left.
func (c *course) mustPark(kind, signer, name string) {
	c.Helper()
	if t, after := c.pacer.enter(kind, signer, item{uid: types.UID(name)}, c.now); t != nil || after != 0 {
		c.Fatalf("%s: turn %v, after %s; want it parked", name, t, after)
	}
}

// of is enter for a namespace.
func (c *course) of(namespace, name string) (*turn, time.Duration) {
	return c.pacer.enter("kind", "ca", item{namespace: namespace, uid: types.UID(name)}, c.now)
}

func (c *course) mustRest(kind, signer string, want time.Duration) {
	c.Helper()
	if t, after := c.pacer.enter(kind, signer, item{}, c.now); t != nil || after != want {
		c.Fatalf("turn %v, after %s; want it to rest for %s", t, after, want)
	}
}

// One goes ahead, and the others follow when it has come back well.
func TestPacerSendsOneAhead(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	first := c.enter("kind", "ca", "1")
	c.mustPark("kind", "ca", "2")
	c.mustPark("kind", "ca", "3")
	again := first.leave(failed, c.now)
	if !slices.Equal(again, []item{{uid: "2"}, {uid: "3"}}) {
		t.Fatalf("%v are tried again", again)
	}
	second := c.enter("kind", "ca", "2") // the first one did not find out
	c.mustPark("kind", "ca", "3")
	second.leave(written, c.now)
	for range 10 {
		if c.enter("kind", "ca", "x") == nil {
			t.Fatal("one has to wait though the webhook knows the answer")
		}
	}
	c.now = c.now.Add(rememberedFor - 1)
	c.enter("kind", "ca", "4").leave(written, c.now) // which the webhook remembers no longer for
	c.now = c.now.Add(1)
	c.enter("kind", "ca", "5")
	c.mustPark("kind", "ca", "6")
}

// The webhook's first question is about a kind, the second about one issuer.
func TestPacerKnowsKindsAndIssuers(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	first := c.enter("issuers", "a.ca", "1")
	c.mustPark("issuers", "b.ca", "2")
	if c.enter("clusterissuers", "ca", "3") == nil {
		t.Error("a decision for another kind has to wait")
	}
	first.leave(written, c.now)
	if c.enter("issuers", "b.ca", "2") == nil {
		t.Error("nobody may ask about another issuer")
	}
	c.mustPark("issuers", "b.ca", "4")
	if c.enter("issuers", "c.ca", "5") == nil || c.enter("issuers", "a.ca", "6") == nil {
		t.Error("decisions for other issuers have to wait")
	}
}

// An issuer whose decisions are refused rests, longer each time, and no other
// does.
func TestPacerHasRefusedSignersRest(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	for rest := firstRest; rest < lastRest; rest *= 2 {
		c.enter("kind", "bad", "1").leave(refused, c.now)
		c.mustRest("kind", "bad", rest)
		c.enter("kind", "good", "2").leave(written, c.now)
		c.now = c.now.Add(rest)
	}
	c.enter("kind", "bad", "1").leave(refused, c.now)
	c.mustRest("kind", "bad", lastRest)
	c.now = c.now.Add(lastRest)
	c.enter("kind", "bad", "1").leave(written, c.now)
	if c.enter("kind", "bad", "2") == nil {
		t.Error("it rests after its decision was written")
	}
}

// Decisions that were under way at the same time are refused for one reason, and
// one that is written shows that it is over.
func TestPacerCountsOneOutageOnce(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	c.enter("kind", "ca", "0").leave(written, c.now)
	turns := make([]*turn, 8)
	for i := range turns {
		turns[i] = c.enter("kind", "ca", strconv.Itoa(i))
	}
	for _, turn := range turns[1:] {
		turn.leave(refused, c.now)
	}
	c.mustRest("kind", "ca", firstRest)
	turns[0].leave(written, c.now)
	if c.enter("kind", "ca", "9") == nil {
		t.Error("it rests though a decision was written")
	}
}

// A request that has gone ahead and hangs is passed by another namespace, which
// comes back for that, and not by one of its own.
func TestPacerPassesARequestThatHangs(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	hangs, _ := c.of("a", "1")
	for _, row := range []struct {
		namespace, name string
		want            time.Duration // after which it comes back
	}{
		{"a", "2", 0},
		{"b", "3", passedAfter},
		{"b", "4", 0}, // for there is a stand-in of its namespace
		{"c", "5", passedAfter},
	} {
		if turn, after := c.of(row.namespace, row.name); turn != nil || after != row.want {
			t.Errorf("%s/%s: turn %v, after %s; want none, and %s", row.namespace, row.name, turn, after, row.want)
		}
	}
	c.now = c.now.Add(passedAfter)
	if turn, _ := c.of("a", "6"); turn != nil {
		t.Error("one of its own namespace passes it")
	}
	passes, _ := c.of("b", "3")
	if passes == nil {
		t.Fatal("one of another namespace has to wait for it")
	}
	if turn, after := c.of("c", "5"); turn != nil || after != passedAfter {
		t.Errorf("while another asks: turn %v, after %s; want none, and %s", turn, after, passedAfter)
	}
	if again := hangs.leave(failed, c.now); len(again) != 0 {
		t.Errorf("%v are tried again while another asks", again)
	}
	if again := passes.leave(written, c.now); len(again) != 6 {
		t.Errorf("%v are tried again, want all that were parked", again)
	}
	if turn, _ := c.of("c", "5"); turn == nil {
		t.Error("nobody follows the one that has passed")
	}
}

// A signer that is refused for one namespace rests for that one; when another is
// refused as well, for all.
func TestPacerRestsForOneNamespace(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	refuse := func(namespace string) {
		turn, after := c.of(namespace, "x")
		if turn == nil {
			t.Fatalf("%s: rests for %s", namespace, after)
		}
		turn.leave(refused, c.now)
	}
	for range 3 { // It alone is refused, however often.
		refuse("a")
		if _, after := c.of("a", "y"); after == 0 {
			t.Fatal("a does not rest")
		}
		if turn, _ := c.of("b", "y"); turn == nil {
			t.Fatal("b rests as well")
		} else {
			turn.leave(failed, c.now)
		}
		c.now = c.now.Add(lastRest)
	}
	refuse("b")
	if _, after := c.of("c", "y"); after != firstRest {
		t.Errorf("c rests for %s after two namespaces were refused, want %s", after, firstRest)
	}
	c.now = c.now.Add(firstRest)
	turn, _ := c.of("c", "y")
	turn.leave(written, c.now)
	refuse("a")
	if turn, _ := c.of("c", "y"); turn == nil {
		t.Error("c rests though its decisions are written")
	}
}

func TestPacerForgets(t *testing.T) {
	t.Parallel()
	c := &course{T: t, now: time.Now()}
	for i := range 10 * manyPaces {
		c.enter("kind", strconv.Itoa(i), "x").leave(outcome(i%3), c.now)
		c.now = c.now.Add(time.Minute)
	}
	if n := max(len(c.pacer.paces), len(c.pacer.rests)); n > manyPaces {
		t.Errorf("%d are known, want at most %d", n, manyPaces)
	}
}
