// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cluster"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
)

// Options say what a node is made of.
type Options struct {
	// Images are files that `ctr images import` reads. Pods name them with the
	// imagePullPolicy Never or IfNotPresent.
	Images []string
	// PauseImage is the image of the container that every pod has beside its own.
	// It is one of the imported.
	PauseImage string
	// Programs is where containerd, runc and the CNI plugins are.
	Programs Programs
}

// A Node is an addition to a cluster; see [cluster.Options].
type Node struct {
	options Options
	cgroup  string
	state   string
}

// New makes the node of the namespaces that [Enter] has made.
func New(options Options) (*Node, error) {
	cgroup := os.Getenv(cgroupVariable)
	if cgroup == "" {
		return nil, errors.New("not in the namespaces of a node")
	}
	if options.PauseImage == "" {
		return nil, errors.New("--pause-image is needed: the name of one of the imported images")
	}
	return &Node{options: options, cgroup: cgroup}, nil
}

var _ cluster.Addition = (*Node)(nil)

// APIServerAddress is that of the Service "kubernetes", the first of the
// range, on the interface that [Enter] has prepared.
func (n *Node) APIServerAddress() *net.TCPAddr { return &net.TCPAddr{IP: serviceIP(), Port: 443} }

// APIServerFlags are what kube-apiserver needs for kubelets.
func APIServerFlags() []string {
	return []string{
		// Beside RBAC, which any devcluster has.
		"--authorization-mode=Node",
		"--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate=" + kubeletClientCert,
		"--kubelet-client-key=" + kubeletClientKey,
		"--kubelet-certificate-authority=" + statedir.CACert,
		"--kubelet-preferred-address-types=InternalIP",
	}
}

// Prepare writes keys and configuration.
func (n *Node) Prepare(dir *statedir.Dir, ca *pki.CA, server string) error {
	n.state = dir.Path(".")
	for _, hidden := range []string{"/run/", "/var/lib/", "/var/log/", "/proc/"} {
		if len(n.state) > len(hidden) && n.state[:len(hidden)] == hidden {
			return fmt.Errorf("the state folder %s is in %s, of which the node has one of its own: choose another --dir", n.state, hidden)
		}
	}
	for _, folder := range []string{libFolder, logFolder, cniFolder, StaticPods} {
		if err := os.MkdirAll(dir.Path(folder), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(n.writeCredentials(dir, ca, server), n.writeConfigs(dir), n.writeSettings(dir))
}

// Parts are the node's. The kubelet is started by the node's init.
func (n *Node) Parts() []cluster.AdditionalPart {
	return []cluster.AdditionalPart{
		{Name: ControllerManager},
		{Name: Scheduler},
		{Name: Machine, StopSignal: syscall.SIGTERM},
	}
}

// Environment is what a command learns of the node.
func (n *Node) Environment() []string { return []string{StateVariable + "=" + n.state} }

// WaitReady waits until pods can be run.
func (n *Node) WaitReady(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	reason := "it has not registered itself"
	for {
		if node, err := client.CoreV1().Nodes().Get(ctx, Name, meta.GetOptions{}); err == nil {
			if reason = notReady(node); reason == "" {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the node: %s: %w", reason, context.Cause(ctx))
		}
	}
}

// notReady says why pods cannot be run, or "".
func notReady(node *core.Node) string {
	if len(node.Spec.Taints) > 0 {
		return "taint " + node.Spec.Taints[0].Key
	}
	for _, c := range node.Status.Conditions {
		if c.Type == core.NodeReady {
			if c.Status == core.ConditionTrue {
				return ""
			}
			return c.Message
		}
	}
	return "it has not said that it is ready"
}

// Settings are what the node's own processes need to know.
type Settings struct {
	Options
	// State is the state folder.
	State string
	// Cgroup is the cgroup below which those of pods are.
	Cgroup string
	// Executable is this program.
	Executable string
}

// Lib and Log are the folders of the machine that are the node's /var/lib and
// /var/log.
func (s Settings) Lib() string { return filepath.Join(s.State, libFolder) }

// Log is explained at [Settings.Lib].
func (s Settings) Log() string { return filepath.Join(s.State, logFolder) }

func (n *Node) writeSettings(dir *statedir.Dir) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	options := n.options
	for i, image := range options.Images {
		if options.Images[i], err = filepath.Abs(image); err != nil {
			return err
		}
		if _, err := os.Stat(image); err != nil {
			return fmt.Errorf("--image: %w", err)
		}
	}
	data, err := json.Marshal(Settings{Options: options, State: n.state, Cgroup: n.cgroup, Executable: executable})
	if err != nil {
		return err
	}
	return os.WriteFile(dir.Path(settingsFile), data, 0o600)
}

// ReadSettings reads them in a part, whose working directory is the state
// folder.
func ReadSettings() (Settings, error) {
	var s Settings
	data, err := os.ReadFile(settingsFile)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}
