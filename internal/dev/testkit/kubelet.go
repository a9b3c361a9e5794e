// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Kubelet stands in for the kubelet of one node.
type Kubelet struct {
	cluster *Cluster
	root    string
	conn    *grpc.ClientConn
	// Node is the driver's CSI node service, for calls out of the ordinary.
	Node csi.NodeClient
	// Identity is the driver's CSI identity service.
	Identity csi.IdentityClient
}

// NewKubelet returns a kubelet with its files under root that calls the driver
// on the UNIX socket. Close it when done.
func NewKubelet(cluster *Cluster, root, socket string) (*Kubelet, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &Kubelet{cluster, root, conn, csi.NewNodeClient(conn), csi.NewIdentityClient(conn)}, nil
}

// Close ends the connection to the driver.
func (k *Kubelet) Close() error { return k.conn.Close() }

// WaitForDriver returns when the driver says that it is ready.
func (k *Kubelet) WaitForDriver(ctx context.Context) error {
	response, err := k.Identity.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
	if err == nil && !response.GetReady().GetValue() {
		return errors.New("the driver is not ready")
	}
	return err
}

// Publish gives the pod its volume of the given name, as the kubelet does when
// the pod starts and, with requiresRepublish, again and again. It returns where
// the volume is.
func (k *Kubelet) Publish(ctx context.Context, pod *corev1.Pod, volumeName string) (string, error) {
	request, err := k.PublishRequest(ctx, pod, volumeName)
	if err != nil {
		return "", err
	}
	_, err = k.Node.NodePublishVolume(ctx, request)
	return request.GetTargetPath(), err
}

// PublishRequest returns the request that Publish makes, and makes the
// directories that it speaks of.
func (k *Kubelet) PublishRequest(ctx context.Context, pod *corev1.Pod, volumeName string) (*csi.NodePublishVolumeRequest, error) {
	source, err := csiSource(pod, volumeName)
	if err != nil {
		return nil, err
	}
	csiDriver, err := k.cluster.Kubernetes.StorageV1().CSIDrivers().Get(ctx, source.Driver, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	target := k.TargetPath(pod, volumeName)
	// The kubelet makes the parent; the target itself is the driver's to make.
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return nil, err
	}
	request := &csi.NodePublishVolumeRequest{
		VolumeId:      VolumeID(pod, volumeName),
		TargetPath:    target,
		Readonly:      source.ReadOnly != nil && *source.ReadOnly,
		VolumeContext: volumeContext(pod, source, csiDriver),
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{VolumeMountGroup: mountGroup(pod)}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
	}
	return request, k.addTokens(ctx, request, pod, csiDriver)
}

// Unpublish takes the volume away, as the kubelet does when the pod is gone.
func (k *Kubelet) Unpublish(ctx context.Context, pod *corev1.Pod, volumeName string) error {
	_, err := k.Node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{
		VolumeId:   VolumeID(pod, volumeName),
		TargetPath: k.TargetPath(pod, volumeName),
	})
	return err
}

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

// UnmountAll removes whatever is mounted for the pods of a [Kubelet] with its
// files under root, and then the tmpfs of its driver.
func UnmountAll(root, tmpfs string) error {
	// The pattern is good, which is all that can be wrong.
	targets, _ := filepath.Glob(filepath.Join(root, "pods/*/volumes/*/*/mount"))
	var errs []error
	for _, target := range append(targets, tmpfs) {
		errs = append(errs, volume.Unmount(target))
	}
	return errors.Join(errs...)
}
