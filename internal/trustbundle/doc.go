// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package trustbundle reads the CA certificates that a pod verifies others
// with, its trust bundle, from the PEM file that the configuration names.
//
// A [Source] remembers the last good content: a file that is being replaced, or
// was replaced by something that is not a bundle, never takes the bundle away
// from volumes. Use one Source for the life of the process, and call
// [Source.Read] whenever a volume is written.
package trustbundle
