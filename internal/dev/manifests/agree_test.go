// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// installation is what a tool has made of a setting.
type installation struct {
	t       *testing.T
	objects map[string]*unstructured.Unstructured
	config  *config.Config
	// text is the configuration file.
	text string
}

// eachInstallation runs a test on every setting as every tool renders it.
func eachInstallation(t *testing.T, test func(installation)) {
	for _, setting := range settingNames(t) {
		for tool := range tools {
			t.Run(setting+"/"+tool, func(t *testing.T) {
				t.Parallel()
				i := installation{t: t, objects: render(t, tool, setting)}
				i.text, _, _ = unstructured.NestedString(i.find("ConfigMap", "csi-driver-spiffe").Object, "data", "config.yaml")
				var err error
				i.config, err = config.Parse("config.yaml", []byte(i.text))
				check(t, err)
				test(i)
			})
		}
	}
}

// find returns the one object of a kind and name, in whatever namespace.
func (i installation) find(kind, name string) *unstructured.Unstructured {
	i.t.Helper()
	for key, object := range i.objects {
		if strings.HasPrefix(key, kind+" ") && object.GetName() == name {
			return object
		}
	}
	i.t.Fatalf("there is no %s %s", kind, name)
	return nil
}

// get is find in the types of Kubernetes, of which each field must be one.
func (i installation) get(kind, name string, into any) {
	i.t.Helper()
	check(i.t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(i.find(kind, name).Object, into, true))
}

// clusterName is the name of a cluster-wide object of this installation.
func (i installation) clusterName(name string) string {
	i.t.Helper()
	return name + "." + i.find("ServiceAccount", "csi-driver-spiffe").GetNamespace()
}

func (i installation) driver() (daemonSet appsv1.DaemonSet, container corev1.Container) {
	i.get("DaemonSet", "csi-driver-spiffe", &daemonSet)
	return daemonSet, daemonSet.Spec.Template.Spec.Containers[0]
}

func (i installation) approver() (deployment appsv1.Deployment, container corev1.Container) {
	i.get("Deployment", "csi-driver-spiffe-approver", &deployment)
	return deployment, deployment.Spec.Template.Spec.Containers[0]
}

// --validate-config takes the file in the ConfigMap.
func TestTheConfigurationFileIsGood(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		path := filepath.Join(i.t.TempDir(), "config.yaml")
		check(i.t, os.WriteFile(path, []byte(i.text), 0o600))
		if err := config.CheckFile(path, false, io.Discard, i.t.Output()); err != nil {
			i.t.Errorf("%v in\n%s", err, i.text)
		}
	})
}

// The approver may approve for the issuer of the file, and for no other.
func TestTheApproverMayApproveForTheConfiguredSignerAlone(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		issuer := i.config.IssuerRef
		want := strings.ToLower(issuer.Kind) + "s." + issuer.Group + "/" + issuer.Name
		if issuer.Kind == "Issuer" { // there is one in each namespace
			want = "issuers.cert-manager.io/*"
		}
		var role rbacv1.ClusterRole
		i.get("ClusterRole", i.clusterName("csi-driver-spiffe-approver"), &role)
		for _, rule := range role.Rules {
			if slices.Contains(rule.Resources, "signers") && !slices.Equal(rule.ResourceNames, []string{want}) {
				i.t.Errorf("it may approve for %q, want %s", rule.ResourceNames, want)
			}
		}
		var lease rbacv1.Role
		i.get("Role", "csi-driver-spiffe-approver", &lease)
		if got := lease.Rules[1].ResourceNames; !slices.Equal(got, []string{i.config.Approver.LeaderElection.LeaseName}) {
			i.t.Errorf("it may update the Lease %q, want %s", got, i.config.Approver.LeaderElection.LeaseName)
		}
	})
}

// What the file and the objects both say, they say alike.
func TestTheObjectsAgreeWithTheConfigurationFile(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		i.find("CSIDriver", i.config.Driver.Name)
		daemonSet, driver := i.driver()
		kubelet := i.config.Driver.KubeletRootDir
		plugin := kubelet + "/plugins/" + i.config.Driver.Name
		for _, want := range []string{"--kubelet-registration-path=" + plugin + "/csi.sock", "--csidriver-object=" + i.config.Driver.Name} {
			if !slices.Contains(driver.Args, want) {
				i.t.Errorf("the driver's arguments are %q, want %s among them", driver.Args, want)
			}
		}
		for path, folder := range map[string]string{
			"/csi": plugin, "/registration": kubelet + "/plugins_registry",
			kubelet + "/pods": kubelet + "/pods", i.config.Volume.TmpfsPath: i.config.Volume.TmpfsPath,
		} {
			mount, source := mounted(daemonSet.Spec.Template.Spec, path)
			if source == nil || source.HostPath == nil || source.HostPath.Path != folder {
				i.t.Errorf("%s is not the node's %s", path, folder)
				continue
			}
			if same := path == folder; same != (mount.MountPropagation != nil && *mount.MountPropagation == corev1.MountPropagationBidirectional) {
				i.t.Errorf("%s: mountPropagation is wrong", path)
			}
		}
		if bundle := i.config.TrustBundle.Path; bundle != "" {
			if _, source := mounted(daemonSet.Spec.Template.Spec, filepath.Dir(bundle)); source == nil || source.Secret == nil {
				i.t.Errorf("no Secret is mounted for %s", bundle)
			}
		}
		_, approver := i.approver()
		for container, address := range map[*corev1.Container]string{&driver: i.config.Driver.HTTPAddress, &approver: i.config.Approver.HTTPAddress} {
			if port := container.Ports[0]; !strings.HasSuffix(address, ":"+strconv.Itoa(int(port.ContainerPort))) || port.Name != "http" {
				i.t.Errorf("%s: port %d, want that of %s", container.Name, port.ContainerPort, address)
			}
		}
	})
}

// reserve is what the driver needs beside its tmpfs: 50 MiB were measured with
// 381 volumes.
const reserve = 64 << 20

// What is in the tmpfs counts against the container's limit. A tmpfs that is full
// is an error that passes; a container out of memory is killed again and again.
func TestTheTmpfsIsFullBeforeTheContainerIsOutOfMemory(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		_, driver := i.driver()
		limit, size := driver.Resources.Limits.Memory().Value(), i.config.Volume.TmpfsSize
		if size == 0 || size+reserve > limit {
			i.t.Errorf("volume.tmpfsSize is %d bytes, and the container's limit %d", size, limit)
		}
	})
}

// A trust bundle is switched on by the configuration alone: what it is read from
// is mounted before, and keeps no driver from starting where it is not there.
func TestTheTrustBundleIsMountedIfThereIsOne(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		daemonSet, _ := i.driver()
		mount, source := mounted(daemonSet.Spec.Template.Spec, "/trust-bundle")
		if source == nil || source.Secret == nil || source.Secret.Optional == nil || !*source.Secret.Optional || !mount.ReadOnly {
			i.t.Fatalf("no Secret that may be missing is mounted: %+v", source)
		}
		if items := source.Secret.Items; len(items) != 1 || items[0].Key != "ca.crt" {
			i.t.Errorf("it shows %+v of the Secret, want ca.crt alone", items)
		}
	})
}

// mounted returns what is mounted at a path of the first container.
func mounted(pod corev1.PodSpec, path string) (corev1.VolumeMount, *corev1.Volume) {
	for _, mount := range pod.Containers[0].VolumeMounts {
		for _, volume := range pod.Volumes {
			if mount.MountPath == path && volume.Name == mount.Name && mount.SubPath == "" {
				return mount, &volume
			}
		}
	}
	return corev1.VolumeMount{}, nil
}
