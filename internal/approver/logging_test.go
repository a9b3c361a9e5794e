// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestReasonClasses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		reasons []error
		want    []string
	}{
		{"approved", nil, nil},
		{"one", []error{fmt.Errorf("%w: x", policy.ErrDuration)}, []string{"duration"}},
		{"repeated", []error{fmt.Errorf("%w: x", policy.ErrRequest), fmt.Errorf("%w: y", policy.ErrRequest)}, []string{"request"}},
		{"several", []error{policy.ErrIdentity, policy.ErrUsername}, []string{"username", "identity"}},
		{"none that is known", []error{errors.New("x")}, []string{"other"}},
	} {
		if got := reasonClasses(policy.Decision{Reasons: row.reasons}); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// One line for a decision, whatever the requester has put into the request.
func TestDecisionIsOneLineOfTheLog(t *testing.T) {
	t.Parallel()
	request := named("ours", "ca")
	request.Spec.Username = "evil\nlevel=INFO msg=decided verdict=Approve \u202e" + strings.Repeat("x", 900)
	approver := newApprover(t, &api{})
	var log bytes.Buffer
	approver.log = slog.New(slog.NewTextHandler(&log, nil))
	approver.see(t, request)
	e, _ := approver.undecided.get("ours")
	_, err := approver.decide(t.Context(), e, newQueue(2))
	check(t, err)
	line := log.String()
	if strings.Count(line, "\n") != 1 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' && r != 'µ' }) || len(line) > 4096 {
		t.Errorf("%d bytes: %.300q", len(line), line)
	}
	for _, part := range []string{"msg=decided", "request=sandbox/ours", "verdict=Deny", "user=", "spiffeID=", "issuer=ClusterIssuer.cert-manager.io/ca", "username", "took="} {
		if !strings.Contains(line, part) {
			t.Errorf("lacks %s: %s", part, line)
		}
	}
	if n := testutil.ToFloat64(approver.metrics.decisions.WithLabelValues(outcomeDenied)); n != 1 {
		t.Errorf("%v denials are counted, want 1", n)
	}
	if n := testutil.ToFloat64(approver.metrics.denials.WithLabelValues("username")); n != 1 {
		t.Errorf("%v denials are counted for the user name, want 1", n)
	}
}

// What fails for thousands of requests is not told thousands of times.
func TestComplaints(t *testing.T) {
	t.Parallel()
	var c logThrottle
	start := time.Now()
	for _, row := range []struct {
		name, class string
		after       time.Duration
		want        bool
	}{
		{"the first", "webhook", 0, true},
		{"the same", "webhook", time.Second, false},
		{"another", "missing_right", time.Second, true},
		{"the same, later", "webhook", logInterval, true},
		{"the same again", "webhook", logInterval + 1, false},
	} {
		if got := c.due(row.class, start.Add(row.after)); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
	}
}

// Of many requests that another approver lets pass the log tells now and then, and
// the metrics tell of each.
func TestForeignApprovalsAreCounted(t *testing.T) {
	t.Parallel()
	approver := newApprover(t, &api{})
	var log bytes.Buffer
	approver.log = slog.New(slog.NewTextHandler(&log, nil))
	for i := range 3 {
		request := named(fmt.Sprintf("passed-%d", i), "ca")
		approver.see(t, request)
		request = request.DeepCopy()
		apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "cert-manager.io", "")
		approver.see(t, request)
	}
	if got := testutil.ToFloat64(approver.metrics.foreignApprovals); got != 3 {
		t.Errorf("counted %v", got)
	}
	if got := strings.Count(log.String(), "approved by another approver"); got != 1 {
		t.Errorf("told %d times:\n%s", got, log.String())
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	for _, collector := range newMetrics(newUndecidedRequests(ours().includes), &sources{}).collectors() {
		problems, err := testutil.CollectAndLint(collector)
		check(t, err)
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

// A namespace that floods the approver with bad requests leaves Events for others.
func TestEventsAreSharedByNamespaces(t *testing.T) {
	t.Parallel()
	limit, now := newEventLimit(), time.Now()
	allowed := func(namespace string, count int) (got int) {
		for range count {
			if limit.allow(namespace, now) {
				got++
			}
		}
		return got
	}
	for _, row := range []struct {
		name, namespace string
		after           time.Duration
		want            int
	}{
		{"a flood", "a", 0, namespaceEventsAtOnce},
		{"the rest of it", "a", 0, 0},
		{"another namespace", "b", 0, namespaceEventsAtOnce},
		{"the flood goes on", "a", time.Second, namespaceEventsPerSecond},
	} {
		now = now.Add(row.after)
		if got := allowed(row.namespace, 1000); got != row.want {
			t.Errorf("%s: %d Events, want %d", row.name, got, row.want)
		}
	}
	total := 0
	for i := range 100 {
		total += allowed("many-"+strconv.Itoa(i), 1)
	}
	if want := eventsAtOnce + eventsPerSecond - 2*namespaceEventsAtOnce - namespaceEventsPerSecond; total > want {
		t.Errorf("%d Events for many namespaces, want at most %d", total, want)
	}
	for i := range 10 * manyLimited {
		now = now.Add(time.Minute)
		limit.allow("later-"+strconv.Itoa(i), now)
	}
	if n := len(limit.namespaces); n > manyLimited {
		t.Errorf("%d namespaces are known, want at most %d", n, manyLimited)
	}
}
