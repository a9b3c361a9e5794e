// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package statedir

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// The janitor removes the folder when this process ends without having done so,
// which after SIGKILL nobody else could. It waits for the end of its standard
// input, a pipe whose other end only this process holds, and tries again for as
// long as a dying part still writes. A shell does it in 1 MB of memory, where
// this binary would need 50.
const janitorScript = `
trap '' HUP INT TERM
read -r _
until rm -rf -- "$1"; do sleep 0.1; done
`

func (d *Dir) startJanitor() error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	d.janitor = exec.Command("/bin/sh", "-c", janitorScript, "devcluster-janitor", d.path)
	d.janitor.Stdin = theirs
	// A session of its own: a terminal's signals are not for it.
	d.janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.janitor.Start(); err != nil {
		ours.Close()
		return fmt.Errorf("starting the shell that cleans up after a crash: %w", err)
	}
	d.alive = ours
	return nil
}
