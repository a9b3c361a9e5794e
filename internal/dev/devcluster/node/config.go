// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/kubeconfig"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
)

// Socket is where containerd listens on the node.
const Socket = "/run/containerd/containerd.sock"

// writeCredentials writes who the parts are to the API server, and the other way
// round.
func (n *Node) writeCredentials(dir *statedir.Dir, ca *pki.CA, server string) error {
	client := func(file, user string, groups ...string) error {
		pair, err := ca.Client(user, groups...)
		if err != nil {
			return err
		}
		return kubeconfig.Write(dir.Path(file), server, ca.CertPEM(), pair)
	}
	serving, err := ca.Server("system:node:"+Name, []string{Name}, []net.IP{nodeIP()})
	if err != nil {
		return err
	}
	caller, err := ca.Client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	return errors.Join(
		client(controllerManagerConfig, "system:kube-controller-manager"),
		client(schedulerConfig, "system:kube-scheduler"),
		client(kubeletKubeconfig, "system:node:"+Name, "system:nodes"),
		serving.WriteFiles(dir.Path(kubeletCert), dir.Path(kubeletKey)),
		caller.WriteFiles(dir.Path(kubeletClientCert), dir.Path(kubeletClientKey)),
	)
}

func (n *Node) writeConfigs(dir *statedir.Dir) error {
	write := func(file, format string, args ...any) error {
		return os.WriteFile(dir.Path(file), fmt.Appendf(nil, format, args...), 0o600)
	}
	return errors.Join(
		write(kubeletConfig, kubeletFormat, Socket, n.cgroup, n.state),
		write(containerdConfig, containerdFormat, Socket, n.options.PauseImage, n.options.Programs.CNI, dir.Path(cniFolder)),
		write(filepath.Join(cniFolder, "10-bridge.conflist"), bridgeNetwork),
	)
}

// The kubelet looks at everything again every few seconds, where it would take a
// minute by default: tests wait for that. Its folder for volume plugins would be
// in /usr.
const kubeletFormat = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%[1]s
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
failCgroupV1: false
failSwapOn: false
authentication:
  x509: {clientCAFile: %[3]s/pki/ca.crt}
  anonymous: {enabled: false}
  webhook: {enabled: true}
authorization: {mode: Webhook}
tlsCertFile: %[3]s/pki/kubelet.crt
tlsPrivateKeyFile: %[3]s/pki/kubelet.key
resolvConf: ""
staticPodPath: %[3]s/node/static-pods
volumePluginDir: /var/lib/kubelet/volume-plugins
maxPods: 220
syncFrequency: 5s
nodeStatusUpdateFrequency: 5s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
`

// What containerd would make in /opt is on the machine's own disk. Root may lack
// the capability to lower oom_score_adj, which runc does otherwise.
const containerdFormat = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "%[1]s"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[3]s"
    conf_dir = "%[4]s"
`

// Pods have a bridge, whose address is their way to the API server.
const bridgeNetwork = `{"cniVersion": "1.0.0", "name": "devnode", "plugins": [
  {"type": "bridge", "bridge": "devnode0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "10.88.0.0/22"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "loopback"}
]}
`
