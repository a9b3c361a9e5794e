// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver

import (
	"context"
	"errors"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// NodePublishVolume gives a pod its volume. The kubelet calls it again for as
// long as the pod runs (CSIDriver.spec.requiresRepublish), with fresh tokens.
func (s *Server) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	received, c := time.Now(), s.config.Current()
	request, err := parsePublish(c, req)
	if err != nil {
		return s.publishUnusable(c, req, received, err)
	}
	request.Received = received
	if err := s.volumes.Publish(ctx, c, request); err != nil {
		return nil, s.publishFailed(observe.LogFieldsOfPod(request.VolumeID, c.Policy(), request.Token.PodToken), received, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// publishUnusable answers a request that cannot be used. Whatever is wrong with it, a
// volume that is there is not failed because of it: older kubelets tear a volume down on
// an error.
func (s *Server) publishUnusable(c *config.Config, req *csi.NodePublishVolumeRequest, received time.Time, cause error) (*csi.NodePublishVolumeResponse, error) {
	if !s.volumes.Keeps(c, unusable(req), cause) {
		return nil, s.publishFailed(observe.LogFields{VolumeID: observe.Truncate(req.GetVolumeId()), Pod: podOf(req)}, received, cause)
	}
	s.log.Warn("the kubelet publishes a volume that is there with a request that cannot be used; the volume stays as it is",
		"volume", req.GetVolumeId(), "pod", podOf(req), "error", cause)
	return &csi.NodePublishVolumeResponse{}, nil
}

// publishFailed returns the status of a publish that failed, and logs it.
func (s *Server) publishFailed(about observe.LogFields, received time.Time, err error) error {
	s.log.Error("publish failed", append(about.Failed(err).KeysAndValues(time.Since(received)), "error", err)...)
	return toStatus(err)
}

// NodeUnpublishVolume destroys a volume. It succeeds for one that is not there
// (CSI spec: "This operation MUST be idempotent").
func (s *Server) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	received, about := time.Now(), observe.LogFields{VolumeID: observe.Truncate(req.GetVolumeId())}
	err := s.checkUnpublish(req)
	if err == nil {
		about = s.volumes.Snapshot(req.GetVolumeId()).LogFields()
		err = s.volumes.Unpublish(ctx, req.GetVolumeId(), req.GetTargetPath())
	}
	if err != nil {
		s.log.Error("unpublish failed", append(about.KeysAndValues(time.Since(received)), "error", err)...)
		return nil, toStatus(err)
	}
	s.log.Log(ctx, about.UnpublishLevel(), "unpublished", about.KeysAndValues(time.Since(received))...)
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// checkUnpublish refuses a request for what cannot be a volume of the driver's. One that
// is known to be at the target can be unpublished wherever that is: the kubelet's folder
// may have been another when it was published.
func (s *Server) checkUnpublish(req *csi.NodeUnpublishVolumeRequest) error {
	id, target, kubeletRoot := req.GetVolumeId(), req.GetTargetPath(), s.config.Current().Driver.KubeletRootDir
	if err := volume.CheckID(id); err != nil {
		return refuse("volume_id: %v", err)
	}
	if err := s.volumes.Occupied(id, target); err != nil {
		return err
	}
	if s.volumes.IsAt(id, target) {
		return nil
	}
	if _, err := mounts.CheckTarget(kubeletRoot, target); err != nil {
		return err
	}
	err := mounts.CheckPlace(kubeletRoot, target)
	if errors.Is(err, mounts.ErrNoKubelet) || errors.Is(err, mounts.ErrTargetInUse) {
		return nil // Where there is no folder, nothing is mounted.
	}
	return err
}

// NodeGetCapabilities says that the driver handles a pod's fsGroup itself.
func (s *Server) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{
		Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{
			Type: csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
		}},
	}}}, nil
}

// NodeGetInfo gives the name of the node.
func (s *Server) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: s.node}, nil
}
