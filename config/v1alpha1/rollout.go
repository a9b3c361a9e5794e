// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Rollout is how a change of this file takes effect while it spreads, which
// through a ConfigMap takes a minute or more from node to node.
type Rollout struct {
	// GracePeriod is for how long after a change the approver still approves
	// what the file allowed before it, and waits with denying a request that was
	// made under a file which it has not seen: from `0s` to `1h`. It should be
	// longer than a change takes to arrive everywhere. When a change shortens it,
	// the old one still counts for that change, but `0s` takes effect at once: set
	// that together with a change that cannot wait.
	GracePeriod Duration `json:"gracePeriod" validate:"min=0s,max=1h" change:"hot"`
	// ReissueWindow is the time over which the driver replaces the SVIDs of live
	// volumes when a change makes them others (another trust domain, issuer or
	// kind of key): from `0s`, all at once, to `168h`, a week. SVIDs that are due
	// earlier are replaced then.
	ReissueWindow Duration `json:"reissueWindow" validate:"min=0s,max=168h" change:"hot"`
}
