// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pemcerts reads certificates in PEM: all of them or none.
//
// [encoding/pem] skips what it cannot read, and says nothing. A chain of three
// certificates of which the second is damaged becomes a chain of two, and a trust
// bundle loses a root. [Parse] therefore looks at every line. It is used for the
// trust bundle's file, for what an issuer returns, and for the driver's own files.
//
// The package is pure: no I/O, no clock.
package pemcerts
