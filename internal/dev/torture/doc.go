// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package torture kills the driver, with SIGKILL, hundreds of times, while pods
// come and go and SVIDs that last for seconds are renewed, and asserts that
// no pod ever notices:
//
//   - A reader that loops over the files of every published volume never finds
//     one missing or empty, nor a pair that does not match or has expired.
//   - After each restart every published volume is there, and no directory is
//     that belongs to none.
//   - No volume has two requests at a time that are open, or is renewed twice for
//     one due time.
//   - In the end no directory, mount or CertificateRequest is left.
//
// Everything is real: the API server, cert-manager, the approver, the driver's
// binary, the tmpfs and the mounts. Only the kubelet is a stand-in; see package
// testkit. Kills at random moments are of the shipped binary. Kills at named
// points, after every step of publish, renew and unpublish, are of one that
// differs from it in that alone: package killable.
//
// [Run] does it. `make torture` runs the whole, `make test` a short form.
package torture
