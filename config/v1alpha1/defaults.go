// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"time"
)

// DefaultRenewBeforePercentage renews an SVID after about two thirds of its
// lifetime, as cert-manager does.
const DefaultRenewBeforePercentage = 33

// DefaultDriverName is the name of the CSI driver that pods are written for.
const DefaultDriverName = "spiffe.csi.cert-manager.io"

// Default returns the file in which every field has its default. A file is
// decoded over it. What has no default is empty: trustDomain and
// issuerRef.name, which are required, and defaultFSGroup. What depends on other
// fields is empty too, until [SPIFFEConfiguration.Complete] sets it.
func Default() *SPIFFEConfiguration {
	return &SPIFFEConfiguration{
		APIVersion:          APIVersion,
		Kind:                Kind,
		IssuerRef:           IssuerRef{Kind: "ClusterIssuer", Group: "cert-manager.io"},
		Certificate:         defaultCertificate(),
		CertificateRequests: CertificateRequests{HistoryLimit: 1, Watch: "Node"},
		Volume:              defaultVolume(),
		TrustBundle:         TrustBundle{Required: true},
		Rollout:             Rollout{GracePeriod: duration(2 * time.Minute), ReissueWindow: duration(5 * time.Minute)},
		Driver:              defaultDriver(),
		Approver:            defaultApprover(),
		Observability:       Observability{Logging{Level: "info", Format: "text"}},
	}
}

// Complete sets what is not set and whose default depends on other fields: the
// key's size on its algorithm, and renewBeforePercentage on renewBefore. It also
// sets the defaults of entries in lists.
func (c *SPIFFEConfiguration) Complete() {
	if key := &c.Certificate.PrivateKey; key.Size == 0 {
		key.Size = defaultSize(key.Algorithm)
	}
	if c.Certificate.RequestAnnotations == nil {
		c.Certificate.RequestAnnotations = map[string]string{}
	}
	completeIssuers(&c.Approver.ApproveCAs)
	completeIssuers(&c.Approver.FormerIssuers)
	for _, list := range []*[]string{&c.Approver.IgnoredAnnotations, &c.Approver.IgnoredLabels} {
		if *list == nil {
			*list = []string{}
		}
	}
	// -0 becomes 0: it must not have a hash of its own.
	c.Driver.KubeAPIQPS += 0
	c.Approver.KubeAPIQPS += 0
	if c.Certificate.RenewBefore == nil && c.Certificate.RenewBeforePercentage == nil {
		percentage := DefaultRenewBeforePercentage
		c.Certificate.RenewBeforePercentage = &percentage
	}
}

// completeIssuers sets the defaults of each issuer, which are those of issuerRef.
func completeIssuers(list *[]IssuerRef) {
	if *list == nil {
		*list = []IssuerRef{}
	}
	for i := range *list {
		ref, defaults := &(*list)[i], Default().IssuerRef
		ref.Kind, ref.Group = cmp.Or(ref.Kind, defaults.Kind), cmp.Or(ref.Group, defaults.Group)
	}
}

func defaultCertificate() Certificate {
	return Certificate{
		Duration:           duration(time.Hour),
		PrivateKey:         PrivateKey{Algorithm: "ECDSA"},
		RequestAnnotations: map[string]string{},
	}
}

func defaultVolume() Volume {
	return Volume{
		TmpfsPath: "/var/run/csi-driver-spiffe",
		Files: Files{
			Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt",
			StorePassword: StorePassword{Value: "changeit"}, // as in Java
		},
	}
}

func defaultDriver() Driver {
	return Driver{
		Name:                  DefaultDriverName,
		HTTPAddress:           ":9402",
		KubeletRootDir:        "/var/lib/kubelet",
		PublishTimeout:        duration(time.Minute),
		MaxConcurrentRenewals: 16,
	}
}

func defaultApprover() Approver {
	return Approver{
		HTTPAddress: ":9403",
		Workers:     8,
		LeaderElection: LeaderElection{
			Enabled:       true,
			LeaseName:     "csi-driver-spiffe-approver",
			LeaseDuration: duration(15 * time.Second),
			RenewDeadline: duration(10 * time.Second),
			RetryPeriod:   duration(2 * time.Second),
		},
	}
}

func duration(d time.Duration) Duration { return Duration{Duration: d} }

// defaultSize of a key, in bits; 0 for algorithms that have none.
func defaultSize(algorithm string) int {
	switch algorithm {
	case "ECDSA":
		return 521
	case "RSA":
		return 3072
	default:
		return 0
	}
}
