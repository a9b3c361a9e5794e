// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	u, err := testkit.ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU <= 0 || u.Reads <= 0 || u.Resident < 1<<20 || u.Peak < u.Resident {
		t.Errorf("got %+v", u)
	}
	const none = 1 << 30 // no kernel has so many processes
	if _, err := testkit.ReadUsage(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that is not there: got %v", err)
	}
}

func TestSizesOfWhatIsNotBuilt(t *testing.T) {
	t.Parallel()
	if _, err := size("no-such-program"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("got %v", err)
	}
}
