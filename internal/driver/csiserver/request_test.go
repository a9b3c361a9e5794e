// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
)

// The volume attributes that are meant for this driver.
const (
	attributePrefix  = "spiffe.csi.cert-manager.io/"
	attributeFSGroup = attributePrefix + "fs-group"
)

func TestGoodRequest(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *csi.NodePublishVolumeRequest){
		"as the kubelet sends it": func(*csi.NodePublishVolumeRequest) {},
		"foreign attributes": func(r *csi.NodePublishVolumeRequest) {
			maps.Copy(r.VolumeContext, map[string]string{"example.com/x": "y", "csi.cert-manager.io/issuer-name": "x", "": "", "a b": "\x00"})
		},
		"no information on the pod but in the token": func(r *csi.NodePublishVolumeRequest) {
			for _, key := range []string{csitest.KeyPodName, csitest.KeyPodNamespace, csitest.KeyPodUID, csitest.KeyServiceAccount} {
				delete(r.VolumeContext, key)
			}
		},
		"another access mode": func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
		},
		"a target path with spaces": func(r *csi.NodePublishVolumeRequest) {
			r.TargetPath = strings.ReplaceAll(r.TargetPath, "/spiffe/", "/a b/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			req, began := s.publishRequest(), time.Now()
			change(req)
			got := mustBePublished(t, s, req)
			if got.VolumeID != csitest.VolumeID || got.TargetPath != req.TargetPath || got.FSGroup != nil || got.Received.Before(began) || time.Now().Before(got.Received) {
				t.Errorf("got %+v", got)
			}
			if got.Token.Secret.Reveal() != csitest.Token() || got.Token.ServiceAccount.String() != "sandbox/example-app" ||
				got.Token.PodName != "web-0" || got.Token.PodUID != csitest.PodUID || got.Token.Expiry.Unix() != csitest.TokenExpiry {
				t.Errorf("token of %+v", got.Token.PodToken)
			}
		})
	}
}

// Each row is a good request with one thing changed.
func TestRequestIsRefused(t *testing.T) {
	t.Parallel()
	type request = csi.NodePublishVolumeRequest
	for _, row := range []struct {
		name     string
		change   func(r *request)
		fragment string
	}{
		{"not read-only", func(r *request) { r.Readonly = false }, "pod.spec.volumes[].csi.readOnly must be true"},
		{"a block device", func(r *request) {
			r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}, "pod.spec.containers[].volumeDevices"},
		{"no capability", func(r *request) { r.VolumeCapability = nil }, "does not say that the volume is to be mounted"},
		{"a PersistentVolume", func(r *request) { r.VolumeContext[csitest.KeyEphemeral] = "false" }, "use pod.spec.volumes[].csi, not a PersistentVolume"},
		{"ephemeral in capitals", func(r *request) { r.VolumeContext[csitest.KeyEphemeral] = "True" }, "podInfoOnMount: true"},
		{"no word of ephemeral", func(r *request) { delete(r.VolumeContext, csitest.KeyEphemeral) }, "podInfoOnMount: true"},
		{"no context at all", func(r *request) { r.VolumeContext = nil }, "podInfoOnMount: true"},
		{"no volume ID", func(r *request) { r.VolumeId = "" }, "volume_id: invalid volume ID"},
		{"a volume ID that leads elsewhere", func(r *request) { r.VolumeId = "../x" }, "volume_id: invalid volume ID"},
		{"a volume ID with a newline", func(r *request) { r.VolumeId = "a\n" }, `"a\n"`},
		{"a volume ID too long", func(r *request) { r.VolumeId = strings.Repeat("a", 129) }, "at most 128"},
		{"no target path", func(r *request) { r.TargetPath = "" }, "target_path"},
		{"a relative target path", func(r *request) { r.TargetPath = "mount" }, "target_path"},
		{"a target path that leads elsewhere", func(r *request) { r.TargetPath = "/pods/../etc" }, "target_path"},
		{"a target path that is not clean", func(r *request) { r.TargetPath = "/pods//x/" }, "target_path"},
		{"the root as target path", func(r *request) { r.TargetPath = "/" }, "target_path"},
		{"a target path with a NUL", func(r *request) { r.TargetPath = csitest.Target + "\x00" }, `is not a clean absolute path`},
		{"a target path with a newline", func(r *request) { r.TargetPath = csitest.Target + "\n" }, `mount\n" is not a clean absolute path`},
		{"a target path of a megabyte", func(r *request) { r.TargetPath = csitest.Target + strings.Repeat("/a", 1<<19) }, "is 1048673 bytes long, at most 4095"},
		{"a target path elsewhere", func(r *request) { r.TargetPath = "/etc" }, `"/etc" is not in /var/lib/kubelet/pods`},
		{"a target path of the kubelet's, but not of a pod", func(r *request) { r.TargetPath = "/var/lib/kubelet/plugins_registry" }, "is not in /var/lib/kubelet/pods"},
		{"the folder for pods itself", func(r *request) { r.TargetPath = "/var/lib/kubelet/pods" }, "is not in /var/lib/kubelet/pods"},
		{"a folder whose name begins alike", func(r *request) { r.TargetPath = "/var/lib/kubelet/pods2/x" }, "is not in /var/lib/kubelet/pods"},
		{"the folder of a pod", func(r *request) { r.TargetPath = "/var/lib/kubelet/pods/" + csitest.PodUID }, "is not that of a pod's CSI volume, which is /var/lib/kubelet/pods/POD_UID/volumes/kubernetes.io~csi/NAME/mount"},
		{"the folder of a pod's CSI volume", func(r *request) { r.TargetPath = strings.TrimSuffix(csitest.Target, "/mount") }, "is not that of a pod's CSI volume"},
		{"a folder in a volume", func(r *request) { r.TargetPath = csitest.Target + "/x" }, "is not that of a pod's CSI volume"},
		{"a Secret of the pod", func(r *request) { r.TargetPath = strings.ReplaceAll(csitest.Target, "~csi", "~secret") }, "is not that of a pod's CSI volume"},
		{"another folder of the pod", func(r *request) { r.TargetPath = strings.ReplaceAll(csitest.Target, "/volumes/", "/plugins/") }, "is not that of a pod's CSI volume"},
		{"a pod in a pod", func(r *request) {
			r.TargetPath = "/var/lib/kubelet/pods/x" + strings.TrimPrefix(csitest.Target, "/var/lib/kubelet")
		}, "is not that of a pod's CSI volume"},
		{"a volume of another pod", func(r *request) { r.TargetPath = strings.ReplaceAll(csitest.Target, csitest.PodUID, "other") }, "is of another pod than the ServiceAccount token, which is of the pod with UID \"" + csitest.PodUID},
		{"a volume ID of a megabyte", func(r *request) { r.VolumeId = strings.Repeat("a", 1<<20) }, "1048576 bytes long"},
		{"a volume ID with a NUL", func(r *request) { r.VolumeId = "csi-\x00" }, `"csi-\x00"`},
		{"a group of a megabyte", func(r *request) { r.VolumeContext[attributeFSGroup] = strings.Repeat("1", 1<<20) }, "(1048576 bytes) is not a group ID"},
		{"a group that leads elsewhere", func(r *request) { r.VolumeContext[attributeFSGroup] = "../0" }, `"../0" is not a group ID`},
		{"a group with a newline", func(r *request) { r.VolumeContext[attributeFSGroup] = "1\n" }, `"1\n" is not a group ID`},
		{"an attribute of a megabyte", func(r *request) { r.VolumeContext[attributePrefix+strings.Repeat("x", 1<<20)] = "1" }, "(1048603 bytes)] is not known"},
		{"a misspelt attribute", func(r *request) { r.VolumeContext["spiffe.csi.cert-manager.io/fsgroup"] = "1" }, `known is "spiffe.csi.cert-manager.io/fs-group"`},
		{"an unknown attribute", func(r *request) { r.VolumeContext["spiffe.csi.cert-manager.io/\n"] = "1" }, `spiffe.csi.cert-manager.io/\n`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			req := csitest.PublishRequest()
			row.change(req)
			mustBeRefused(t, serveDefault(t), req, mounts.ErrRefused, codes.InvalidArgument, row.fragment)
		})
	}
}

// mustBeRefused publishes by a request that cannot be used, and asserts why, and what the
// kubelet is told.
func mustBeRefused(t *testing.T, s *served, req *csi.NodePublishVolumeRequest, want error, code codes.Code, fragment string) error {
	t.Helper()
	_, err := s.NodePublishVolume(t.Context(), req)
	if !errors.Is(s.volumes.cause, want) || len(s.volumes.published) != 0 {
		t.Fatalf("refused because of %v, published %+v, want %v", s.volumes.cause, s.volumes.published, want)
	}
	if status.Code(err) != code || !strings.Contains(err.Error(), fragment) {
		t.Errorf("the kubelet gets %v, want code %s and %q", err, code, fragment)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("the message repeats what is too long: %d bytes", len(err.Error()))
	}
	if strings.ContainsAny(err.Error(), "\n\x00") {
		t.Errorf("the message cannot be logged as it is: %q", err)
	}
	return err
}

// mustBePublished publishes by a good request, and returns what is handed on.
func mustBePublished(t *testing.T, s *served, req *csi.NodePublishVolumeRequest) manager.PublishRequest {
	t.Helper()
	_, err := s.NodePublishVolume(t.Context(), req)
	check(t, err)
	if len(s.volumes.published) != 1 {
		t.Fatalf("published %+v, want one volume", s.volumes.published)
	}
	return s.volumes.published[0]
}

func TestFSGroup(t *testing.T) {
	t.Parallel()
	const unset = "unset"
	const fromAttribute, fromPod = `volumeAttributes["spiffe.csi.cert-manager.io/fs-group"]`, "pod.spec.securityContext.fsGroup"
	for _, row := range []struct {
		name, attribute, pod, config string
		want                         int64  // -1 for none
		refused                      string // what the message names
	}{
		{"none", unset, "", "null", -1, ""},
		{"the configured one", unset, "", "3000", 3000, ""},
		{"the pod's", unset, "2000", "null", 2000, ""},
		{"the pod's rather than the configured", unset, "2000", "3000", 2000, ""},
		{"the volume's rather than both", "1000", "2000", "3000", 1000, ""},
		{"the volume's alone", "1000", "", "null", 1000, ""},
		{"the lowest", "1", "", "null", 1, ""},
		{"the highest", "4294967294", "", "null", 4294967294, ""},
		{"root's", "0", "", "null", 0, ""},
		{"the pod's is root's", unset, "0", "null", 0, ""},
		{"the pod's is root's rather than the configured", unset, "0", "3000", 0, ""},
		{"root's rather than the pod's", "0", "2000", "3000", 0, ""},
		{"the configured one is root's", unset, "", "0", 0, ""},
		{"the highest that Kubernetes allows for a pod", unset, "2147483647", "null", 2147483647, ""},
		{"leading zeros", "007", "", "null", 7, ""},
		{"a plus sign", "+5", "", "null", 5, ""},
		{"negative", "-1", "2000", "null", 0, fromAttribute},
		{"what chown takes for no change", "4294967295", "", "null", 0, fromAttribute},
		{"more than 32 bits", "4294968296", "", "null", 0, fromAttribute},
		{"more than 64 bits", strings.Repeat("9", 30), "", "null", 0, fromAttribute},
		{"a name", "abc", "", "3000", 0, fromAttribute},
		{"empty is the same as none", "", "2000", "3000", 2000, ""},
		{"with a space", " 1000", "", "null", 0, fromAttribute},
		{"hexadecimal", "0x10", "", "null", 0, fromAttribute},
		{"a fraction", "1000.0", "", "null", 0, fromAttribute},
		{"the pod's is no number", unset, "staff", "3000", 0, fromPod},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "volume: {defaultFSGroup: "+row.config+"}")
			req := s.publishRequest()
			if row.attribute != unset {
				req.VolumeContext[attributeFSGroup] = row.attribute
			}
			req.VolumeCapability.GetMount().VolumeMountGroup = row.pod
			if row.refused != "" {
				mustBeRefused(t, s, req, mounts.ErrRefused, codes.InvalidArgument, row.refused)
				return
			}
			got := mustBePublished(t, s, req)
			if (got.FSGroup == nil) != (row.want == -1) || got.FSGroup != nil && *got.FSGroup != row.want {
				t.Errorf("got %v, want %d", got.FSGroup, row.want)
			}
		})
	}
}
