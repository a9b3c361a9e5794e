// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	d := deliver(t, withoutMounts(t))
	own, err := trustbundle.Parse(d.file(t, "tls.crt")) // which is self-signed
	check(t, err)
	if failure, err := d.Verify(testID, d.meta, own, time.Now()); failure != nil || err != nil {
		t.Errorf("its own root: %v, %v", failure, err)
	}
	if failure, err := d.Verify(testID, d.meta, d.bundle.Current(), time.Now()); failure == nil || err != nil {
		t.Errorf("another root: %v, %v", failure, err)
	}
	if failure, err := d.Verify(testID, d.meta, own, time.Now().Add(2*time.Hour)); failure != nil || err != nil {
		t.Errorf("when it has expired: %v, %v", failure, err)
	}
	data := d.file(t, "tls.crt")
	check(t, os.WriteFile(filepath.Join(d.store.DataPath(testID), "tls.crt"), data[:len(data)-30], 0o600))
	if failure, err := d.Verify(testID, d.meta, own, time.Now()); !errors.Is(failure, pemcerts.ErrDamaged) || err != nil {
		t.Errorf("damaged: %v, %v", failure, err)
	}
	check(t, d.store.Remove(testID))
	if failure, err := d.Verify(testID, d.meta, own, time.Now()); failure != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: %v, %v", failure, err)
	}
}

// However often a volume is added before it is checked, it is checked once; and all that
// were added are checked before the end.
func TestChainChecks(t *testing.T) {
	t.Parallel()
	var checked []string
	c := delivery.NewChainChecks(func(id string) { checked = append(checked, id) })
	for _, id := range []string{"a", "b", "a"} {
		c.Add(id)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	c.Run(ended)
	if want := []string{"a", "b"}; !slices.Equal(checked, want) {
		t.Errorf("checked %q, want %q", checked, want)
	}
}
