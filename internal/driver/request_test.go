// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
)

const (
	testVolume = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	testTarget = "/var/lib/kubelet/pods/" + testPodUID + "/volumes/kubernetes.io~csi/spiffe/mount"
	testPodUID = "c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42"
	// testExpiry is in 2100.
	testExpiry = 4102444800
)

// testConfig returns a good configuration with some lines of YAML added.
func testConfig(t testing.TB, lines ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(strings.Join(append([]string{
		"apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1",
		"kind: SPIFFEConfiguration",
		"trustDomain: my.trust.domain",
		"issuerRef: {name: ca}",
	}, lines...), "\n")+"\n"))
	check(t, err)
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeToken returns a token as the API server makes it, but for the signature.
func fakeToken(namespace, serviceAccount, pod, uid string) string {
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"aud":["https://kubernetes.default.svc"],"exp":%d,"iat":1767225600,"nbf":1767225600,`+
		`"iss":"https://kubernetes.default.svc","kubernetes.io":{"namespace":%q,`+
		`"node":{"name":"worker-1","uid":"0b4d4a5a"},"pod":{"name":%q,"uid":%q},"serviceaccount":{"name":%q,"uid":"e1a5c0de"}},`+
		`"sub":"system:serviceaccount:%s:%s"}`, testExpiry, namespace, pod, uid, serviceAccount, namespace, serviceAccount)
	signature := strings.Repeat("a signature that nobody made ", 8)
	return encode([]byte(`{"alg":"RS256","kid":"9nqAXFmD2yQ8sR0hTbJ4wVuKpLcEo6Zg"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte(signature))
}

func testToken() string { return fakeToken("sandbox", "example-app", "web-0", testPodUID) }

// tokens is what the kubelet makes of tokens by audience.
func tokens(byAudience map[string]string) string {
	type token struct {
		Token               string `json:"token"`
		ExpirationTimestamp string `json:"expirationTimestamp"`
	}
	all := map[string]token{}
	for audience, raw := range byAudience {
		all[audience] = token{raw, "2100-01-01T00:00:00Z"}
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// goodRequest is what the kubelet sends for a good pod.
func goodRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: testVolume, TargetPath: testTarget, Readonly: true,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
		VolumeContext: map[string]string{
			keyEphemeral:      "true",
			keyPodName:        "web-0",
			keyPodNamespace:   "sandbox",
			keyPodUID:         testPodUID,
			keyServiceAccount: "example-app",
			keyTokens:         tokens(map[string]string{"": testToken(), "vault": "other"}),
		},
	}
}

func TestParsePublishOfAGoodRequest(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *csi.NodePublishVolumeRequest){
		"as the kubelet sends it": func(*csi.NodePublishVolumeRequest) {},
		"foreign attributes": func(r *csi.NodePublishVolumeRequest) {
			maps.Copy(r.VolumeContext, map[string]string{"example.com/x": "y", "csi.cert-manager.io/issuer-name": "x", "": "", "a b": "\x00"})
		},
		"no information on the pod but in the token": func(r *csi.NodePublishVolumeRequest) {
			for _, key := range []string{keyPodName, keyPodNamespace, keyPodUID, keyServiceAccount} {
				delete(r.VolumeContext, key)
			}
		},
		"another access mode": func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
		},
		"a target path with spaces": func(r *csi.NodePublishVolumeRequest) {
			r.TargetPath = strings.ReplaceAll(testTarget, "/spiffe/", "/a b/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := goodRequest()
			change(req)
			got, err := parsePublish(req, testConfig(t))
			check(t, err)
			if got.volumeID != testVolume || got.targetPath != req.TargetPath || got.fsGroup != nil {
				t.Errorf("got %+v", got)
			}
			if got.token.secret.Reveal() != testToken() || got.token.ServiceAccount.String() != "sandbox/example-app" ||
				got.token.PodName != "web-0" || got.token.PodUID != testPodUID || got.token.Expiry.Unix() != testExpiry {
				t.Errorf("token of %+v", got.token.PodToken)
			}
		})
	}
}

// Each row is a good request with one thing changed.
func TestParsePublishRefuses(t *testing.T) {
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
		{"a PersistentVolume", func(r *request) { r.VolumeContext[keyEphemeral] = "false" }, "use pod.spec.volumes[].csi, not a PersistentVolume"},
		{"ephemeral in capitals", func(r *request) { r.VolumeContext[keyEphemeral] = "True" }, "podInfoOnMount: true"},
		{"no word of ephemeral", func(r *request) { delete(r.VolumeContext, keyEphemeral) }, "podInfoOnMount: true"},
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
		{"a target path with a NUL", func(r *request) { r.TargetPath = testTarget + "\x00" }, `is not a clean absolute path`},
		{"a target path with a newline", func(r *request) { r.TargetPath = testTarget + "\n" }, `mount\n" is not a clean absolute path`},
		{"a target path of a megabyte", func(r *request) { r.TargetPath = testTarget + strings.Repeat("/a", 1<<19) }, "is 1048673 bytes long, at most 4095"},
		{"a target path elsewhere", func(r *request) { r.TargetPath = "/etc" }, `"/etc" is not in /var/lib/kubelet/pods`},
		{"a target path of the kubelet's, but not of a pod", func(r *request) { r.TargetPath = "/var/lib/kubelet/plugins_registry" }, "is not in /var/lib/kubelet/pods"},
		{"the folder for pods itself", func(r *request) { r.TargetPath = "/var/lib/kubelet/pods" }, "is not in /var/lib/kubelet/pods"},
		{"a folder whose name begins alike", func(r *request) { r.TargetPath = "/var/lib/kubelet/pods2/x" }, "is not in /var/lib/kubelet/pods"},
		{"the folder of a pod", func(r *request) { r.TargetPath = "/var/lib/kubelet/pods/" + testPodUID }, "is not that of a pod's CSI volume, which is /var/lib/kubelet/pods/POD_UID/volumes/kubernetes.io~csi/NAME/mount"},
		{"the folder of a pod's CSI volume", func(r *request) { r.TargetPath = strings.TrimSuffix(testTarget, "/mount") }, "is not that of a pod's CSI volume"},
		{"a folder in a volume", func(r *request) { r.TargetPath = testTarget + "/x" }, "is not that of a pod's CSI volume"},
		{"a Secret of the pod", func(r *request) { r.TargetPath = strings.ReplaceAll(testTarget, "~csi", "~secret") }, "is not that of a pod's CSI volume"},
		{"another folder of the pod", func(r *request) { r.TargetPath = strings.ReplaceAll(testTarget, "/volumes/", "/plugins/") }, "is not that of a pod's CSI volume"},
		{"a pod in a pod", func(r *request) {
			r.TargetPath = "/var/lib/kubelet/pods/x" + strings.TrimPrefix(testTarget, "/var/lib/kubelet")
		}, "is not that of a pod's CSI volume"},
		{"a volume of another pod", func(r *request) { r.TargetPath = strings.ReplaceAll(testTarget, testPodUID, "other") }, "is of another pod than the ServiceAccount token, which is of the pod with UID \"" + testPodUID},
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
			req := goodRequest()
			row.change(req)
			got, err := parsePublish(req, testConfig(t))
			mustBeRefused(t, got, err, mounts.ErrRefused, codes.InvalidArgument, row.fragment)
		})
	}
}

func mustBeRefused(t *testing.T, got publishRequest, err, want error, code codes.Code, fragment string) {
	t.Helper()
	if !errors.Is(err, want) || got != (publishRequest{}) {
		t.Fatalf("got %+v, %v, want %v", got, err, want)
	}
	if err := toStatus(err); status.Code(err) != code || !strings.Contains(err.Error(), fragment) {
		t.Errorf("the kubelet gets %v, want code %s and %q", err, code, fragment)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("the message repeats what is too long: %d bytes", len(err.Error()))
	}
	if strings.ContainsAny(err.Error(), "\n\x00") {
		t.Errorf("the message cannot be logged as it is: %q", err)
	}
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
			req := goodRequest()
			if row.attribute != unset {
				req.VolumeContext[attributeFSGroup] = row.attribute
			}
			req.VolumeCapability.GetMount().VolumeMountGroup = row.pod
			got, err := parsePublish(req, testConfig(t, "volume: {defaultFSGroup: "+row.config+"}"))
			if row.refused != "" {
				mustBeRefused(t, got, err, mounts.ErrRefused, codes.InvalidArgument, row.refused)
				return
			}
			check(t, err)
			if (got.fsGroup == nil) != (row.want == -1) || got.fsGroup != nil && *got.fsGroup != row.want {
				t.Errorf("got %v, want %d", got.fsGroup, row.want)
			}
		})
	}
}
