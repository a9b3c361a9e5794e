// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// groupOfExample is the group that manifests/examples/fs-group-app.yaml names.
const groupOfExample = 456

func (d *demo) publishForGroup(ctx context.Context) error {
	if !testkit.GroupExists(groupOfExample) {
		say("left out: this user namespace has no group %d; run `make demo` as root to see it", groupOfExample)
		return nil
	}
	var err error
	if d.groupPod, err = d.createPod(ctx, "fs-group-app.yaml"); err != nil {
		return err
	}
	target, err := d.kubelet.Publish(ctx, d.groupPod, testkit.VolumeName)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(target, "tls.key"))
	if err != nil {
		return err
	}
	gid := info.Sys().(*syscall.Stat_t).Gid
	say("%s  group %d  %s", info.Mode(), gid, filepath.Join(target, "tls.key"))
	if gid != groupOfExample || info.Mode().Perm()&0o040 == 0 {
		return fmt.Errorf("it should be readable by group %d", groupOfExample)
	}
	return nil
}

// waitForRenewal looks at the files until they change. The kubelet goes on
// publishing meanwhile, and nobody asks the driver for anything.
func (d *demo) waitForRenewal(ctx context.Context) error {
	old, err := d.svid()
	if err != nil {
		return err
	}
	before, err := d.serialAndKey()
	if err != nil {
		return err
	}
	lifetime := old.Certificates[0].NotAfter.Sub(old.Certificates[0].NotBefore)
	say("now:   %s, expires in %s", before, time.Until(old.Certificates[0].NotAfter).Round(time.Second))
	after := before
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, lifetime+5*time.Second, true, func(context.Context) (bool, error) {
		after, err = d.serialAndKey()
		return after != before, err
	})
	if err != nil {
		return fmt.Errorf("no new SVID came: %w", err)
	}
	left := time.Until(old.Certificates[0].NotAfter)
	say("later: %s, %s before the old one expires", after, left.Round(100*time.Millisecond))
	if left <= 0 {
		return errors.New("the old SVID had expired by then")
	}
	renewed, err := d.svid()
	if err != nil {
		return err
	}
	say("the new SVID is valid until %s, for the same SPIFFE ID", renewed.Certificates[0].NotAfter.Format(time.RFC3339))
	return nil
}

// changeTrustDomain edits the one file while everything runs.
func (d *demo) changeTrustDomain(ctx context.Context) error {
	path := d.path("config.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, after := []byte("trustDomain: my.trust.domain"), []byte("trustDomain: your.trust.domain")
	if !bytes.Contains(data, before) {
		return errors.New("the configuration file has another trust domain than expected")
	}
	say("trustDomain: my.trust.domain → your.trust.domain, in %s", path)
	if err := os.WriteFile(path, bytes.Replace(data, before, after, 1), 0o600); err != nil {
		return err
	}
	began := time.Now()
	const want = "spiffe://your.trust.domain/ns/sandbox/sa/example-app"
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		svid, err := d.svid()
		return err == nil && svid.ID.String() == want, err
	})
	if err != nil {
		return fmt.Errorf("the live volume did not follow: %w", err)
	}
	say("both daemons followed, and after %s the live volume has an SVID for", time.Since(began).Round(10*time.Millisecond))
	say("%s", want)
	return nil
}
