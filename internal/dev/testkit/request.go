// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	authv1 "k8s.io/api/authentication/v1"
)

// keyTokens is where tokens are, in the secrets or the volume context.
const keyTokens = "csi.storage.k8s.io/serviceAccount.tokens"

// VolumeID returns the ID that the kubelet makes up for an inline volume
// (kubernetes/pkg/volume/csi/csi_util.go and csi_mounter.go, makeVolumeHandle).
func VolumeID(pod *corev1.Pod, volumeName string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod.UID)+volumeName)))
}

// TargetPath returns where the kubelet wants a volume of a pod.
func (k *Kubelet) TargetPath(pod *corev1.Pod, volumeName string) string {
	return filepath.Join(k.root, "pods", string(pod.UID), "volumes", "kubernetes.io~csi", volumeName, "mount")
}

func csiSource(pod *corev1.Pod, volumeName string) (*corev1.CSIVolumeSource, error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == volumeName && volume.CSI != nil {
			return volume.CSI, nil
		}
	}
	return nil, fmt.Errorf("pod %s/%s has no CSI volume %q", pod.Namespace, pod.Name, volumeName)
}

func volumeContext(pod *corev1.Pod, source *corev1.CSIVolumeSource, csiDriver *storagev1.CSIDriver) map[string]string {
	context := map[string]string{}
	maps.Copy(context, source.VolumeAttributes)
	if info := csiDriver.Spec.PodInfoOnMount; info != nil && *info {
		maps.Copy(context, map[string]string{
			"csi.storage.k8s.io/pod.name":            pod.Name,
			"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
			"csi.storage.k8s.io/pod.uid":             string(pod.UID),
			"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
			"csi.storage.k8s.io/ephemeral":           "true",
		})
	}
	return context
}

func mountGroup(pod *corev1.Pod) string {
	if context := pod.Spec.SecurityContext; context != nil && context.FSGroup != nil {
		return strconv.FormatInt(*context.FSGroup, 10)
	}
	return ""
}

// addTokens puts the pod's tokens where this CSIDriver wants them.
func (k *Kubelet) addTokens(ctx context.Context, request *csi.NodePublishVolumeRequest, pod *corev1.Pod, csiDriver *storagev1.CSIDriver) error {
	tokens := map[string]authv1.TokenRequestStatus{}
	for _, wanted := range csiDriver.Spec.TokenRequests {
		seconds := int64(3600)
		if wanted.ExpirationSeconds != nil {
			seconds = *wanted.ExpirationSeconds
		}
		token, err := k.cluster.token(ctx, pod.Namespace, pod.Spec.ServiceAccountName, wanted.Audience, pod, seconds)
		if err != nil {
			return err
		}
		tokens[wanted.Audience] = authv1.TokenRequestStatus{Token: token.Token, ExpirationTimestamp: token.ExpirationTimestamp}
	}
	if len(tokens) == 0 {
		return nil
	}
	data, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	if in := csiDriver.Spec.ServiceAccountTokenInSecrets; in != nil && *in {
		request.Secrets = map[string]string{keyTokens: string(data)}
	} else {
		request.VolumeContext[keyTokens] = string(data)
	}
	return nil
}

// MoveTokensToSecrets makes of a request what a kubelet makes of it where the
// CSIDriver has serviceAccountTokenInSecrets.
func MoveTokensToSecrets(request *csi.NodePublishVolumeRequest) {
	request.Secrets = map[string]string{keyTokens: request.VolumeContext[keyTokens]}
	delete(request.VolumeContext, keyTokens)
}
