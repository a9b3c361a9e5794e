// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

// Deafen has the Reloader's watches fail with err, or succeed again.
func (r *Reloader) Deafen(err func() error) { r.watcher.Refuse = err }
