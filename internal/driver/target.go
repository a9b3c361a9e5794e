// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// checkUnpublish refuses a request for what cannot be a volume of the driver's.
// A volume that is live can be unpublished wherever it is: the kubelet's folder
// may have been another when it was published.
func (d *Driver) checkUnpublish(req *csi.NodeUnpublishVolumeRequest) error {
	if err := volume.CheckID(req.GetVolumeId()); err != nil {
		return refuse("volume_id: %v", err)
	}
	target, kubeletRoot := req.GetTargetPath(), d.config.Current().Driver.KubeletRootDir
	if err := d.targets.Check(target, req.GetVolumeId()); err != nil {
		return err
	}
	if d.targets.Volume(target) != "" { // it is known to be there
		return nil
	}
	state := d.volumes.acquire(req.GetVolumeId())
	defer d.volumes.release(state)
	if live := state.metadata(); live != nil && live.TargetPath == target {
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
