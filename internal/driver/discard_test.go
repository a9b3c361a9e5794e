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
