// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A new document mends files, and nothing of what is mounted in a volume's place:
// that stays known, and told of, until the kubelet has the volume mounted.
func TestNewDocumentHealsWhatIsMounted(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	const id = "csi-1"
	dir := t.TempDir()
	d.store = volume.New(filepath.Join(dir, "store"), volume.WithoutMounts())
	t.Cleanup(func() { check(t, os.RemoveAll(d.store.Root())) })
	mounted, elsewhere := filepath.Join(dir, "mounted"), filepath.Join(dir, "elsewhere")
	check(t, os.MkdirAll(d.store.DataPath(id), 0o700))
	check(t, d.store.Mount(id, mounted))
	for name, test := range map[string]struct {
		target     string
		stillKnown bool
	}{
		"files":                             {mounted, false},
		"something is mounted in its place": {elsewhere, true},
	} {
		state := d.volumes.acquire(id)
		state.damage = &observe.Damage{Target: test.target, Err: errors.New("damaged")}
		now := time.Now()
		d.setLive(state, &volume.Metadata{TargetPath: mounted, NotBefore: now, NotAfter: now.Add(time.Hour)})
		d.noteHealed(state)
		if known := state.damage != nil; known != test.stillKnown {
			t.Errorf("%s: known as damaged: %t, want %t", name, known, test.stillKnown)
		}
		d.volumes.release(state)
	}
}
