// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package lifecycle_test

// underRace says that the race detector makes the search ten times as slow.
const underRace = false
