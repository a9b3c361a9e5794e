// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const (
	testID     = "csi-1"
	testSPIFFE = "spiffe://my.trust.domain/ns/sandbox/sa/web"
)

// published is of a volume of pod sandbox/web-0.
func published(change func(*observe.Snapshot)) observe.Snapshot {
	s := observe.Snapshot{VolumeID: testID, RenewalDue: now.Add(time.Hour), Live: &volume.Metadata{
		TargetPath: "/target", PodNamespace: "sandbox", PodName: "web-0", PodUID: "uid", SPIFFEID: testSPIFFE,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(2 * time.Hour), Request: "web-0-x2b4",
	}}
	change(&s)
	return s
}

// pending is of a volume of the same pod that has no SVID yet.
func pending(t *testing.T) observe.Snapshot {
	t.Helper()
	account, err := spiffe.NewServiceAccount("sandbox", "web")
	check(t, err)
	return observe.Snapshot{
		VolumeID: testID, OpenRequest: types.NamespacedName{Namespace: "sandbox", Name: "web-0-open"},
		Issuance: &observe.Issuance{
			Policy: configtest.Parse(t).Policy(), Pod: spiffe.PodToken{ServiceAccount: account, PodName: "web-0", PodUID: "uid"},
			Progress: observe.Progress{Operation: observe.Publishing, Stage: issuance.StageSign, UnderWay: true}, Explanation: "waiting for the issuer",
		},
	}
}

func damage() *observe.Damage {
	return &observe.Damage{
		PodNamespace: "sandbox", PodName: "web-0", PodUID: "uid", Target: "/elsewhere", SPIFFEID: testSPIFFE,
		NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(time.Hour), Err: errors.New("its folder was removed"), At: now,
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	live := func(change func(*listing.Volume)) listing.Volume {
		v := listing.Volume{
			PodNamespace: "sandbox", PodName: "web-0", PodUID: "uid", State: listing.Published, VolumeID: testID, SPIFFEID: testSPIFFE,
			Issued: now.Add(-time.Hour), Expires: now.Add(2 * time.Hour), NextRenewal: now.Add(time.Hour), CertificateRequest: "web-0-x2b4", TargetPath: "/target",
		}
		change(&v)
		return v
	}
	damaged := listing.Volume{
		PodNamespace: "sandbox", PodName: "web-0", PodUID: "uid", State: listing.Damaged, VolumeID: testID, SPIFFEID: testSPIFFE,
		Issued: now.Add(-2 * time.Hour), Expires: now.Add(time.Hour), TargetPath: "/elsewhere", LastError: "its folder was removed", LastErrorTime: now,
	}
	failing := func(s *observe.Snapshot) {
		s.Shadowed, s.SubPath, s.Failures, s.LastError, s.LastErrorAt = "shadowed", "with subPath", 2, errors.New("denied"), now
	}
	damagedToo := damaged
	damagedToo.RenewalFailures = 2
	for _, row := range []struct {
		name     string
		snapshot observe.Snapshot
		want     []listing.Volume
	}{
		{"nothing is known", observe.Snapshot{VolumeID: testID}, nil},
		{"only a request that is to be deleted", observe.Snapshot{VolumeID: testID, OpenRequest: types.NamespacedName{Name: "x"}}, nil},
		{"published", published(unchanged), []listing.Volume{live(func(*listing.Volume) {})}},
		{"being renewed", published(func(s *observe.Snapshot) { s.RenewalDue = time.Time{} }), []listing.Volume{live(func(v *listing.Volume) { v.NextRenewal = time.Time{} })}},
		{"mounted with subPath", published(func(s *observe.Snapshot) { s.SubPath = "with subPath" }), []listing.Volume{live(func(v *listing.Volume) { v.LastError = "with subPath" })}},
		{"shadowed too", published(func(s *observe.Snapshot) { s.SubPath, s.Shadowed = "with subPath", "shadowed" }), []listing.Volume{live(func(v *listing.Volume) { v.LastError = "shadowed" })}},
		{"failing too", published(failing), []listing.Volume{live(func(v *listing.Volume) { v.LastError, v.LastErrorTime, v.RenewalFailures = "denied", now, 2 })}},
		{"waiting for a token", published(func(s *observe.Snapshot) { failing(s); s.WaitsForToken = true }), []listing.Volume{live(func(v *listing.Volume) {
			v.LastError, v.LastErrorTime, v.RenewalFailures = "renewal waits for the kubelet to publish again: no valid token of the pod is known", now, 2
		})}},
		{"pending", pending(t), []listing.Volume{{
			PodNamespace: "sandbox", PodName: "web-0", PodUID: "uid", State: listing.Pending, VolumeID: testID, LastError: "waiting for the issuer",
		}}},
		{"damaged", observe.Snapshot{VolumeID: testID, Damage: damage()}, []listing.Volume{damaged}},
		{"damaged, and a request is under way", func() observe.Snapshot { s := pending(t); s.Damage = damage(); return s }(), []listing.Volume{damaged}},
		{"live, failing and damaged", published(func(s *observe.Snapshot) { failing(s); s.Damage = damage() }), []listing.Volume{damagedToo}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := observe.List("worker-1", slices.Values([]observe.Snapshot{row.snapshot}))
			if want := (listing.List{Node: "worker-1", Volumes: row.want}); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}
