// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// nodeServer is the CSI node service (CSI spec, "Node Service RPC").
type nodeServer struct {
	csi.UnimplementedNodeServer
	driver *Driver
}

// NodePublishVolume gives a pod its volume. The kubelet calls it again for as
// long as the pod runs (CSIDriver.spec.requiresRepublish), with fresh tokens.
func (s *nodeServer) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	began := time.Now()
	snapshot := s.driver.config.Current()
	about := observe.LogFields{VolumeID: observe.Truncate(req.GetVolumeId()), Pod: podOf(req)}
	request, err := parsePublish(req, snapshot)
	if err == nil {
		err = mounts.CheckPlace(snapshot.Driver.KubeletRootDir, request.targetPath)
	}
	switch {
	case err == nil:
		request.received, about = began, logFieldsOfPublish(snapshot, request)
		err = s.driver.publish(ctx, snapshot, request)
	case s.driver.isThere(snapshot, req, err):
		s.driver.log.Warn("the kubelet publishes a volume that is there with a request that cannot be used; the volume stays as it is",
			"volume", req.GetVolumeId(), "pod", podOf(req), "error", err)
		err = nil
	}
	if err != nil {
		s.driver.log.Error("publish failed", append(about.Failed(err).KeysAndValues(time.Since(began)), "error", err)...)
		return nil, toStatus(err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume destroys a volume. It succeeds for one that is not there
// (CSI spec: "This operation MUST be idempotent").
func (s *nodeServer) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	began, about := time.Now(), observe.LogFields{VolumeID: observe.Truncate(req.GetVolumeId())}
	err := s.driver.checkUnpublish(req)
	if err == nil {
		about = s.driver.snapshotOf(req.GetVolumeId()).LogFields()
		err = s.driver.unpublish(ctx, req.GetVolumeId(), req.GetTargetPath())
	}
	if err != nil {
		s.driver.log.Error("unpublish failed", append(about.KeysAndValues(time.Since(began)), "error", err)...)
		return nil, toStatus(err)
	}
	s.driver.log.Log(ctx, about.UnpublishLevel(), "unpublished", about.KeysAndValues(time.Since(began))...)
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetCapabilities says that the driver handles a pod's fsGroup itself.
func (s *nodeServer) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{
		Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{
			Type: csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
		}},
	}}}, nil
}

// NodeGetInfo gives the name of the node.
func (s *nodeServer) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: s.driver.owner.Node}, nil
}
