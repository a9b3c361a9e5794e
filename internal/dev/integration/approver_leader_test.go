// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// history holds the decision that each request was first seen with.
type history struct {
	t *testing.T

	mu        sync.Mutex
	decisions map[string]string
}

// follow watches the world's requests. A decision that changes fails the test.
func (w *world) follow() *history {
	w.t.Helper()
	h := &history{t: w.t, decisions: map[string]string{}}
	watch, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Watch(w.t.Context(), metav1.ListOptions{})
	w.check(err)
	w.t.Cleanup(watch.Stop)
	go func() {
		for event := range watch.ResultChan() {
			if request, ok := event.Object.(*cmapi.CertificateRequest); ok {
				h.see(request)
			}
		}
	}()
	return h
}

func (h *history) see(request *cmapi.CertificateRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var decisions []string
	for _, kind := range []cmapi.CertificateRequestConditionType{cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied} {
		if c := apiutil.GetCertificateRequestCondition(request, kind); c != nil {
			decisions = append(decisions, fmt.Sprintf("%s %s at %s: %s\n", c.Type, c.Status, c.LastTransitionTime, c.Message))
		}
	}
	now := strings.Join(decisions, "")
	switch before := h.decisions[request.Name]; {
	case before != "" && now != before:
		h.t.Errorf("%s was decided twice:\n%s%s", request.Name, before, now)
	case now != "":
		h.decisions[request.Name] = now
	}
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.decisions)
}

// startApprovers starts two approvers as processes, with the shortest lease.
func (w *world) startApprovers() map[string]*testkit.Program {
	w.t.Helper()
	bin := testkit.RequirePrograms(w.t)
	w.changedConfig(`approver: {httpAddress: "", workers: 2, leaderElection: {leaseName: csi-driver-spiffe-approver-` + w.issuer +
		`, leaseDuration: 2s, renewDeadline: 1s, retryPeriod: 200ms}}`)
	programs := map[string]*testkit.Program{}
	for _, name := range []string{"first", "second"} {
		dir := filepath.Join(w.dir, name)
		w.check(os.Mkdir(dir, 0o700))
		w.check(os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(strings.Join(w.lines, "\n")+"\n"), 0o600))
		program, err := testkit.StartProgram(bin, dir, "csi-driver-spiffe-approver", w.installation.Approver,
			"--identity", name, "--namespace", testkit.InstallNamespace)
		w.check(err)
		w.t.Cleanup(func() { _ = program.Kill() })
		programs[name] = program
	}
	return programs
}

// leader waits until there is one that is not another, and returns its name.
func (w *world) leader(not string) (holder string) {
	w.t.Helper()
	w.eventually("a leader", func() bool {
		lease, err := w.Kubernetes.CoordinationV1().Leases(testkit.InstallNamespace).Get(w.t.Context(), "csi-driver-spiffe-approver-"+w.issuer, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false
		}
		holder = *lease.Spec.HolderIdentity
		return holder != "" && holder != not
	})
	return holder
}

// The leader is killed, not stopped, in the midst of its work. The other takes
// over when the lease has run out; no request is lost, and none decided twice.
func TestApproverLeaderIsKilled(t *testing.T) {
	w := prepare(t)
	programs := w.startApprovers()
	killed := w.leader("")
	seen := w.follow()
	var names []string
	made := make(chan struct{})
	go func() {
		defer close(made)
		for range 60 {
			names = append(names, w.request(w.spec("example-app")))
		}
	}()
	w.eventually("the leader is at work", func() bool { return seen.count() > 5 })
	w.check(programs[killed].Kill())
	<-made
	for _, name := range names {
		w.requireApproved(name)
	}
	if leader := w.leader(killed); programs[leader] == nil {
		t.Errorf("the Lease is held by %q", leader)
	}
}

// requestMany makes requests at the same time.
func (w *world) requestMany(count int) []string {
	names := make([]string, count)
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() { names[i] = w.request(w.spec("example-app")) })
	}
	all.Wait()
	return names
}

// Two approvers without leader election, as if two leaders overlapped: each
// request is decided once.
func TestApproversThatOverlap(t *testing.T) {
	w := prepare(t)
	seen := w.follow()
	w.startReplica("first")
	w.startReplica("second")
	for _, name := range w.requestMany(40) {
		w.requireApproved(name)
	}
	w.eventually("all decisions are seen", func() bool { return seen.count() == 40 })
	decided := func() int { return strings.Count(w.log.String(), "msg=decided") }
	w.eventually("all decisions are logged", func() bool { return decided() >= 40 })
	if n := decided(); n != 40 {
		t.Errorf("%d decisions are logged for 40 requests", n)
	}
}
