// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// A bundle that has grown beyond what the tmpfs holds reaches the volumes that
// there is room for. The others keep the one that they have, all of them are
// renewed, new pods are refused, and a smaller bundle is in every volume again.
func TestBundleThatDoesNotFitLeavesRenewalsAlone(t *testing.T) {
	const count = 12
	w := prepare(t, withBundle, func(*world) string { return "certificate: {duration: 9s}" })
	small(w)
	w.startApprover()
	w.startDriver()
	requests := w.publishMany(count)
	var many []testkit.CA
	for range 100 { // as many as make some 60 KiB
		many = append(many, w.newCA("root"))
	}
	w.writeBundle(many...)
	large := slices.Concat(pemOf(many)...)
	having := func(want []byte) (n int) {
		for _, target := range targetsOf(requests) {
			if hasFile(target, "ca.crt", want) {
				n++
			}
		}
		return n
	}
	w.eventually("those that there is room for have it", func() bool {
		have := having(large)
		return have > 0 && have < count && w.driver.VolumesBehind() == count-have
	})
	// Some may be written at the moment: the two are not counted at the same time.
	w.eventually("each volume has one of the two", func() bool { return having(large)+having(w.ca.CertificatePEM) == count })
	keys := map[string]string{}
	for _, target := range targetsOf(requests) {
		keys[target] = w.readFile(target, "tls.key")
	}
	w.eventually("every volume is renewed", func() bool {
		for target, key := range keys {
			if now, err := os.ReadFile(filepath.Join(target, "tls.key")); err != nil || string(now) == key {
				return false
			}
		}
		return true
	})
	for target := range keys {
		w.readSVID(target)
	}
	if having(w.ca.CertificatePEM) == 0 || w.driver.VolumesBehind() == 0 {
		t.Error("a renewal has brought the bundle that does not fit")
	}
	_, err := w.kubelet.Publish(t.Context(), w.pod("late"), testkit.VolumeName)
	w.requireRefusal(err, codes.ResourceExhausted, "kept for renewals")

	w.writeBundle(w.ca, many[0])
	w.eventually("the smaller one is in all", func() bool {
		return having(slices.Concat(w.ca.CertificatePEM, many[0].CertificatePEM)) == count && w.driver.VolumesBehind() == 0
	})
}
