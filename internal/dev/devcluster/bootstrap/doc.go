// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bootstrap makes a bare API server into one with cert-manager in it:
// namespace, custom resources, ServiceAccounts and their rights, admission
// webhook; and finds out, each time by asking the API server, when that has taken
// effect.
//
// Every wait polls at a growing interval that starts small: what is waited for
// takes between a few milliseconds and a second, and a watch can itself be what
// is not working yet.
package bootstrap
