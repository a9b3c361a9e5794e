// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle decides all that happens to a volume. It does no I/O, has no clock and
// no goroutine: [Next] takes what has happened into a [State], and returns the state that
// follows and the [Action] values to carry out.
package lifecycle
