// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// The keys under which the kubelet tells about the pod, where the CSIDriver has
// podInfoOnMount (kubernetes/pkg/volume/csi/csi_mounter.go).
const (
	keyPodName        = "csi.storage.k8s.io/pod.name"
	keyPodNamespace   = "csi.storage.k8s.io/pod.namespace"
	keyPodUID         = "csi.storage.k8s.io/pod.uid"
	keyServiceAccount = "csi.storage.k8s.io/serviceAccount.name"
	keyEphemeral      = "csi.storage.k8s.io/ephemeral"
)

// attributePrefix is of the volume attributes that are meant for this driver.
const attributePrefix = "spiffe.csi.cert-manager.io/"

// attributeFSGroup is the group that may read the files of the volume.
const attributeFSGroup = attributePrefix + "fs-group"

// publishRequest is a NodePublishVolume request that has been checked.
type publishRequest struct {
	volumeID   string
	targetPath string
	fsGroup    *int64
	token      podToken
	// received is when the kubelet's call came.
	received time.Time
}

// parsePublish checks everything that can be told from the request alone.
func parsePublish(req *csi.NodePublishVolumeRequest, c *config.Config) (publishRequest, error) {
	context := req.GetVolumeContext()
	target := req.GetTargetPath()
	podUID, targetErr := mounts.CheckTarget(c.Driver.KubeletRootDir, target)
	switch {
	case volume.CheckID(req.GetVolumeId()) != nil:
		return publishRequest{}, refuse("volume_id: %v", volume.CheckID(req.GetVolumeId()))
	case targetErr != nil:
		return publishRequest{}, targetErr
	case req.GetVolumeCapability().GetBlock() != nil:
		return publishRequest{}, refuse("pod.spec.containers[].volumeDevices: the volume has files and cannot be a block device; use volumeMounts")
	case req.GetVolumeCapability().GetMount() == nil:
		return publishRequest{}, refuse("volume_capability of the CSI request does not say that the volume is to be mounted")
	case context[keyEphemeral] != "true":
		return publishRequest{}, refuse("only ephemeral inline volumes are provided: use pod.spec.volumes[].csi, not a PersistentVolume (and the CSIDriver object must have podInfoOnMount: true)")
	case !req.GetReadonly():
		return publishRequest{}, refuse("pod.spec.volumes[].csi.readOnly must be true")
	}
	group, err := fsGroup(req, c)
	if err != nil {
		return publishRequest{}, err
	}
	if err := checkAttributes(context); err != nil {
		return publishRequest{}, err
	}
	token, err := tokenOf(req)
	if err != nil {
		return publishRequest{}, err
	}
	if token.PodUID != podUID {
		return publishRequest{}, refuse("target_path %s is of another pod than the ServiceAccount token, which is of the pod with UID %s", observe.Quote(target), observe.Quote(token.PodUID))
	}
	return publishRequest{volumeID: req.GetVolumeId(), targetPath: target, fsGroup: group, token: token}, nil
}

// checkAttributes refuses what was meant for this driver and is misspelt.
func checkAttributes(context map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(context)) {
		if strings.HasPrefix(key, attributePrefix) && key != attributeFSGroup {
			return refuse("pod.spec.volumes[].csi.volumeAttributes[%s] is not known; known is %q", observe.Quote(key), attributeFSGroup)
		}
	}
	return nil
}

// fsGroup returns the group that may read the volume: the volume's own
// attribute, else the pod's fsGroup, else the configured default, else none.
func fsGroup(req *csi.NodePublishVolumeRequest, c *config.Config) (*int64, error) {
	field := fmt.Sprintf("pod.spec.volumes[].csi.volumeAttributes[%q]", attributeFSGroup)
	value := req.GetVolumeContext()[attributeFSGroup]
	if value == "" {
		field = "pod.spec.securityContext.fsGroup"
		value = req.GetVolumeCapability().GetMount().GetVolumeMountGroup()
	}
	if value == "" {
		return c.Volume.DefaultFSGroup, nil
	}
	// The greatest 32-bit number means "no change" to chown(2).
	const most = 1<<32 - 2
	gid, err := strconv.ParseInt(value, 10, 64)
	if err != nil || gid < 0 || gid > most {
		return nil, refuse("%s: %s is not a group ID, a number from 0 to %d", field, observe.Quote(value), int64(most))
	}
	return &gid, nil
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", mounts.ErrRefused, fmt.Sprintf(format, args...))
}

// podOf names the pod of a request for the log, as far as the request tells.
func podOf(req *csi.NodePublishVolumeRequest) string {
	context := req.GetVolumeContext()
	return observe.Truncate(context[keyPodNamespace]) + "/" + observe.Truncate(context[keyPodName])
}
