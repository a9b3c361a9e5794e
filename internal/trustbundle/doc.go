// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package trustbundle has the CA certificates that a pod verifies others with,
// its trust bundle, from the PEM file that the configuration names.
//
// [Parse] says what a good file is. A [Source] remembers the last good content: a
// file that is being replaced, or was replaced by something that is not a bundle,
// never takes the bundle away from volumes. Use one Source for the life of the
// process, and give it to [Source.Take] whatever package filewatch finds.
package trustbundle
