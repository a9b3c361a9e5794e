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

// throttleTest is a webhookThrottle with a clock of its own.
type throttleTest struct {
	*testing.T
	webhookThrottle webhookThrottle
	now             time.Time
}

func (c *throttleTest) acquire(kind, signer, name string) *permit {
	t, _ := c.webhookThrottle.acquire(kind, signer, item{uid: types.UID(name)}, c.now)
	return t
}

// mustPark asserts that a decision has no permit until another is released.
func (c *throttleTest) mustPark(kind, signer, name string) {
	c.Helper()
	if t, after := c.webhookThrottle.acquire(kind, signer, item{uid: types.UID(name)}, c.now); t != nil || after != 0 {
		c.Fatalf("%s: permit %v, after %s; want it parked", name, t, after)
	}
}

// of is acquire for a namespace.
func (c *throttleTest) of(namespace, name string) (*permit, time.Duration) {
	return c.webhookThrottle.acquire("kind", "ca", item{namespace: namespace, uid: types.UID(name)}, c.now)
}

func (c *throttleTest) mustBackOff(kind, signer string, want time.Duration) {
	c.Helper()
	if t, after := c.webhookThrottle.acquire(kind, signer, item{}, c.now); t != nil || after != want {
		c.Fatalf("permit %v, after %s; want it to back off for %s", t, after, want)
	}
}

// One goes ahead, and the others follow when it has come back well.
func TestWebhookThrottleSendsOneAhead(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	first := c.acquire("kind", "ca", "1")
	c.mustPark("kind", "ca", "2")
	c.mustPark("kind", "ca", "3")
	again := first.release(failed, c.now)
	if !slices.Equal(again, []item{{uid: "2"}, {uid: "3"}}) {
		t.Fatalf("%v are tried again", again)
	}
	second := c.acquire("kind", "ca", "2") // the first one did not find out
	c.mustPark("kind", "ca", "3")
	second.release(written, c.now)
	for range 10 {
		if c.acquire("kind", "ca", "x") == nil {
			t.Fatal("one has to wait though the webhook knows the answer")
		}
	}
	c.now = c.now.Add(rememberedFor - 1)
	c.acquire("kind", "ca", "4").release(written, c.now) // which the webhook remembers no longer for
	c.now = c.now.Add(1)
	c.acquire("kind", "ca", "5")
	c.mustPark("kind", "ca", "6")
}

// The webhook's first question is about a kind, the second about one issuer.
func TestWebhookThrottleKnowsKindsAndIssuers(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	first := c.acquire("issuers", "a.ca", "1")
	c.mustPark("issuers", "b.ca", "2")
	if c.acquire("clusterissuers", "ca", "3") == nil {
		t.Error("a decision for another kind has to wait")
	}
	first.release(written, c.now)
	if c.acquire("issuers", "b.ca", "2") == nil {
		t.Error("nobody may ask about another issuer")
	}
	c.mustPark("issuers", "b.ca", "4")
	if c.acquire("issuers", "c.ca", "5") == nil || c.acquire("issuers", "a.ca", "6") == nil {
		t.Error("decisions for other issuers have to wait")
	}
}

// An issuer whose decisions are refused backoffs, longer each time, and no other
// does.
func TestWebhookThrottleBacksOffRefusedSigners(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	for rest := firstBackoff; rest < lastBackoff; rest *= 2 {
		c.acquire("kind", "bad", "1").release(refused, c.now)
		c.mustBackOff("kind", "bad", rest)
		c.acquire("kind", "good", "2").release(written, c.now)
		c.now = c.now.Add(rest)
	}
	c.acquire("kind", "bad", "1").release(refused, c.now)
	c.mustBackOff("kind", "bad", lastBackoff)
	c.now = c.now.Add(lastBackoff)
	c.acquire("kind", "bad", "1").release(written, c.now)
	if c.acquire("kind", "bad", "2") == nil {
		t.Error("it backoffs after its decision was written")
	}
}

// Decisions that were under way at the same time are refused for one reason, and
// one that is written shows that it is over.
func TestWebhookThrottleCountsOneOutageOnce(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	c.acquire("kind", "ca", "0").release(written, c.now)
	permits := make([]*permit, 8)
	for i := range permits {
		permits[i] = c.acquire("kind", "ca", strconv.Itoa(i))
	}
	for _, permit := range permits[1:] {
		permit.release(refused, c.now)
	}
	c.mustBackOff("kind", "ca", firstBackoff)
	permits[0].release(written, c.now)
	if c.acquire("kind", "ca", "9") == nil {
		t.Error("it backoffs though a decision was written")
	}
}

// A request that has gone ahead and hangs is passed by another namespace, which
// comes back for that, and not by one of its own.
func TestWebhookThrottleOvertakesARequestThatHangs(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	hangs, _ := c.of("a", "1")
	for _, row := range []struct {
		namespace, name string
		want            time.Duration // after which it comes back
	}{
		{"a", "2", 0},
		{"b", "3", overtakeAfter},
		{"b", "4", 0}, // for there is a stand-in of its namespace
		{"c", "5", overtakeAfter},
	} {
		if permit, after := c.of(row.namespace, row.name); permit != nil || after != row.want {
			t.Errorf("%s/%s: permit %v, after %s; want none, and %s", row.namespace, row.name, permit, after, row.want)
		}
	}
	c.now = c.now.Add(overtakeAfter)
	if permit, _ := c.of("a", "6"); permit != nil {
		t.Error("one of its own namespace passes it")
	}
	passes, _ := c.of("b", "3")
	if passes == nil {
		t.Fatal("one of another namespace has to wait for it")
	}
	if permit, after := c.of("c", "5"); permit != nil || after != overtakeAfter {
		t.Errorf("while another asks: permit %v, after %s; want none, and %s", permit, after, overtakeAfter)
	}
	if again := hangs.release(failed, c.now); len(again) != 0 {
		t.Errorf("%v are tried again while another asks", again)
	}
	if again := passes.release(written, c.now); len(again) != 6 {
		t.Errorf("%v are tried again, want all that were parked", again)
	}
	if permit, _ := c.of("c", "5"); permit == nil {
		t.Error("nobody follows the one that has passed")
	}
}

// A signer that is refused for one namespace backoffs for that one; when another is
// refused as well, for all.
func TestWebhookThrottleBacksOffForOneNamespace(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	refuse := func(namespace string) {
		permit, after := c.of(namespace, "x")
		if permit == nil {
			t.Fatalf("%s: backoffs for %s", namespace, after)
		}
		permit.release(refused, c.now)
	}
	for range 3 { // It alone is refused, however often.
		refuse("a")
		if _, after := c.of("a", "y"); after == 0 {
			t.Fatal("a does not back off")
		}
		if permit, _ := c.of("b", "y"); permit == nil {
			t.Fatal("b backoffs as well")
		} else {
			permit.release(failed, c.now)
		}
		c.now = c.now.Add(lastBackoff)
	}
	refuse("b")
	if _, after := c.of("c", "y"); after != firstBackoff {
		t.Errorf("c backoffs for %s after two namespaces were refused, want %s", after, firstBackoff)
	}
	c.now = c.now.Add(firstBackoff)
	permit, _ := c.of("c", "y")
	permit.release(written, c.now)
	refuse("a")
	if permit, _ := c.of("c", "y"); permit == nil {
		t.Error("c backoffs though its decisions are written")
	}
}

func TestWebhookThrottleForgets(t *testing.T) {
	t.Parallel()
	c := &throttleTest{T: t, now: time.Now()}
	for i := range 10 * manyQuestions {
		c.acquire("kind", strconv.Itoa(i), "x").release(outcome(i%3), c.now)
		c.now = c.now.Add(time.Minute)
	}
	if n := max(len(c.webhookThrottle.questions), len(c.webhookThrottle.backoffs)); n > manyQuestions {
		t.Errorf("%d are known, want at most %d", n, manyQuestions)
	}
}
