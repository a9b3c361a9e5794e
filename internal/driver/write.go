// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// write puts a document into a volume's files, beside the trust bundle if there
// is one, and completes meta by what it wrote. The caller holds the lock.
func (d *Driver) write(id string, document *issuance.SVID, meta *volume.Metadata) error {
	chain, key, err := document.Marshal()
	if err != nil {
		return fmt.Errorf("encoding the document: %w", err)
	}
	meta.SPIFFEID = document.X509.ID.String()
	meta.NotBefore, meta.NotAfter, meta.Obtained = document.NotBefore(), document.NotAfter(), document.Obtained
	meta.IdentityHash = document.Policy.IdentityHash()
	meta.Duration = document.Policy.Duration
	meta.Request = document.Request.Name
	if now := time.Now(); lifetimeOf(meta).isFromTheFuture(now) { // the clock was set back since
		meta.Obtained = now
	}
	return d.writeFiles(id, contents.Parts{Chain: chain, Key: key}, false, meta)
}

// requestOf names the request that a published document came from.
func requestOf(live *volume.Metadata) types.NamespacedName {
	if live == nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: live.PodNamespace, Name: live.Request}
}
