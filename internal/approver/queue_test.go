// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// waitingItem is an item as a test writes it: "namespace/created", with " other"
// behind it if it is for another issuer.
func waitingItem(text string) item {
	name, other := strings.CutSuffix(text, " other")
	namespace, created, _ := strings.Cut(name, "/")
	seconds, _ := strconv.ParseInt(created, 10, 64)
	return item{namespace: namespace, uid: types.UID(text), created: seconds, other: other}
}

func TestFairOrder(t *testing.T) {
	t.Parallel()
	many := func(count int, format string) (texts []string) {
		for i := range count {
			texts = append(texts, fmt.Sprintf(format, i))
		}
		return texts
	}
	for _, row := range []struct {
		name         string
		pushed, want []string
	}{
		{"one namespace: the oldest first", []string{"a/3", "a/1", "a/2"}, []string{"a/1", "a/2", "a/3"}},
		{"namespaces take turns", []string{"a/1", "a/2", "a/3", "b/8", "b/9", "c/5"}, []string{"a/1", "b/8", "c/5", "a/2", "b/9", "a/3"}},
		{"a younger namespace does not wait for an older one", append(many(50, "a/%d"), "b/99"), slices.Insert(many(50, "a/%d"), 1, "b/99")},
		{"SVIDs first", []string{"a/1 other", "b/1 other", "a/5", "b/6"}, []string{"a/5", "b/6", "a/1 other", "b/1 other"}},
		{
			"SVIDs do not hold up others without end",
			append(many(2*svidsInARow+1, "a/%d"), "b/1 other", "c/1 other"),
			slices.Insert(slices.Insert(many(2*svidsInARow+1, "a/%d"), svidsInARow, "b/1 other"), 2*svidsInARow+1, "c/1 other"),
		},
	} {
		order := newFairOrder(4)
		for _, text := range row.pushed {
			order.push(waitingItem(text))
		}
		var got []string
		for next, ok := order.pop(); ok; next, ok = order.pop() {
			order.release(next)
			got = append(got, string(next.uid))
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

// One namespace has a share of the workers, and no more while nobody else waits
// either: a worker that is busy cannot be taken back from it.
func TestFairOrderKeepsWorkersFree(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ workers, want int }{{1, 1}, {2, 1}, {3, 2}, {4, 3}, {8, 6}, {100, 75}} {
		order := newFairOrder(row.workers)
		for i := range row.workers + 1 {
			order.push(waitingItem("a/" + strconv.Itoa(i)))
		}
		var inHand []item
		for next, ok := order.pop(); ok; next, ok = order.pop() {
			inHand = append(inHand, next)
		}
		if len(inHand) != row.want || order.depth() != row.workers+1-row.want {
			t.Errorf("%d workers: %d in hand and %d waiting, want %d and %d", row.workers, len(inHand), order.depth(), row.want, row.workers+1-row.want)
		}
		order.push(waitingItem("b/9"))
		if next, _ := order.pop(); next.namespace != "b" {
			t.Errorf("%d workers: the other namespace is not served", row.workers)
		}
		order.release(inHand[0])
		if next, _ := order.pop(); next.namespace != "a" {
			t.Errorf("%d workers: the namespace is not served when one of its requests is done", row.workers)
		}
	}
}

// While requests of a namespace are denied, it has one worker, and its share again
// when one is approved.
func TestFairOrderDeniesOneAtATime(t *testing.T) {
	t.Parallel()
	order := newFairOrder(8)
	for i := range 20 {
		order.push(waitingItem("a/" + strconv.Itoa(i)))
	}
	popAll := func() (got []item) {
		for next, ok := order.pop(); ok; next, ok = order.pop() {
			got = append(got, next)
		}
		return got
	}
	first := popAll()
	order.judged("a", true)
	for _, i := range first {
		if got := popAll(); len(got) != 0 {
			t.Fatalf("%v are handed out besides those in hand", got)
		}
		order.release(i)
	}
	second := popAll()
	if len(second) != 1 {
		t.Fatalf("%v are handed out, want one", second)
	}
	order.judged("a", false)
	if got := popAll(); len(got) != order.share-1 {
		t.Errorf("%v are handed out after an approval, want %d", got, order.share-1)
	}
	order.push(waitingItem("b/1"))
	order.judged("b", true) // by a worker that has given it back
	if len(order.denied) != 0 {
		t.Errorf("%v are remembered", order.denied)
	}
}

// Workers that wait take up what becomes available by an approval.
func TestQueueWakesWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		waiting := newQueue(4)
		got := make(chan item, 10)
		for i := range 4 {
			waiting.Add(waitingItem("a/" + strconv.Itoa(i)))
		}
		first, _ := waiting.Get()
		waiting.judged("a", true)
		for range 3 {
			go func() {
				next, closed := waiting.Get()
				if !closed {
					got <- next
				}
			}()
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("the namespace has more than one worker")
		}
		waiting.judged("a", false)
		synctest.Wait()
		if len(got) != 2 {
			t.Fatalf("%d workers are woken by an approval, want 2", len(got))
		}
		waiting.Add(first) // while it is in hand
		waiting.Done(first)
		synctest.Wait()
		if len(got) != 3 || waiting.depth() != 1 {
			t.Errorf("%d items were handed out and %d wait, want 3 and 1", len(got), waiting.depth())
		}
		waiting.ShutDown()
		if _, closed := waiting.Get(); !closed {
			t.Error("the queue hands out more than its share while it shuts down")
		}
	})
}

// trial checks an order against what it promises.
type trial struct {
	*fairOrder
	script  string
	inHand  []item
	waiting map[string][]item
	// since counts, for each namespace that waits, what others got since its turn.
	since map[string]map[string]int
}

func (r *trial) push(namespace string, step int) {
	i := item{namespace: namespace, uid: types.UID(strconv.Itoa(step)), created: int64(step * 5 % 3)}
	r.fairOrder.push(i)
	if len(r.waiting[namespace]) == 0 {
		r.since[namespace] = map[string]int{}
	}
	r.waiting[namespace] = append(r.waiting[namespace], i)
}

func (r *trial) inHandOf(namespace string) (count int) {
	for _, i := range r.inHand {
		if i.namespace == namespace {
			count++
		}
	}
	return count
}

func (r *trial) pop(t *testing.T) {
	t.Helper()
	next, _ := r.fairOrder.pop()
	if r.inHandOf(next.namespace) >= r.share {
		t.Fatalf("%s: %s has more than its share of %d", r.script, next.namespace, r.share)
	}
	for _, other := range r.waiting[next.namespace] {
		if other.created < next.created {
			t.Fatalf("%s: %s has waited for longer than %s", r.script, other.uid, next.uid)
		}
	}
	at := slices.Index(r.waiting[next.namespace], next)
	r.waiting[next.namespace] = slices.Delete(r.waiting[next.namespace], at, at+1)
	r.since[next.namespace] = map[string]int{}
	for namespace, waiting := range r.waiting {
		if len(waiting) == 0 || namespace == next.namespace {
			continue
		}
		if r.inHandOf(namespace) >= r.share { // It was passed over, and keeps its turn.
			r.since[namespace] = map[string]int{}
			continue
		}
		r.since[namespace][next.namespace]++
		if r.since[namespace][next.namespace] > 1 {
			t.Fatalf("%s: %s waits for more than one request of %s", r.script, namespace, next.namespace)
		}
	}
	r.inHand = append(r.inHand, next)
}

// Every sequence of requests that arrive, are taken up and are done, up to a
// length: whatever happens, no namespace waits for more than one request of each
// other, in each the oldest is first, and a request that may be handed out is.
func TestFairOrderWhateverHappens(t *testing.T) {
	t.Parallel()
	const steps = 7
	const moves = "abcPD"
	for _, workers := range []int{2, 3} {
		script := make([]byte, steps)
		for number := range pow(len(moves), steps) {
			for i := range script {
				script[i] = moves[number%len(moves)]
				number /= len(moves)
			}
			r := &trial{fairOrder: newFairOrder(workers), script: string(script), waiting: map[string][]item{}, since: map[string]map[string]int{}}
			for step, move := range script {
				switch {
				case move == 'P' && r.available() > 0:
					r.pop(t)
				case move == 'D' && len(r.inHand) > 0:
					r.release(r.inHand[0])
					r.inHand = r.inHand[1:]
				case move == 'a' || move == 'b' || move == 'c':
					r.push(string(move), step)
				}
				r.checkLen(t)
			}
		}
	}
}

func (r *trial) checkLen(t *testing.T) {
	t.Helper()
	waiting, available := 0, false
	for namespace, items := range r.waiting {
		waiting += len(items)
		available = available || len(items) > 0 && r.inHandOf(namespace) < r.share
	}
	if got := r.available(); got > 0 != available || r.depth() != waiting || available && got != waiting {
		t.Fatalf("%s: %d available and depth %d, with %d waiting, one of them available: %t", r.script, got, r.depth(), waiting, available)
	}
}

func pow(base, exponent int) int {
	result := 1
	for range exponent {
		result *= base
	}
	return result
}

// A namespace with a backlog delays the request of another by one decision, also
// if it has waited for much longer.
func TestWorkIsFairBetweenNamespaces(t *testing.T) {
	t.Parallel()
	a := &api{}
	approver := newApprover(t, a)
	waiting := newQueue(2)
	defer approver.undecided.feed(waiting)()
	start := time.Now()
	for i := range 100 {
		bad := named("bad-"+strconv.Itoa(i), "ca")
		bad.Namespace, bad.CreationTimestamp = "flood", metav1.NewTime(start.Add(-time.Hour))
		approver.see(t, bad)
	}
	honest := named("honest", "ca")
	honest.CreationTimestamp = metav1.NewTime(start)
	approver.see(t, honest)
	for waiting.Len() > 0 {
		approver.workOne(t.Context(), waiting)
	}
	if place := slices.Index(a.names(), "honest Denied"); place < 0 || place > 1 {
		t.Errorf("the request of the other namespace is decided after %d others, want at most 1", place)
	}
}

// inProcess answers calls in the same process, as a test in a bubble of
// [synctest.Test] needs it.
type inProcess func(*http.Request) (*http.Response, error)

func (f inProcess) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f inProcess) access() *rest.Config {
	return &rest.Config{Host: "http://api", Transport: f, QPS: -1}
}

// inProcess answers as the API does.
func (a *api) inProcess(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	a.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// hang answers no call before it is given up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// lead has an approver work until the returned function is called.
func (a *Approver) lead(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.work(ctx) }()
	return func() {
		cancel()
		<-ended
		a.denials.broadcaster.Shutdown()
	}
}

// Decisions of one namespace that hang occupy neither all workers nor, for the
// others, the question to cert-manager's webhook.
func TestHangingNamespaceHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		approver := newApproverThrough(t, inProcess(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/namespaces/hangs/") {
				return hang(r)
			}
			return a.inProcess(r)
		}).access())
		var stuck []*cmapi.CertificateRequest
		for i := range 50 {
			request := named("stuck-"+strconv.Itoa(i), "ca")
			request.Namespace = "hangs"
			stuck = append(stuck, request)
		}
		approver.see(t, stuck...)
		defer approver.lead(t)()
		synctest.Wait()
		began := time.Now()
		for round := range 20 {
			approver.see(t, named("honest-"+strconv.Itoa(round), "ca"))
			time.Sleep(overtakeAfter)
			synctest.Wait()
			if a.tried("honest-"+strconv.Itoa(round)+" ") != 1 {
				t.Fatalf("after %s, honest request %d is not decided within %s", time.Since(began), round, overtakeAfter)
			}
		}
	})
}

// A namespace can name any number of issuers that do not exist. For each, cert-manager's webhook asks the API server
// several questions, of which it has 5 a second for everybody.
func TestMadeUpIssuersHoldUpNoOtherNamespace(t *testing.T) {
	t.Parallel()
	csrPEM := webRequest(t)
	synctest.Test(t, func(t *testing.T) {
		const perSecond, burst, questions = 5, 10, 3
		webhook := rate.NewLimiter(perSecond, burst)
		a := &api{refuseKind: "Nope"}
		approver := newApproverThrough(t, inProcess(func(r *http.Request) (*http.Response, error) {
			n := 1 // whether the approver may approve
			if strings.Contains(r.URL.Path, "/namespaces/flood/") {
				n = questions
			}
			if err := webhook.WaitN(r.Context(), n); err != nil {
				return nil, err
			}
			return a.inProcess(r)
		}).access())
		approver.config.Set(withOthers(t, 8))
		approver.takeConfig()
		needed, _ := approver.rollout.scopes(time.Now())
		approver.undecided.openStore(needed[0])
		for i := range 1000 {
			bad := named("bad-"+strconv.Itoa(i), "ca")
			bad.Namespace, bad.Spec.Request = "flood", csrPEM
			bad.Spec.IssuerRef.Kind, bad.Spec.IssuerRef.Group = "Nope", fmt.Sprintf("made-up-%d.example.com", i)
			approver.see(t, bad)
		}
		defer approver.lead(t)()
		for round := range 10 {
			time.Sleep(5 * time.Second)
			name := "honest-" + strconv.Itoa(round)
			approver.see(t, named(name, "ca"))
			began := time.Now()
			for a.tried(name+" ") == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s is decided after %s, want at most 1 s", name, took)
			}
		}
	})
}
