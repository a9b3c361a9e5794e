// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Files delivers identities as the files of volumes, each time all of them in one step.
// It is a [Deliverer]. Make one with [NewFiles].
type Files struct {
	store    *volume.Store
	bundle   *Bundle
	log      *slog.Logger
	contents contents.Maker
}

var _ Deliverer = (*Files)(nil)

// NewFiles returns a deliverer of files into the volumes of a store, beside a trust
// bundle.
func NewFiles(store *volume.Store, bundle *Bundle, log *slog.Logger) *Files {
	return &Files{store: store, bundle: bundle, log: log}
}

// Desired implements [Deliverer]. A name stays for as long as the volume has the file. If
// there is no trust bundle yet, because its file has not been good since the driver was
// started, the volume keeps what it has.
func (f *Files) Desired(c *config.Config, meta *volume.Metadata) Content {
	names := namesFor(c, meta)
	content := Content{Names: names, StorePassword: passwordHash(c, names)}
	if c.TrustBundle.Path != "" {
		content.TrustBundle = meta.TrustBundle
		if bundle := f.bundle.Current(); bundle != nil {
			content.TrustBundle = bundle.Hash()
		}
	}
	return content
}

// Present implements [Deliverer].
func (f *Files) Present(meta *volume.Metadata) Content {
	return Content{meta.Files, meta.TrustBundle, meta.StorePassword}
}

// Write implements [Deliverer].
//
// A new SVID of a live volume must not fail for want of room for something else: it
// is then written beside the bundle and in the forms that the volume has, which is
// outdated until there is room.
func (f *Files) Write(c *config.Config, id string, svid *issuance.SVID, meta *volume.Metadata) error {
	chain, key, err := svid.Marshal()
	if err != nil {
		return fmt.Errorf("encoding the SVID: %w", err)
	}
	describe(svid, meta, time.Now())
	isLive := meta.Files != (volume.Files{})
	parts := contents.Parts{Chain: chain, Key: key}
	err = f.deliver(c, id, parts, f.desired(c, id, meta), meta, f.store.WriteReserving)
	if !errors.Is(err, volume.ErrFull) || !isLive {
		return err
	}
	f.log.Warn("there is no room for a larger volume; its new SVID is put beside what it has", "volume", id, "pod", meta.Pod(), "error", err)
	return f.deliver(c, id, parts, f.present(c, id, meta), meta, f.store.Write)
}

// describe notes in the metadata of a volume what SVID it is about to have.
func describe(svid *issuance.SVID, meta *volume.Metadata, now time.Time) {
	meta.SPIFFEID = svid.X509.ID.String()
	meta.NotBefore, meta.NotAfter, meta.Obtained = svid.NotBefore(), svid.NotAfter(), svid.Obtained
	meta.IdentityHash, meta.Duration, meta.Request = svid.Policy.IdentityHash(), svid.Policy.Duration, svid.Request.Name
	if (lifecycle.Lifetime{Obtained: svid.Obtained.Round(0)}).IsFromTheFuture(now) { // the clock was set back since
		meta.Obtained = now
	}
}

// Rewrite implements [Deliverer]. Of the key it looks only at whether there is one: to
// parse it would take most of the time, and it was whole when it was written.
func (f *Files) Rewrite(c *config.Config, id string, meta *volume.Metadata) error {
	var pair [2][]byte
	for i, name := range []string{meta.Files.Certificate, meta.Files.PrivateKey} {
		data, err := f.store.ReadFile(id, name)
		if err != nil {
			return err
		}
		if block, _ := pem.Decode(data); block == nil {
			return fmt.Errorf("%s of volume %s is damaged", name, id)
		}
		pair[i] = data
	}
	if _, err := pemcerts.Parse(pair[0]); err != nil {
		return fmt.Errorf("%s of volume %s: %w", meta.Files.Certificate, id, err)
	}
	as := f.desired(c, id, meta)
	parts := contents.Parts{Chain: pair[0], Key: pair[1]}
	if as.hasPassword { // that of the stores which there are
		parts.Keystores = f.keystores(id, meta.Files, as.names)
	}
	return f.deliver(c, id, parts, as, meta, f.store.WriteReserving)
}

// surroundings are what an SVID is delivered with.
type surroundings struct {
	names volume.Files
	// bundle is the trust bundle, nil for none.
	bundle *trustbundle.Bundle
	// password is that of stores, and hasPassword whether the stores that the volume has
	// have the same one.
	password    string
	hasPassword bool
}

// desired are the surroundings that are asked for at this moment.
func (f *Files) desired(c *config.Config, id string, meta *volume.Metadata) surroundings {
	s := surroundings{names: namesFor(c, meta)}
	if c.TrustBundle.Path != "" {
		if s.bundle = f.bundle.Current(); s.bundle == nil {
			s.bundle = f.presentBundle(id, meta)
		}
	}
	s.password, s.hasPassword = f.storePassword(c, id, meta, s.names)
	return s
}

// present are the surroundings that a live volume has. Stores whose password cannot be
// kept, since it has no file and is configured no more, are left out.
func (f *Files) present(c *config.Config, id string, meta *volume.Metadata) surroundings {
	s := surroundings{names: withoutLostStores(c, meta.Files), bundle: f.presentBundle(id, meta)}
	s.password, s.hasPassword = f.storePassword(c, id, meta, s.names)
	return s
}

// deliver makes the files of an SVID in its surroundings, and writes them by a method of
// the store. It notes in meta what was written.
func (f *Files) deliver(c *config.Config, id string, parts contents.Parts, in surroundings, meta *volume.Metadata,
	write func(id string, files map[string][]byte, meta volume.Metadata) error,
) error {
	identity, err := spiffeid.FromString(meta.SPIFFEID)
	if err != nil {
		return err
	}
	parts.TrustDomain, parts.Bundle, parts.Password = identity.TrustDomain(), in.bundle, in.password
	files, err := f.contents.Make(in.names, parts)
	if err != nil {
		return err
	}
	written := *meta
	written.Files, written.TrustBundle, written.StorePassword = in.names, in.bundle.Hash(), passwordHash(c, in.names)
	if err := write(id, files, written); err != nil {
		return err
	}
	*meta = written
	return nil
}

// namesFor are the names that the files of a volume are to have.
func namesFor(c *config.Config, meta *volume.Metadata) volume.Files {
	f := c.Volume.Files
	names := meta.Files.Keep(volume.Files{
		Certificate: f.Certificate, PrivateKey: f.PrivateKey, TrustBundle: f.TrustBundle,
		CredentialBundle: f.CredentialBundle, SPIFFEBundle: f.SPIFFEBundle,
		PKCS12: volume.Stores(f.PKCS12), JKS: volume.Stores(f.JKS), PasswordFile: f.PasswordFile,
	})
	return withoutLostStores(c, names) // if the name of the password's file is taken
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
func (f *Files) presentBundle(id string, meta *volume.Metadata) *trustbundle.Bundle {
	if meta.TrustBundle == "" {
		return nil
	}
	data, err := f.store.ReadFile(id, meta.Files.TrustBundle)
	if err == nil {
		var bundle *trustbundle.Bundle
		if bundle, err = trustbundle.Parse(data); err == nil {
			return bundle
		}
	}
	f.log.Warn("the trust bundle in a volume is lost, and there is no other for it", "volume", id, "error", err)
	return nil
}

// storePassword is that of the stores in a volume: the configured one, else the
// volume's own, which it keeps. It is known if the stores that the volume has have
// it.
func (f *Files) storePassword(c *config.Config, id string, meta *volume.Metadata, names volume.Files) (password string, known bool) {
	switch configured := c.Volume.StorePassword; {
	case !names.HaveStores():
		return "", false
	case configured != "":
		return configured, meta.Files.HaveStores() && passwordHash(c, names) == meta.StorePassword
	}
	if meta.Files.HaveStores() && meta.StorePassword == "" {
		if own, err := f.store.ReadFile(id, meta.Files.PasswordFile); err == nil && len(own) > 0 {
			return string(own), true
		}
	}
	return rand.Text(), false
}

// keystores are those that a volume has and is to have. What cannot be read is made
// anew.
func (f *Files) keystores(id string, has, wanted volume.Files) map[string][]byte {
	stores := map[string][]byte{}
	for name, want := range map[string]string{has.PKCS12.Keystore: wanted.PKCS12.Keystore, has.JKS.Keystore: wanted.JKS.Keystore} {
		if name == "" || name != want {
			continue
		}
		if data, err := f.store.ReadFile(id, name); err == nil && len(data) > 0 {
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
