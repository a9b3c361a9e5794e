// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// load takes over the volumes that an earlier process left in the store. One
// that cannot be understood is left alone and told of: the next call of the
// kubelet for it heals it, or destroys it.
func (d *Driver) load(c *config.Config) error {
	ids, err := d.store.List()
	if err != nil {
		return err
	}
	taken := 0
	for _, id := range ids {
		live, err := d.readVolume(id)
		if err != nil {
			d.log.Warn("a volume of an earlier process cannot be taken over; it heals when the kubelet publishes it again",
				"volume", id, "error", err)
			continue
		}
		state := d.volumes.acquire(id)
		state.setMetadata(live)
		d.schedule.Schedule(id, c.RenewalTime(live.NotBefore, live.NotAfter, id))
		d.volumes.release(state)
		taken++
	}
	if len(ids) > 0 {
		d.log.Info("took over the volumes of an earlier process", "volumes", taken, "damaged", len(ids)-taken)
	}
	return nil
}

// readVolume returns what a volume holds, by its files: its metadata may be
// older than they are, if the process was killed between writing the two.
func (d *Driver) readVolume(id string) (*volume.Metadata, error) {
	live, err := d.store.ReadMetadata(id)
	if err != nil {
		return nil, err
	}
	certificates, err := d.store.ReadFile(id, live.Files.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := d.store.ReadFile(id, live.Files.PrivateKey)
	if err != nil {
		return nil, err
	}
	svid, err := x509svid.Parse(certificates, key)
	if err != nil {
		return nil, fmt.Errorf("files of volume %s: %w", id, err)
	}
	live.SPIFFEID = svid.ID.String()
	live.NotBefore, live.NotAfter = svid.Certificates[0].NotBefore, svid.Certificates[0].NotAfter
	return &live, nil
}
