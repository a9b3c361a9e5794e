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
	// SPIFFEID is the identity in the volume's document.
	SPIFFEID string `json:"spiffeID"`
	// NotBefore and NotAfter are the validity of the document.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Obtained is when the signed certificate was received; zero if that was not noted.
	Obtained time.Time `json:"obtained,omitzero"`
	// IdentityHash names the policy under which the document was requested, but
	// for its lifetime: one of another IdentityHash is to be replaced.
	IdentityHash string `json:"identityHash"`
	// Duration is the lifetime that was asked for, in nanoseconds. The issuer may
	// have signed for another.
	Duration time.Duration `json:"duration"`
	// EarlyRenewals is how many of the next renewals come early, so that volumes
	// that got their documents together part.
	EarlyRenewals int `json:"earlyRenewals,omitempty"`
	// Request is the name of the CertificateRequest, in PodNamespace, that the
	// document came from.
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
