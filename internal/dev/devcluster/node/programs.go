// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs is where the programs are that do not come from Go modules.
type Programs struct {
	// Path is a list of folders like that of the environment variable PATH.
	Path string
	// CNI is the folder of the CNI plugins.
	CNI string
}

// FindPrograms looks for containerd, its shim, ctr, runc and the CNI plugins
// below a folder into which their packages were unpacked, and on the machine. The
// error names everything that is in neither place.
func FindPrograms(unpacked string) (Programs, error) {
	path := os.Getenv("PATH") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	cni := []string{"/usr/lib/cni", "/opt/cni/bin"}
	if unpacked != "" {
		absolute, err := filepath.Abs(unpacked)
		if err != nil {
			return Programs{}, err
		}
		path = absolute + "/usr/bin:" + absolute + "/usr/sbin:" + path
		cni = append([]string{absolute + "/usr/lib/cni"}, cni...)
	}
	found := Programs{Path: path}
	var missing []string
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		if lookPath(name, path) == "" {
			missing = append(missing, name)
		}
	}
	for _, folder := range cni {
		if hasPlugins(folder) {
			found.CNI = folder
			break
		}
	}
	if found.CNI == "" {
		missing = append(missing, "the CNI plugins bridge, host-local and loopback")
	}
	if len(missing) > 0 {
		return Programs{}, fmt.Errorf("a node needs %s: install containerd, runc and the CNI plugins (Debian: containerd runc containernetworking-plugins)",
			strings.Join(missing, ", "))
	}
	return found, nil
}

func hasPlugins(folder string) bool {
	for _, name := range []string{"bridge", "host-local", "loopback"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return false
		}
	}
	return true
}

// lookPath finds a program in the folders of a path, or gives "".
func lookPath(name, path string) string {
	for folder := range strings.SplitSeq(path, ":") {
		if found, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return found
		}
	}
	return ""
}

// Find gives the path of one of the programs; of one that is not there its name.
func (p Programs) Find(name string) string {
	if found := lookPath(name, p.Path); found != "" {
		return found
	}
	return name
}
