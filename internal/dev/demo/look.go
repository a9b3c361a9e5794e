// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

const expectedID = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"

func (d *demo) showFiles(context.Context) error {
	say("%s:", d.target)
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		info, err := os.Stat(filepath.Join(d.target, name))
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		say("    %s  user %d  group %d  %4d bytes  %s", info.Mode(), owner.Uid, owner.Gid, info.Size(), name)
	}
	mounts, err := mountsUnder(d.dir)
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		say("mounted: %s", mount)
	}
	if err := os.WriteFile(filepath.Join(d.target, "test"), nil, 0o600); err == nil {
		return errors.New("the pod can write to its volume")
	}
	say("the volume cannot be written to, and its files are in memory only")
	return nil
}

// mountsUnder returns the lines of the mount table for a folder, shortened.
func mountsUnder(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, line := range strings.Split(string(data), "\n") {
		if fields := strings.Fields(line); len(fields) > 3 && strings.HasPrefix(fields[1], dir) {
			found = append(found, fields[2]+" "+fields[1]+" ("+fields[3]+")")
		}
	}
	return found, nil
}

func (d *demo) showDocument(context.Context) error {
	svid, err := d.svid()
	if err != nil {
		return err
	}
	leaf := svid.Certificates[0]
	say("SPIFFE ID: %s", svid.ID)
	say("Issuer:    %s", leaf.Issuer)
	say("Validity:  %s to %s (%s)", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), leaf.NotAfter.Sub(leaf.NotBefore))
	say("Key:       %s, certificate signed with %s", csr.KeySpecOf(leaf.PublicKey), leaf.SignatureAlgorithm)
	if svid.ID.String() != expectedID {
		return fmt.Errorf("the SPIFFE ID should be %s", expectedID)
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), filepath.Join(d.target, "ca.crt"))
	if err != nil {
		return err
	}
	if _, _, err := x509svid.Verify(svid.Certificates, bundle); err != nil {
		return fmt.Errorf("the chain does not verify against ca.crt: %w", err)
	}
	say("go-spiffe verifies the chain against ca.crt, and that the key belongs to it")
	return nil
}

// svid reads the document in the pod's volume, as go-spiffe checks it.
func (d *demo) svid() (*x509svid.SVID, error) {
	return x509svid.Load(filepath.Join(d.target, "tls.crt"), filepath.Join(d.target, "tls.key"))
}

// serialAndKey names the present document: a new one differs in both.
func (d *demo) serialAndKey() (string, error) {
	svid, err := d.svid()
	if err != nil {
		return "", err
	}
	leaf := svid.Certificates[0]
	return fmt.Sprintf("serial %s, key %.8x", leaf.SerialNumber, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)), nil
}
