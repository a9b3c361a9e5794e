// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// metadataVersion is the version of the metadata format that this package
// writes. A file of another version is damaged as far as this one can tell.
const metadataVersion = 1

// Metadata says what a volume holds and for whom. It is all that a new process
// learns of the volumes of the one before it, and holds no secrets: neither
// keys nor tokens.
type Metadata struct {
	// TargetPath is where the kubelet asked for the volume (CSI spec,
	// NodePublishVolumeRequest.target_path).
	TargetPath string `json:"targetPath"`
	// PodNamespace, PodName and PodUID identify the pod.
	PodNamespace string `json:"podNamespace"`
	PodName      string `json:"podName"`
	PodUID       string `json:"podUID"`
	// FSGroup is the group that may read the files, or nil for root's alone.
	FSGroup *int64 `json:"fsGroup,omitempty"`
	// Files are the names of the files. A name stays for the life of the volume, as
	// the pod knows it.
	Files Files `json:"files"`
	// TrustBundle is the hash of the trust bundle in the files, and empty if there
	// is none.
	TrustBundle string `json:"trustBundle,omitempty"`
	// StorePassword is the hash of the password of stores, and empty if there are
	// none, or if the volume has a password of its own.
	StorePassword string `json:"storePassword,omitempty"`
	// SPIFFEID is the SPIFFE ID of the volume's SVID.
	SPIFFEID string `json:"spiffeID"`
	// NotBefore and NotAfter are the validity of the certificate.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Obtained is when the signed certificate was received; zero if that was not noted.
	Obtained time.Time `json:"obtained,omitzero"`
	// IdentityHash names the policy under which the SVID was requested, but
	// for its lifetime: one of another IdentityHash is to be replaced.
	IdentityHash string `json:"identityHash"`
	// Duration is the lifetime that was asked for, in nanoseconds. The issuer may
	// have signed for another.
	Duration time.Duration `json:"duration"`
	// EarlyRenewals is how many of the next renewals come early, so that volumes
	// that got their SVIDs together are spread.
	EarlyRenewals int `json:"earlyRenewals,omitempty"`
	// Request is the name of the CertificateRequest, in PodNamespace, that the
	// SVID came from.
	Request string `json:"request"`
}

// Pod returns NAMESPACE/NAME of the pod, as logs name it.
func (m Metadata) Pod() string { return m.PodNamespace + "/" + m.PodName }

type metadataFile struct {
	Version int `json:"version"`
	Metadata
}

// ReadMetadata returns what is known of a volume. The error wraps
// [ErrNotFound] if there is nothing, and [ErrDamaged] if it cannot be
// understood.
func (s *Store) ReadMetadata(id string) (Metadata, error) {
	if err := CheckID(id); err != nil {
		return Metadata{}, err
	}
	data, err := os.ReadFile(s.metadataPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Metadata{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return Metadata{}, fmt.Errorf("%w: %s: %w", ErrDamaged, id, err)
	}
	var file metadataFile
	if err := json.Unmarshal(data, &file); err != nil {
		return Metadata{}, fmt.Errorf("%w: %s: %w", ErrDamaged, id, err)
	}
	if file.Version != metadataVersion {
		return Metadata{}, fmt.Errorf("%w: %s: version %d, this program reads version %d", ErrDamaged, id, file.Version, metadataVersion)
	}
	return file.Metadata, nil
}

// IsComplete reports whether there is everything that the metadata of a live
// volume has.
func (m Metadata) IsComplete() bool {
	return !slices.Contains([]string{
		m.TargetPath, m.PodNamespace, m.PodName, m.PodUID, m.SPIFFEID, m.Files.Certificate, m.Files.PrivateKey, m.Files.TrustBundle,
	}, "")
}

// writeMetadata replaces the metadata as a whole.
func (s *Store) writeMetadata(id string, meta Metadata) error {
	data, err := json.MarshalIndent(metadataFile{metadataVersion, meta}, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(s.metadataPath(id), append(data, '\n')); err != nil {
		return err
	}
	s.step("metadata written")
	return nil
}

// WriteMetadata replaces the metadata of a volume that is there, and leaves its
// files alone.
func (s *Store) WriteMetadata(id string, meta Metadata) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := s.Ensure(); err != nil {
		return err
	}
	if err := s.writeMetadata(id, meta); err != nil {
		return fmt.Errorf("writing metadata of volume %s: %w", id, explain(err))
	}
	return nil
}

func (s *Store) metadataPath(id string) string {
	return filepath.Join(s.root, id, "metadata.json")
}

// Files are the names of the files of a volume. An empty one is that of a file
// which there is not to be; those of the trust bundle need not be there either.
type Files struct {
	// Certificate, PrivateKey and TrustBundle are in PEM.
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"privateKey"`
	TrustBundle string `json:"trustBundle"`
	// CredentialBundle is the key and the chain in one, in PEM.
	CredentialBundle string `json:"credentialBundle,omitempty"`
	// SPIFFEBundle is the trust bundle in JSON.
	SPIFFEBundle string `json:"spiffeBundle,omitempty"`
	// PKCS12 and JKS are stores for Java.
	PKCS12 Stores `json:"pkcs12,omitzero"`
	JKS    Stores `json:"jks,omitzero"`
	// PasswordFile has the password of the stores.
	PasswordFile string `json:"passwordFile,omitempty"`
}

// Stores are the names of files in one of Java's formats.
type Stores struct {
	Keystore   string `json:"keystore,omitempty"`
	Truststore string `json:"truststore,omitempty"`
}

// HaveStores reports whether there is a file that has a password.
func (f Files) HaveStores() bool { return f.PKCS12 != Stores{} || f.JKS != Stores{} }

// Keep returns the names that a volume has from now on: those that it has where
// wanted has one too, else those of wanted. A new one that belongs to another file
// already is left out: what the pod knows comes first.
func (f Files) Keep(wanted Files) Files {
	kept := f
	names, wants, taken := kept.each(), wanted.each(), map[string]bool{}
	for i, name := range names {
		if *wants[i] == "" {
			*name = ""
		}
		taken[*name] = true
	}
	for i, name := range names {
		if want := *wants[i]; *name == "" && !taken[want] {
			*name, taken[want] = want, true
		}
	}
	return kept
}

// each returns all names, the password file before the stores.
func (f *Files) each() []*string {
	return []*string{
		&f.Certificate, &f.PrivateKey, &f.TrustBundle, &f.CredentialBundle, &f.SPIFFEBundle, &f.PasswordFile,
		&f.PKCS12.Keystore, &f.PKCS12.Truststore, &f.JKS.Keystore, &f.JKS.Truststore,
	}
}

// WritePending keeps what belongs to a request for a volume that is under way,
// its key among it, until [Store.RemovePending] or [Store.Remove]. It lies
// beside the files that the pod sees, readable by root alone, and replaces what
// was kept before in one step. The volume's directory is made if need be.
func (s *Store) WritePending(id string, data []byte) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := s.Ensure(); err != nil {
		return err
	}
	if err := makeDir(filepath.Join(s.root, id), privateDirMode); err != nil {
		return fmt.Errorf("making the directory of volume %s: %w", id, explain(err))
	}
	if err := replaceFile(s.pendingPath(id), data); err != nil {
		return fmt.Errorf("keeping the request of volume %s: %w", id, explain(err))
	}
	s.step("pending request written")
	return nil
}

// ReadPending returns what [Store.WritePending] has kept. The error wraps
// [ErrNotFound] if there is nothing.
func (s *Store) ReadPending(id string) ([]byte, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.pendingPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return data, err
}

// RemovePending deletes what is kept, and the volume's directory if there is
// nothing else in it. That there is nothing is not an error.
func (s *Store) RemovePending(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := os.Remove(s.pendingPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("volume %s: %w", id, explain(err))
	}
	_ = os.Remove(filepath.Join(s.root, id)) // it fails if something is in it
	s.step("pending request removed")
	return nil
}

// RemoveData deletes the files and metadata of a volume that is not mounted, and
// keeps the request that is under way for it.
func (s *Store) RemoveData(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	for _, path := range []string{s.DataPath(id), s.metadataPath(id), s.metadataPath(id) + newSuffix} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing the files of volume %s: %w", id, err)
		}
	}
	_ = os.Remove(filepath.Join(s.root, id)) // it fails if something is in it
	return nil
}

func (s *Store) pendingPath(id string) string { return filepath.Join(s.root, id, "pending.json") }

// newSuffix is of a file that is about to replace another.
const newSuffix = ".new"

// replaceFile replaces a file by rename, so that a reader, or a process started
// after this one was killed, finds the old or the new whole. A directory in its
// place is damage, and goes.
func replaceFile(path string, content []byte) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(path + newSuffix); err != nil {
		return err
	}
	if err := os.WriteFile(path+newSuffix, content, 0o600); err != nil {
		return errors.Join(err, os.RemoveAll(path+newSuffix))
	}
	return os.Rename(path+newSuffix, path)
}
