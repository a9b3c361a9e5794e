// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe is everything that operators see of the driver: metrics, the list for
// the command volumes, and the fields of log lines.
//
// What there is to tell of one volume at a moment is a [Snapshot], which whoever keeps
// the volume's state makes. [NewVolumeMetrics], [List] and [Snapshot.LogFields] compute
// from that alone, and hold no lock. What happens over time is told of when it happens:
// an [Attempt] measures how an SVID comes into a volume, and a [FanOut] how a change of
// the configuration or the trust bundle reaches the files of all volumes.
package observe

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Snapshot is what there is to tell of one volume at a moment. It is immutable: whoever
// makes one changes nothing of what it points to.
type Snapshot struct {
	VolumeID string
	// Live is what was published, or nil.
	Live *volume.Metadata
	// Lifetime is that of the SVID of a live volume.
	Lifetime lifecycle.Lifetime
	// Damage is what is wrong with a volume that is in its pod; nil: nothing. A volume
	// may be live and damaged.
	Damage *Damage
	// Issuance is the request to cert-manager that is under way, or whose SVID has not
	// been collected; nil if there is none.
	Issuance *Issuance
	// OpenRequest is the request that the next SVID is to come from; empty if there is
	// none.
	OpenRequest types.NamespacedName

	// RenewalDue is when the next renewal, or the next attempt after one that failed, is
	// planned; zero while it is not.
	RenewalDue time.Time
	// Renewing is set while a renewal is under way.
	Renewing bool
	// WaitsForToken is set when a renewal is due and waits for a token of the pod.
	WaitsForToken bool
	// Failures counts renewals that failed, in a row. LastError is what went wrong with
	// the last one, at LastErrorAt; nil if it did not.
	Failures    int
	LastError   error
	LastErrorAt time.Time

	// ToReissue is set for a live volume whose SVID is not what the configuration asks
	// for.
	ToReissue bool
	// Outdated is set for a live volume that does not have the trust bundle in force, or
	// not the files that the configuration asks for.
	Outdated bool
	// Unverified is set if the trust bundle in force does not verify the certificate
	// chain.
	Unverified bool
	// Shadowed says what the pod's containers may see in place of the volume, since it was
	// mounted first, and what to do; empty: nothing.
	Shadowed string
	// SubPath says which containers mount the volume with subPath, and what to do; empty:
	// none, or none is known yet.
	SubPath string
}

// Issuance is one request to cert-manager for a volume.
type Issuance struct {
	// Policy is what the request was made under, and Pod what the pod's token says.
	Policy policy.Policy
	Pod    spiffe.PodToken
	// Progress is that of the attempt which began it.
	Progress Progress
	// Explanation says what a volume that is not published waits for.
	Explanation string
}

// Damage is what is known of a volume that is in its pod and not as it should be: nobody
// renews what the pod has. It is known until the volume is repaired or unpublished.
type Damage struct {
	// PodNamespace, PodName and PodUID identify the pod, as far as it is known.
	PodNamespace, PodName, PodUID string
	// Target is where the volume is mounted.
	Target string
	// SPIFFEID, NotBefore and NotAfter are those of the SVID that the pod has, if that can
	// be read; else SPIFFEID is the one that it should have.
	SPIFFEID            string
	NotBefore, NotAfter time.Time
	// Err is why the volume is damaged, or could not be repaired, at that time.
	Err error
	At  time.Time
}
