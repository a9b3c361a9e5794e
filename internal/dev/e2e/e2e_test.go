// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"os"
	"testing"
	"time"
)

// svidLifetime is how long SVIDs last in most of the test: long enough for a
// driver that is away for a while, short enough to see renewals.
const svidLifetime = time.Minute

// TestEndToEnd is everything, in its order.
func TestEndToEnd(t *testing.T) {
	w := requireNode(t)
	defer w.report.write(os.Stdout)
	start := time.Now()
	step(t, "walkthrough", func(t *testing.T) { walkthrough(t, w) })
	tls := time.Now()
	step(t, "mutual TLS begins", func(t *testing.T) { startTLS(t, w) })
	step(t, "faults", func(t *testing.T) { faults(t, w) })
	step(t, "root rotated", func(t *testing.T) { rotateRoot(t, w) })
	step(t, "mutual TLS ends", func(t *testing.T) { endTLS(t, w, tls) })
	step(t, "node rebooted", func(t *testing.T) { reboot(t, w) })
	step(t, "node drained", func(t *testing.T) { drain(t, w) })
	step(t, "what events say", func(t *testing.T) { words(t, w) })
	step(t, "a pod's start", func(t *testing.T) { latency(t, w) })
	step(t, "two installations", func(t *testing.T) { sideBySide(t, w) })
	w.report.timed("all", start, "")
}
