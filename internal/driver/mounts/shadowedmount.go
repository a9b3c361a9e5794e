// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts

import (
	"log/slog"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// ShadowedNote says what shadows a volume, and what to do.
func ShadowedNote(by string) string {
	return "containers that were started before see what was mounted there first (" + by + "), which nobody renews: delete the pod, so that another takes its place"
}

// Mount makes a volume appear in its pod, at target. If something else is mounted there
// it mounts the volume over that, and says what it is: containers that run go on seeing
// it. A mount whose file system is dead shadows a volume from nobody, and is taken away.
func Mount(store *volume.Store, log *slog.Logger, id, target string) (shadowedBy string, err error) {
	if err := volume.DropDead(target); err != nil {
		log.Warn("a mount at the target whose file system is dead cannot be taken away", "volume", id, "error", err)
	}
	foreign, err := store.ForeignMounts(map[string]string{id: target})
	if err != nil {
		log.Warn("cannot tell whether there is another mount at the target", "volume", id, "error", err)
	}
	return foreign[id], store.Mount(id, target)
}

// DetectShadowed returns, by volume ID, what shadows volumes that are mounted. It is for
// volumes of an earlier process: what their pods see is not written anywhere else than in
// the mount table. targets are by volume ID.
func DetectShadowed(store *volume.Store, log *slog.Logger, targets map[string]string) map[string]string {
	shadowed, err := store.ForeignMounts(targets)
	if err != nil {
		log.Warn("cannot tell whether there are other mounts beneath volumes", "error", err)
	}
	return shadowed
}

// IsInPod reports whether a pod may run with what is at a target, so that it has to stay.
// No pod has anything of a file system that is dead, except one whose volume was published
// at this target and is beneath. published is where the volume was published, or "".
func IsInPod(at volume.TargetState, target, published string) bool {
	return at.Mounted && (!at.Dead || published == target)
}
