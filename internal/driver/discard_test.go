// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// The API server's times are whole seconds: a request of the same one may be the one
// before that of the document, and is kept rather than an earlier one.
func TestHistoryHasWhatCameInTheSameSecond(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	c := *d.config.Current()
	c.CertificateRequests.HistoryLimit = 2
	d.config.Set(&c)
	known := func(name string, second int) issuance.Known {
		return issuance.Known{Request: types.NamespacedName{Namespace: "sandbox", Name: name}, Created: time.Unix(int64(second), 0), Issued: true}
	}
	history := []issuance.Known{known("later", 9), known("a", 5), known("document", 5), known("earlier", 1)}
	state := d.volumes.acquire("csi-1")
	state.setMetadata(&volume.Metadata{PodNamespace: "sandbox", Request: "document"})
	got := d.wanted(state, func() []issuance.Known { return history })
	if want := []types.NamespacedName{noRequest, history[2].Request, history[1].Request}; !slices.Equal(got, want) {
		t.Errorf("wanted are %v, want %v", got, want)
	}
}

// A request with the volume's label that another pod has made is left alone. Of the
// volume's own pod, what the volume does not want is deleted, and so is what is for a
// volume that is not there.
func TestRequestsOfOtherPodsAreLeftAlone(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	state := d.volumes.acquire("csi-1")
	state.setMetadata(&volume.Metadata{PodNamespace: "sandbox", PodName: "web-0", PodUID: "c2f0f7a1", Request: "document"})
	own := issuance.Pod{Namespace: "sandbox", ServiceAccount: "example-app", Name: "web-0", UID: "c2f0f7a1"}
	other := issuance.Pod{Namespace: "sandbox", ServiceAccount: "example-app", Name: "web-1", UID: "77"}
	for _, row := range []struct {
		name, request, volume string
		pod                   issuance.Pod
		stays                 bool
	}{
		{"that of the document", "document", "csi-1", own, true},
		{"another of the pod", "stray", "csi-1", own, false},
		{"of another pod", "stray", "csi-1", other, true},
		{"of a volume that is not there", "stray", "csi-2", other, false},
	} {
		request := discarded{issuance.Ref{Name: types.NamespacedName{Namespace: "sandbox", Name: row.request}, UID: "1b2c", Pod: row.pod}, row.volume}
		if stays := d.isWanted(request); stays != row.stays {
			t.Errorf("%s: it stays: %t", row.name, stays)
		}
	}
}
