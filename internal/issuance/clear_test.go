// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Before a request is made, open ones of the volume go. Anybody may make one with
// its label in a namespace of his own, and does not hold the volume up by that.
func TestIssueDeletesOtherRequestsOfTheVolume(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		a.send("ADDED", signWith(t, issuer, request))
		return nil
	})
	requester, err := NewRequester(&rest.Config{Host: a.URL, BearerToken: "driver", QPS: -1}, Owner{Node: "worker-1"}, WatchNode, slog.New(slog.DiscardHandler))
	check(t, err)
	seen := make(chan struct{}, 3)
	requester.OnNew(func(Known, string) { seen <- struct{}{} })
	requester.Start(t.Context())
	foreign := requestNamed("of-somebody-else", order.VolumeID)
	foreign.Namespace = "hostile"
	admit(foreign)
	a.send("ADDED", requestNamed("of-an-earlier-process", order.VolumeID))
	a.send("ADDED", foreign)
	<-seen
	<-seen
	_, err = issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	var deleted []string
	for _, call := range a.noted() {
		if strings.HasPrefix(call, http.MethodDelete) {
			deleted = append(deleted, call)
		}
	}
	if want := []string{"DELETE of-an-earlier-process by Bearer driver"}; !slices.Equal(deleted, want) {
		t.Errorf("deleted %q, want %q", deleted, want)
	}
}
