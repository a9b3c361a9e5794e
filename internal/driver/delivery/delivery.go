// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package delivery turns an identity into what workloads read. An identity is an SVID,
// and what belongs beside it: the trust bundle, and the forms that the configuration asks
// for.
//
// [Files] delivers it as files in the volume, [Bundle] follows the trust bundle, and
// [ChainChecks] has certificate chains verified with it, which nothing waits for. When an
// identity is delivered, and what is done if that fails, is decided by the caller.
package delivery

import (
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Deliverer delivers identities in one way. Calls for one volume must not overlap.
type Deliverer interface {
	// Desired returns what the volume that meta describes is to have beside its SVID under a
	// configuration, and Present what it has by its metadata. While they differ, the volume
	// is outdated.
	Desired(c *config.Config, meta *volume.Metadata) Content
	Present(meta *volume.Metadata) Content
	// Write delivers a new SVID, beside what is desired at this moment. It completes meta by
	// what it delivered. An error leaves the volume and meta as they were, but for what meta
	// says of the SVID.
	Write(c *config.Config, id string, svid *issuance.SVID, meta *volume.Metadata) error
	// Rewrite delivers what is desired at this moment beside the SVID that the volume has,
	// which stays the same to the byte. It completes meta by what it delivered; an error
	// leaves both as they were.
	Rewrite(c *config.Config, id string, meta *volume.Metadata) error
}

// Content is what is delivered beside an SVID. It is compared with ==.
type Content struct {
	// Names are those of the files.
	Names volume.Files
	// TrustBundle is the hash of the trust bundle; empty: there is none.
	TrustBundle string
	// StorePassword is the hash of the configured password of stores; empty if there are no
	// stores, or if the volume has a password of its own.
	StorePassword string
}
