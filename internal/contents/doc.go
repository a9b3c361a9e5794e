// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package contents makes the files of a volume: one SVID and one trust bundle, in
// each of the forms that somebody has asked for. It writes nothing: that is what
// package volume is for.
//
// Use one [Maker] for the life of the process. It remembers what is the same for
// all volumes and takes long to make.
package contents
