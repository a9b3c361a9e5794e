// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// listVolumes asks the running driver what the node has, as an administrator
// does with kubectl exec.
func (d *demo) listVolumes(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "bin/csi-driver-spiffe", "volumes", "--csi-socket", d.path("csi.sock")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("csi-driver-spiffe volumes: %w\n%s", err, output)
	}
	say("csi-driver-spiffe volumes, which asks the running driver, says:")
	for line := range strings.Lines(string(output)) {
		say("    %s", strings.TrimRight(line, "\n"))
	}
	for _, pod := range d.pods() {
		if want := pod.Namespace + "/" + pod.Name; !strings.Contains(string(output), want) {
			return fmt.Errorf("%s is not in the list", want)
		}
	}
	return nil
}
