// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"os"
	"testing"
	"time"
)

// documentLife is how long documents last in most of the test: long enough for a
// driver that is away for a while, short enough to see renewals.
const documentLife = 45 * time.Second

// TestEndToEnd is everything, in its order.
func TestEndToEnd(t *testing.T) {
	w := requireNode(t)
	defer w.report.write(os.Stdout)
	start := time.Now()
	step(t, "walkthrough", func(t *testing.T) { walkthrough(t, w) })
	w.report.timed("all", start, "")
}
