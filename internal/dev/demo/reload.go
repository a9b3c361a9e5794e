// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

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
	say("both daemons followed, and after %s the live volume has a document for", time.Since(began).Round(10*time.Millisecond))
	say("%s", want)
	return nil
}
