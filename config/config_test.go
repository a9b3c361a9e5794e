// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Every field of good-full.yaml differs from its default, so that a field which
// is not carried over shows.
func TestConversion(t *testing.T) {
	t.Parallel()
	group := int64(1000)
	want := &config.Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString("my.trust.domain"),
		IssuerRef:   policy.IssuerRef{Name: "csi-driver-spiffe-ca", Kind: "Issuer", Group: "cert-manager.io"},
		Certificate: config.Certificate{
			Duration:              2 * time.Hour,
			PrivateKey:            policy.KeySpec{Algorithm: policy.RSA, Size: 4096},
			RenewBefore:           45 * time.Minute,
			RenewBeforePercentage: 33,
			RequestAnnotations: map[string]string{
				"example.org/team":                     "identity",
				"venafi.cert-manager.io/custom-fields": "[]",
			},
		},
		CertificateRequests: config.CertificateRequests{HistoryLimit: 3, Watch: "Request"},
		Volume: config.Volume{
			TmpfsPath:      "/run/svids",
			DefaultFSGroup: &group,
			Files: config.Files{
				Certificate: "svid.pem", PrivateKey: "svid_key.pem", TrustBundle: "svid_bundle.pem",
				CredentialBundle: "svid_credential.pem", SPIFFEBundle: "svid_bundle.json",
				PKCS12:       config.Stores{Keystore: "svid.p12", Truststore: "trust.p12"},
				JKS:          config.Stores{Keystore: "svid.jks", Truststore: "trust.jks"},
				PasswordFile: "password",
			},
			StorePassword: "correct horse",
		},
		TrustBundle: config.TrustBundle{Path: "/var/run/secrets/spiffe.csi.cert-manager.io/ca.crt"},
		Rollout:     config.Rollout{GracePeriod: 10 * time.Minute, ReissueWindow: time.Hour},
		Driver: config.Driver{
			Name:                  "spiffe.example.org",
			HTTPAddress:           "127.0.0.1:9402",
			ProfilingAddress:      "localhost:6060",
			KubeletRootDir:        "/data/kubelet",
			PublishTimeout:        90 * time.Second,
			MaxConcurrentRenewals: 4,
			KubeAPI:               config.KubeAPI{KubeAPIQPS: 12.5, KubeAPIBurst: 25},
		},
		Approver: config.Approver{
			HTTPAddress:        "[::1]:9403",
			ProfilingAddress:   "[::1]:6061",
			Workers:            2,
			ApproveOthers:      true,
			ApproveCAs:         []policy.IssuerRef{{Name: "mesh-root", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
			FormerIssuers:      []policy.IssuerRef{{Name: "former-ca", Kind: "Issuer", Group: "cert-manager.io"}},
			IgnoredAnnotations: []string{"example.org/*"},
			IgnoredLabels:      []string{"example.org/team"},
			KubeAPI:            config.KubeAPI{KubeAPIQPS: 50, KubeAPIBurst: 100},
			LeaderElection: config.LeaderElection{
				LeaseName:     "approver",
				LeaseDuration: 30 * time.Second,
				RenewDeadline: 20 * time.Second,
				RetryPeriod:   5 * time.Second,
			},
		},
		Observability: config.Observability{Logging: config.Logging{Level: slog.LevelDebug, Format: "json"}},
	}
	got, err := config.Load(testdata + "/good-full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	options := cmp.Options{
		cmpopts.IgnoreUnexported(config.Config{}),
		cmp.Comparer(func(a, b spiffeid.TrustDomain) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	want := policy.Policy{
		TrustDomain: spiffeid.RequireTrustDomainFromString("my.trust.domain"),
		IssuerRef:   policy.IssuerRef{Name: "csi-driver-spiffe-ca", Kind: "ClusterIssuer", Group: "cert-manager.io"},
		Key:         policy.KeySpec{Algorithm: policy.ECDSA, Size: 521},
		Duration:    time.Hour,
	}
	if got := parse(t, minimal).Policy(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What the messages about key sizes list is what package policy takes.
func TestKeySizes(t *testing.T) {
	t.Parallel()
	for algorithm, sizes := range map[string][]int{
		"ECDSA":   {256, 384, 521},
		"RSA":     {2048, 3072, 4096},
		"Ed25519": {0},
	} {
		for _, size := range sizes {
			key := parse(t, fmt.Sprintf("%scertificate: {privateKey: {algorithm: %s, size: %d}}", minimal, algorithm, size)).Certificate.PrivateKey
			if err := key.Validate(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestHashDependsOnContentOnly(t *testing.T) {
	t.Parallel()
	want := parse(t, minimal).Hash()
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(want) {
		t.Errorf("hash is %q", want)
	}
	lines := strings.SplitAfter(minimal, "\n")
	for name, same := range map[string]string{
		"comments":        "# one\n" + minimal + "# two\n",
		"order":           strings.Join([]string{lines[3], lines[4], lines[2], lines[1], lines[0]}, ""),
		"default written": minimal + "certificate: {duration: 60m, privateKey: {size: 521}, requestAnnotations: {}}",
		"signed zero":     minimal + "driver: {kubeAPIQPS: -0.0}",
	} {
		if got := parse(t, same).Hash(); got != want {
			t.Errorf("%s: hash is %s, want %s", name, got, want)
		}
	}
	if parse(t, minimal+"volume: {defaultFSGroup: 1}").Hash() == want {
		t.Error("another value has the same hash")
	}
}
