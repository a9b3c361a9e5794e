// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
