// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package csitest makes what the kubelet sends to a CSI driver, for tests.
package csitest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// What requests are about, unless they say otherwise.
const (
	VolumeID = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	PodUID   = "c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42"
	// KubeletRoot is the kubelet's folder by default.
	KubeletRoot = "/var/lib/kubelet"
	Target      = KubeletRoot + "/pods/" + PodUID + "/volumes/kubernetes.io~csi/spiffe/mount"
	// TokenExpiry is in 2100, in seconds since 1970.
	TokenExpiry = 4102444800
)

// The keys of the kubelet in the volume context (kubernetes/pkg/volume/csi/csi_mounter.go).
// Tokens may be among the secrets instead.
const (
	KeyPodName        = "csi.storage.k8s.io/pod.name"
	KeyPodNamespace   = "csi.storage.k8s.io/pod.namespace"
	KeyPodUID         = "csi.storage.k8s.io/pod.uid"
	KeyServiceAccount = "csi.storage.k8s.io/serviceAccount.name"
	KeyEphemeral      = "csi.storage.k8s.io/ephemeral"
	KeyTokens         = "csi.storage.k8s.io/serviceAccount.tokens"
)

// FakeToken returns a token as the API server makes it, but for the signature.
func FakeToken(namespace, serviceAccount, pod, uid string) string {
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"aud":["https://kubernetes.default.svc"],"exp":%d,"iat":1767225600,"nbf":1767225600,`+
		`"iss":"https://kubernetes.default.svc","kubernetes.io":{"namespace":%q,`+
		`"node":{"name":"worker-1","uid":"0b4d4a5a"},"pod":{"name":%q,"uid":%q},"serviceaccount":{"name":%q,"uid":"e1a5c0de"}},`+
		`"sub":"system:serviceaccount:%s:%s"}`, TokenExpiry, namespace, pod, uid, serviceAccount, namespace, serviceAccount)
	signature := strings.Repeat("a signature that nobody made ", 8)
	return encode([]byte(`{"alg":"RS256","kid":"9nqAXFmD2yQ8sR0hTbJ4wVuKpLcEo6Zg"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte(signature))
}

// Token is the one of pod web-0 in namespace sandbox, with the ServiceAccount example-app.
func Token() string { return FakeToken("sandbox", "example-app", "web-0", PodUID) }

// Tokens is what the kubelet makes of tokens by audience.
func Tokens(byAudience map[string]string) string {
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

// PublishRequest is what the kubelet sends for a good pod, which is that of [Token].
func PublishRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: VolumeID, TargetPath: Target, Readonly: true,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
		VolumeContext: map[string]string{
			KeyEphemeral:      "true",
			KeyPodName:        "web-0",
			KeyPodNamespace:   "sandbox",
			KeyPodUID:         PodUID,
			KeyServiceAccount: "example-app",
			KeyTokens:         Tokens(map[string]string{"": Token(), "vault": "other"}),
		},
	}
}

// MustNotTell fails the test if there is a telling part of [Token] in a text.
func MustNotTell(t *testing.T, text, where string) {
	t.Helper()
	const part = 16
	token := Token()
	for i := 0; i+part <= len(token); i += part {
		if strings.Contains(text, token[i:i+part]) {
			t.Fatalf("%s has the token in it: %.300s", where, text)
		}
	}
}
