// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package delivery is what becomes of an identity: files in the volume of a pod.
package delivery

import "errors"

// ErrNoBundle is why nothing new is published while there has been no good bundle.
var ErrNoBundle = errors.New("there is no trust bundle for the pod, and trustBundle.required is true")
