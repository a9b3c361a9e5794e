// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	csiutil "github.com/cert-manager/csi-lib/manager/util"
	"github.com/cert-manager/csi-lib/metadata"
	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
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

// keyTokens is where the kubelet puts the tokens of CSIDriver.spec.tokenRequests:
// in the secrets of the request where spec.serviceAccountTokenInSecrets is set
// (Kubernetes 1.36), else in the volume context.
const keyTokens = "csi.storage.k8s.io/serviceAccount.tokens"

// attributePrefix is of the volume attributes that are meant for this driver.
const attributePrefix = "spiffe.csi.cert-manager.io/"

// attributeFSGroup is the group that may read the files of the volume.
const attributeFSGroup = attributePrefix + "fs-group"

// ErrNoToken means that the kubelet sent no token for the API server.
var ErrNoToken = errors.New("no ServiceAccount token for the API server in the request of the kubelet: " +
	"the CSIDriver object of the driver's name" + ` must have spec.tokenRequests with audience "" and spec.requiresRepublish: true`)

// parsePublish checks everything that can be told from the request alone, and then that
// the target is where it seems to be.
func parsePublish(c *config.Config, req *csi.NodePublishVolumeRequest) (manager.PublishRequest, error) {
	id, target, context := req.GetVolumeId(), req.GetTargetPath(), req.GetVolumeContext()
	podUID, targetErr := mounts.CheckTarget(c.Driver.KubeletRootDir, target)
	switch {
	case volume.CheckID(id) != nil:
		return manager.PublishRequest{}, refuse("volume_id: %v", volume.CheckID(id))
	case targetErr != nil:
		return manager.PublishRequest{}, targetErr
	case req.GetVolumeCapability().GetBlock() != nil:
		return manager.PublishRequest{}, refuse("pod.spec.containers[].volumeDevices: the volume has files and cannot be a block device; use volumeMounts")
	case req.GetVolumeCapability().GetMount() == nil:
		return manager.PublishRequest{}, refuse("volume_capability of the CSI request does not say that the volume is to be mounted")
	case context[keyEphemeral] != "true":
		return manager.PublishRequest{}, refuse("only ephemeral inline volumes are provided: use pod.spec.volumes[].csi, not a PersistentVolume (and the CSIDriver object must have podInfoOnMount: true)")
	case !req.GetReadonly():
		return manager.PublishRequest{}, refuse("pod.spec.volumes[].csi.readOnly must be true")
	}
	group, err := fsGroup(c, req)
	if err != nil {
		return manager.PublishRequest{}, err
	}
	if err := checkAttributes(context); err != nil {
		return manager.PublishRequest{}, err
	}
	token, err := tokenOf(req)
	if err != nil {
		return manager.PublishRequest{}, err
	}
	if token.PodUID != podUID {
		return manager.PublishRequest{}, refuse("target_path %s is of another pod than the ServiceAccount token, which is of the pod with UID %s", observe.Quote(target), observe.Quote(token.PodUID))
	}
	if err := mounts.CheckPlace(c.Driver.KubeletRootDir, target); err != nil {
		return manager.PublishRequest{}, err
	}
	return manager.PublishRequest{VolumeID: id, TargetPath: target, FSGroup: group, Token: token}, nil
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
func fsGroup(c *config.Config, req *csi.NodePublishVolumeRequest) (*int64, error) {
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

// tokenOf returns the pod's token for the API server, and checks that it is of
// the pod that the kubelet says it mounts for.
func tokenOf(req *csi.NodePublishVolumeRequest) (manager.Token, error) {
	tokens, ok := req.GetSecrets()[keyTokens]
	if !ok {
		tokens, ok = req.GetVolumeContext()[keyTokens]
	}
	if !ok {
		return manager.Token{}, ErrNoToken
	}
	// The error of the library may quote what it could not parse.
	raw, err := csiutil.EmptyAudienceTokenFromMetadata(metadata.Metadata{VolumeContext: map[string]string{keyTokens: tokens}})
	if err != nil {
		return manager.Token{}, ErrNoToken
	}
	claims, err := spiffe.ParsePodToken(raw)
	if err != nil {
		return manager.Token{}, fmt.Errorf("ServiceAccount token from the kubelet: %w", err)
	}
	if err := checkPod(claims, req.GetVolumeContext()); err != nil {
		return manager.Token{}, err
	}
	return manager.Token{Secret: issuance.NewToken(raw), PodToken: claims}, nil
}

// checkPod compares a token with what the kubelet says of the pod, as far as it says
// anything.
func checkPod(token spiffe.PodToken, context map[string]string) error {
	for _, claim := range []struct{ key, got string }{
		{keyPodNamespace, token.ServiceAccount.Namespace()},
		{keyServiceAccount, token.ServiceAccount.Name()},
		{keyPodName, token.PodName},
		{keyPodUID, token.PodUID},
	} {
		if want, ok := context[claim.key]; ok && want != claim.got {
			return fmt.Errorf("%w: %s is %s, the token says %s", manager.ErrWrongPod, claim.key, observe.Quote(want), observe.Quote(claim.got))
		}
	}
	return nil
}

// unusable is what may be known of a request that cannot be used.
func unusable(req *csi.NodePublishVolumeRequest) manager.UnusableRequest {
	context := req.GetVolumeContext()
	return manager.UnusableRequest{
		VolumeID: req.GetVolumeId(), TargetPath: req.GetTargetPath(),
		PodNamespace: observe.Truncate(context[keyPodNamespace]), PodName: observe.Truncate(context[keyPodName]), PodUID: observe.Truncate(context[keyPodUID]),
	}
}

// podOf names the pod of a request for the log, as far as the request tells.
func podOf(req *csi.NodePublishVolumeRequest) string {
	context := req.GetVolumeContext()
	return observe.Truncate(context[keyPodNamespace]) + "/" + observe.Truncate(context[keyPodName])
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", mounts.ErrRefused, fmt.Sprintf(format, args...))
}
