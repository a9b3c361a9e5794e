// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

type refusal struct {
	change  func(*csi.NodePublishVolumeRequest)
	code    codes.Code
	message string
}

// refusals are requests that no pod should get a volume for.
func refusals() map[string]refusal {
	return map[string]refusal{
		"not read-only": {
			func(r *csi.NodePublishVolumeRequest) { r.Readonly = false },
			codes.InvalidArgument, "pod.spec.volumes[].csi.readOnly must be true",
		},
		"not ephemeral": {
			func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, "csi.storage.k8s.io/ephemeral") },
			codes.InvalidArgument, "use pod.spec.volumes[].csi, not a PersistentVolume",
		},
		"block device": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
			},
			codes.InvalidArgument, "use volumeMounts",
		},
		"group is a name": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeContext["spiffe.csi.cert-manager.io/fs-group"] = "staff"
			},
			codes.InvalidArgument, `volumeAttributes["spiffe.csi.cert-manager.io/fs-group"]: "staff" is not a group ID`,
		},
		"attribute misspelt": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeContext["spiffe.csi.cert-manager.io/fsgroup"] = "456"
			},
			codes.InvalidArgument, `volumeAttributes["spiffe.csi.cert-manager.io/fsgroup"] is not known`,
		},
		"volume ID leads elsewhere": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "../../etc" },
			codes.InvalidArgument, "volume_id",
		},
		"target path leads elsewhere": {
			func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "/var/lib/../../etc" },
			codes.InvalidArgument, "target_path",
		},
		"no token": {
			func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, tokensKey) },
			codes.FailedPrecondition, `must have spec.tokenRequests with audience ""`,
		},
		"token for another audience": {
			func(r *csi.NodePublishVolumeRequest) {
				r.VolumeContext[tokensKey] = `{"vault":{"token":"eyJhbGciOi","expirationTimestamp":"2030-01-01T00:00:00Z"}}`
			},
			codes.FailedPrecondition, `must have spec.tokenRequests with audience ""`,
		},
		"token is no JWT": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeContext[tokensKey] = `{"":{"token":"hunter2"}}` },
			codes.InvalidArgument, "malformed ServiceAccount token",
		},
		"token of another pod": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["csi.storage.k8s.io/pod.uid"] = "other" },
			codes.InvalidArgument, "not of the pod that the volume is for",
		},
	}
}
