// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// delivery is what an SVID is delivered with: in which files, and beside which
// bundle, nil for none.
type delivery struct {
	names  volume.Files
	bundle *trustbundle.Bundle
}

// presentDelivery is what a live volume has. Stores whose password cannot be kept,
// since it has no file and is configured no more, are left out.
func (d *Driver) presentDelivery(c *config.Config, id string, meta *volume.Metadata) delivery {
	return delivery{withoutLostStores(c, meta.Files), d.presentBundle(id, meta)}
}

// withoutLostStores leaves out stores that nobody could open, for want of a place
// for their password.
func withoutLostStores(c *config.Config, names volume.Files) volume.Files {
	if names.PasswordFile == "" && c.Volume.StorePassword == "" {
		names.PKCS12, names.JKS = volume.Stores{}, volume.Stores{}
	}
	return names
}

// presentBundle reads the bundle that a volume has, nil for none.
func (d *Driver) presentBundle(id string, meta *volume.Metadata) *trustbundle.Bundle {
	if meta.TrustBundle == "" {
		return nil
	}
	data, err := d.store.ReadFile(id, meta.Files.TrustBundle)
	if err == nil {
		var bundle *trustbundle.Bundle
		if bundle, err = trustbundle.Parse(data); err == nil {
			return bundle
		}
	}
	d.log.Warn("the trust bundle in a volume is lost, and there is no other for it", "volume", id, "error", err)
	return nil
}

// deliver makes the files of a delivery, and writes them by a method of the store.
// It notes in meta what was written.
func (d *Driver) deliver(c *config.Config, id string, parts contents.Parts, same bool, as delivery, meta *volume.Metadata,
	write func(id string, files map[string][]byte, meta volume.Metadata) error,
) error {
	svid, err := spiffeid.FromString(meta.SPIFFEID)
	if err != nil {
		return err
	}
	password, known := d.storePassword(c, id, meta, as.names)
	if same && known {
		parts.Keystores = d.keystores(id, meta.Files, as.names)
	}
	parts.TrustDomain, parts.Bundle, parts.Password = svid.TrustDomain(), as.bundle, password
	files, err := d.contents.Make(as.names, parts)
	if err != nil {
		return err
	}
	written := *meta
	written.Files, written.TrustBundle, written.StorePassword = as.names, as.bundle.Hash(), passwordHash(c, as.names)
	if err := write(id, files, written); err != nil {
		return err
	}
	*meta = written
	return nil
}
