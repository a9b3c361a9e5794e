// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// contains reports whether the message of an error has all of these in it.
func contains(err error, fragments ...string) bool {
	message := status.Convert(err).Message()
	for _, fragment := range fragments {
		if !strings.Contains(message, fragment) {
			return false
		}
	}
	return err != nil
}

// While the API server is away for longer than documents last, volumes keep what
// they have, each is tried again in its own time, and all are renewed when it is
// back, each by one request.
func TestAPIServerAwayForLongerThanARenewalInterval(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	var pods []*corev1.Pod
	before := map[string]string{}
	for i := range 10 {
		pod := w.pod(fmt.Sprintf("web-%d", i))
		before[w.publish(pod)] = ""
		pods = append(pods, pod)
	}
	attempts := &attempts{}
	proxy.Away()
	proxy.Inject(attempts.refuse) // away it stays, and what comes is counted
	w.eventually("every volume was tried several times", func() bool { return attempts.least(len(pods)) >= 4 })
	w.requireNoHerd(len(pods))
	for target := range before { // nothing that was under way is on its way any more
		before[target] = w.generation(target)
	}
	for _, pod := range pods {
		target := w.publish(pod) // the kubelet calls as always
		if w.generation(target) != before[target] {
			t.Errorf("%s was written", target)
		}
	}
	proxy.Inject(nil)
	watched := w.watchOpenRequests()
	w.eventually("every volume is renewed", func() bool {
		for target, generation := range before {
			if w.generation(target) == generation {
				return false
			}
		}
		return true
	})
	watched()
	for target := range before {
		w.readSVID(target)
	}
}

// requireNoHerd asserts that renewals which failed are put off by chance: volumes
// that failed together must not come back together.
func (w *world) requireNoHerd(volumes int) {
	w.t.Helper()
	waits := map[string]int{}
	all := 0
	for line := range strings.Lines(w.log.String()) {
		if _, wait, failed := strings.Cut(line, " retryIn="); failed && strings.Contains(line, `msg="renewal failed"`) {
			waits[strings.Fields(wait)[0]]++
			all++
		}
	}
	if all < volumes || len(waits) < all*9/10 {
		w.t.Errorf("%d renewals that failed, of %d volumes, are put off by %d different times: %v", all, volumes, len(waits), waits)
	}
}

// attempts counts how often requests were to be created, by pod.
type attempts struct {
	mu sync.Mutex
	of map[string]int
}

// refuse notes attempts to create requests, and cuts every connection.
func (a *attempts) refuse(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	testkit.OnCreate(a.note)(w, r, func(http.ResponseWriter, *http.Request) {})
	panic(http.ErrAbortHandler)
}

func (a *attempts) note(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	a.mu.Lock()
	if a.of == nil {
		a.of = map[string]int{}
	}
	// Each pod has a token of its own.
	a.of[r.Header.Get("Authorization")]++
	a.mu.Unlock()
}

// least is how often the least tried of so many pods was tried.
func (a *attempts) least(pods int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.of) < pods {
		return 0
	}
	least := 1 << 30
	for _, count := range a.of {
		least = min(least, count)
	}
	return least
}

// watchOpenRequests asserts, until the function is called, that no pod has two
// requests at a time that are open.
func (w *world) watchOpenRequests() (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			default:
			}
			open := map[string]int{}
			for _, request := range w.requests() {
				if isOpen(request) {
					open[request.OwnerReferences[0].Name]++
				}
			}
			for pod, count := range open {
				if count > 1 {
					w.t.Errorf("pod %s has %d open requests", pod, count)
				}
			}
		}
	}()
	return func() { close(ended); <-done }
}

// isOpen reports whether nobody has given a request its answer.
func isOpen(request cmapi.CertificateRequest) bool {
	return len(request.Status.Certificate) == 0 && !apiutil.CertificateRequestIsDenied(&request) &&
		apiutil.CertificateRequestReadyReason(&request) != cmapi.CertificateRequestReasonFailed
}
