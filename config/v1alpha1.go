// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func parseV1alpha1(r *reader, root *yaml.Node) (*Config, error) {
	wire := v1alpha1.Default()
	wire.APIVersion, wire.Kind = "", "" // A file must say these itself.
	r.read("", root, reflect.ValueOf(wire).Elem())
	r.skipMisspelt()
	wire.Complete()
	if err := r.checkFields(wire); err != nil {
		return nil, err
	}
	r.checkCrossFields(wire)
	if err := r.result(); err != nil {
		return nil, err
	}
	decoded := v1alpha1.Default()
	if err := r.decode(root, wire, decoded, decoded.Complete); err != nil {
		return nil, err
	}
	r.warnOfKey(decoded)
	c, err := fromV1alpha1(decoded)
	if err != nil {
		return nil, err
	}
	c.warnings = r.warnings
	return c, nil
}

// fromV1alpha1 converts what has been checked.
func fromV1alpha1(wire *v1alpha1.SPIFFEConfiguration) (*Config, error) {
	td, err := spiffeid.TrustDomainFromString(wire.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("trustDomain: %w", err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(wire.Observability.Logging.Level)); err != nil {
		return nil, fmt.Errorf("observability.logging.level: %w", err)
	}
	hash, err := hashOf(wire)
	if err != nil {
		return nil, err
	}
	return &Config{
		TrustDomain:         td,
		IssuerRef:           policy.IssuerRef(wire.IssuerRef),
		Certificate:         certificateFromV1alpha1(&wire.Certificate),
		CertificateRequests: CertificateRequests(wire.CertificateRequests),
		Volume:              volumeFromV1alpha1(&wire.Volume),
		TrustBundle:         TrustBundle(wire.TrustBundle),
		Rollout:             Rollout{wire.Rollout.GracePeriod.Duration, wire.Rollout.ReissueWindow.Duration},
		Driver:              driverFromV1alpha1(&wire.Driver),
		Approver:            approverFromV1alpha1(&wire.Approver),
		Observability:       Observability{Logging{Level: level, Format: wire.Observability.Logging.Format}},
		wire:                wire,
		hash:                hash,
		apiVersion:          wire.APIVersion,
	}, nil
}

func certificateFromV1alpha1(wire *v1alpha1.Certificate) Certificate {
	c := Certificate{
		Duration: wire.Duration.Duration,
		PrivateKey: policy.KeySpec{
			Algorithm: policy.Algorithm(wire.PrivateKey.Algorithm),
			Size:      wire.PrivateKey.Size,
		},
		RenewBeforePercentage: v1alpha1.DefaultRenewBeforePercentage,
		RequestAnnotations:    maps.Clone(wire.RequestAnnotations),
	}
	if wire.RenewBeforePercentage != nil {
		c.RenewBeforePercentage = *wire.RenewBeforePercentage
	}
	if wire.RenewBefore != nil {
		c.RenewBefore = wire.RenewBefore.Duration
	}
	return c
}

func volumeFromV1alpha1(wire *v1alpha1.Volume) Volume {
	v := Volume{
		TmpfsPath: wire.TmpfsPath, TmpfsSize: bytesOf(wire.TmpfsSize),
		Files: filesFromV1alpha1(&wire.Files), StorePassword: wire.Files.StorePassword.Value,
	}
	if gid := wire.DefaultFSGroup; gid != nil {
		group := *gid
		v.DefaultFSGroup = &group
	}
	return v
}

func filesFromV1alpha1(wire *v1alpha1.Files) Files {
	return Files{
		Certificate: wire.Certificate, PrivateKey: wire.PrivateKey, TrustBundle: wire.TrustBundle,
		CredentialBundle: wire.CredentialBundle, SPIFFEBundle: wire.SPIFFEBundle,
		PKCS12: Stores(wire.PKCS12), JKS: Stores(wire.JKS), PasswordFile: wire.StorePassword.File,
	}
}

func driverFromV1alpha1(wire *v1alpha1.Driver) Driver {
	return Driver{
		Name:                  wire.Name,
		HTTPAddress:           wire.HTTPAddress,
		ProfilingAddress:      wire.ProfilingAddress,
		KubeletRootDir:        wire.KubeletRootDir,
		PublishTimeout:        wire.PublishTimeout.Duration,
		MaxConcurrentRenewals: wire.MaxConcurrentRenewals,
		KubeAPI:               KubeAPI{wire.KubeAPIQPS, wire.KubeAPIBurst},
	}
}

func approverFromV1alpha1(wire *v1alpha1.Approver) Approver {
	election := wire.LeaderElection
	return Approver{
		HTTPAddress:        wire.HTTPAddress,
		ProfilingAddress:   wire.ProfilingAddress,
		Workers:            wire.Workers,
		ApproveOthers:      wire.ApproveOthers,
		ApproveCAs:         issuersFromV1alpha1(wire.ApproveCAs),
		FormerIssuers:      issuersFromV1alpha1(wire.FormerIssuers),
		IgnoredAnnotations: slices.Clone(wire.IgnoredAnnotations),
		IgnoredLabels:      slices.Clone(wire.IgnoredLabels),
		KubeAPI:            KubeAPI{wire.KubeAPIQPS, wire.KubeAPIBurst},
		LeaderElection: LeaderElection{
			Enabled:       election.Enabled,
			LeaseName:     election.LeaseName,
			LeaseDuration: election.LeaseDuration.Duration,
			RenewDeadline: election.RenewDeadline.Duration,
			RetryPeriod:   election.RetryPeriod.Duration,
		},
	}
}

func issuersFromV1alpha1(wire []v1alpha1.OtherIssuer) []policy.IssuerRef {
	refs := make([]policy.IssuerRef, len(wire))
	for i, ref := range wire {
		refs[i] = policy.IssuerRef(ref)
	}
	return refs
}
