// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// writeFiles puts the SVID of parts into a volume, with the trust bundle and in the
// forms that are asked for at this moment, and notes in meta which those are. The
// caller holds the lock: whoever is last to write has the latest of all. If the
// volume has that SVID already, same is true.
//
// A new SVID of a live volume must not fail for want of room for something else: it
// is then written beside the bundle and in the forms that the volume has, which is
// behind with those until there is room.
func (d *Driver) writeFiles(id string, parts contents.Parts, same bool, meta *volume.Metadata) error {
	c, live := d.config.Current(), meta.Files != (volume.Files{})
	asked := delivery{filesFor(c, meta), d.bundleFor(c, id, meta)}
	err := d.deliver(c, id, parts, same, asked, meta, d.store.WriteReserving)
	if !errors.Is(err, volume.ErrFull) || same || !live {
		return err
	}
	d.log.Warn("there is no room for a larger volume; its new document is put beside what it has", "volume", id, "pod", meta.Pod(), "error", err)
	return d.deliver(c, id, parts, same, d.presentDelivery(c, id, meta), meta, d.store.Write)
}

// isBehind reports whether the files of a live volume are not what is asked for
// now, beside its document.
func (d *Driver) isBehind(c *config.Config, live *volume.Metadata) bool {
	names := filesFor(c, live)
	return names != live.Files || d.bundleHash(c, live) != live.TrustBundle || passwordHash(c, names) != live.StorePassword
}

// filesFor are the names that the files of a volume are to have.
func filesFor(c *config.Config, meta *volume.Metadata) volume.Files {
	f := c.Volume.Files
	names := meta.Files.Keep(volume.Files{
		Certificate: f.Certificate, PrivateKey: f.PrivateKey, TrustBundle: f.TrustBundle,
		CredentialBundle: f.CredentialBundle, SPIFFEBundle: f.SPIFFEBundle,
		PKCS12: volume.Stores(f.PKCS12), JKS: volume.Stores(f.JKS), PasswordFile: f.PasswordFile,
	})
	return withoutLostStores(c, names) // if the name of the password's file is taken
}

// bundleHash is that of the bundle which a live volume is to have. If there is
// none yet, because the file has not been good since the driver was started, the
// volume keeps what it has.
func (d *Driver) bundleHash(c *config.Config, live *volume.Metadata) string {
	if c.TrustBundle.Path == "" {
		return ""
	}
	if bundle, _ := d.bundles.Current(); bundle != nil {
		return bundle.Hash()
	}
	return live.TrustBundle
}

// bundleFor is the bundle that goes with bundleHash.
func (d *Driver) bundleFor(c *config.Config, id string, meta *volume.Metadata) *trustbundle.Bundle {
	if c.TrustBundle.Path == "" {
		return nil
	}
	if bundle, _ := d.bundles.Current(); bundle != nil {
		return bundle
	}
	return d.presentBundle(id, meta)
}

// storePassword is that of the stores in a volume: the configured one, else the
// volume's own, which it keeps. It is known if the stores that the volume has have
// it.
func (d *Driver) storePassword(c *config.Config, id string, meta *volume.Metadata, names volume.Files) (password string, known bool) {
	switch configured := c.Volume.StorePassword; {
	case !names.HaveStores():
		return "", false
	case configured != "":
		return configured, meta.Files.HaveStores() && passwordHash(c, names) == meta.StorePassword
	}
	if meta.Files.HaveStores() && meta.StorePassword == "" {
		if own, err := d.store.ReadFile(id, meta.Files.PasswordFile); err == nil && len(own) > 0 {
			return string(own), true
		}
	}
	return rand.Text(), false
}

// keystores are those that a volume has and is to have. What cannot be read is made
// anew.
func (d *Driver) keystores(id string, has, wanted volume.Files) map[string][]byte {
	stores := map[string][]byte{}
	for name, want := range map[string]string{has.PKCS12.Keystore: wanted.PKCS12.Keystore, has.JKS.Keystore: wanted.JKS.Keystore} {
		if name == "" || name != want {
			continue
		}
		if data, err := d.store.ReadFile(id, name); err == nil && len(data) > 0 {
			stores[name] = data
		}
	}
	return stores
}

// passwordHash tells one configured password from another.
func passwordHash(c *config.Config, names volume.Files) string {
	if !names.HaveStores() || c.Volume.StorePassword == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(c.Volume.StorePassword))
	return hex.EncodeToString(sum[:8])
}

// findBundle notes which trust bundle is really in a volume that an earlier
// process has left: its metadata may be older than its files.
func (d *Driver) findBundle(id string, live *volume.Metadata) {
	data, err := d.store.ReadFile(id, live.Files.TrustBundle)
	switch {
	case err == nil:
		live.TrustBundle = trustbundle.HashOf(data)
	case errors.Is(err, fs.ErrNotExist):
		live.TrustBundle = ""
	default:
		live.TrustBundle = fmt.Sprintf("unknown: %v", err) // which is none that is asked for
	}
}
