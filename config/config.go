// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Config is one good version of the file in its running form. It comes from
// [Load] or [Parse] only, is shared between goroutines and never changes: do
// not write to it, nor to what it points to.
//
// What the fields mean and may be is told once, in package v1alpha1.
type Config struct {
	TrustDomain         spiffeid.TrustDomain
	IssuerRef           policy.IssuerRef
	Certificate         Certificate
	CertificateRequests CertificateRequests
	Volume              Volume
	TrustBundle         TrustBundle
	Rollout             Rollout
	Driver              Driver
	Approver            Approver
	Observability       Observability

	// wire is the file with its defaults filled in, in the version in which it
	// was written.
	wire any
	hash string
	// apiVersion is that of wire.
	apiVersion string
	warnings   []Warning
}

// Certificate is what the driver requests and the approver demands, and when
// it is renewed.
type Certificate struct {
	Duration   time.Duration
	PrivateKey policy.KeySpec
	// RenewBefore is zero when RenewBeforePercentage is to be used.
	RenewBefore time.Duration
	// RenewBeforePercentage is never zero: it is also for SVIDs that are too
	// short for RenewBefore.
	RenewBeforePercentage int
	RequestAnnotations    map[string]string
}

// CertificateRequests is how requests are followed, and what stays of them in the
// cluster.
type CertificateRequests struct {
	// HistoryLimit is how many issued ones are kept for each live volume.
	HistoryLimit int
	// Watch is Node or Request: what one watch of the driver is on.
	Watch string
}

// Volume is what pods find in their volume.
type Volume struct {
	TmpfsPath string
	// TmpfsSize is in bytes, and zero for half of the memory.
	TmpfsSize int64
	// DefaultFSGroup is nil when there is none.
	DefaultFSGroup *int64
	Files          Files
	// StorePassword is empty when each volume has one of its own.
	StorePassword string
}

// Files are the names of the files in a volume, all different. Those beyond the
// first three are empty when there is no such file.
type Files struct {
	Certificate, PrivateKey, TrustBundle string
	CredentialBundle, SPIFFEBundle       string
	PKCS12, JKS                          Stores
	// PasswordFile is empty when there is none.
	PasswordFile string
}

// Stores are files in the formats of Java.
type Stores struct{ Keystore, Truststore string }

// TrustBundle is the CA certificates that are put beside each SVID.
type TrustBundle struct {
	// Path is empty when there is none.
	Path string
	// Required is whether there must be a good one before anything is published.
	Required bool
}

// Rollout is how a change of the file takes effect while it spreads.
type Rollout struct {
	GracePeriod, ReissueWindow time.Duration
}

// Driver concerns the driver alone.
type Driver struct {
	// Name is that of the CSIDriver object.
	Name string
	// HTTPAddress is empty when nothing is to be served.
	HTTPAddress string
	// ProfilingAddress is empty when no profiles are to be served.
	ProfilingAddress string
	// KubeletRootDir is where volumes may be mounted, below its folder pods.
	KubeletRootDir        string
	PublishTimeout        time.Duration
	MaxConcurrentRenewals int
	KubeAPI               // KubeAPIQPS and KubeAPIBurst
}

// Approver concerns the approver alone.
type Approver struct {
	// HTTPAddress is empty when nothing is to be served.
	HTTPAddress string
	// ProfilingAddress is empty when no profiles are to be served.
	ProfilingAddress string
	Workers          int
	LeaderElection   LeaderElection
	ApproveOthers    bool
	ApproveCAs       []policy.IssuerRef
	FormerIssuers    []policy.IssuerRef
	// IgnoredAnnotations and IgnoredLabels are patterns: see [policy.Keys].
	IgnoredAnnotations, IgnoredLabels []string
	KubeAPI                           // KubeAPIQPS and KubeAPIBurst
}

// KubeAPI is the client-side limit on requests to the Kubernetes API. Both are
// zero when there is none, which client-go's rest.Config spells as a QPS of -1.
type KubeAPI struct {
	KubeAPIQPS   float32
	KubeAPIBurst int
}

// LeaderElection makes one of several approvers the one that decides.
type LeaderElection struct {
	Enabled                                   bool
	LeaseName                                 string
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// Observability is how both daemons let themselves be watched.
type Observability struct {
	Logging Logging
}

// Logging is what both daemons write to standard error.
type Logging struct {
	Level slog.Level
	// Format is "text" or "json".
	Format string
}

// APIVersion is that in which the file was written.
func (c *Config) APIVersion() string { return c.apiVersion }

// Policy is what the driver requests and the approver demands.
func (c *Config) Policy() policy.Policy {
	return policy.Policy{
		TrustDomain:        c.TrustDomain,
		IssuerRef:          c.IssuerRef,
		Key:                c.Certificate.PrivateKey,
		Duration:           c.Certificate.Duration,
		Annotations:        policy.NewAnnotations(c.Certificate.RequestAnnotations),
		IgnoredAnnotations: policy.NewKeys(c.Approver.IgnoredAnnotations),
		IgnoredLabels:      policy.NewKeys(c.Approver.IgnoredLabels),
	}
}

// Others says which requests to other issuers the approver approves.
func (a Approver) Others() policy.Others {
	return policy.Others{Approve: a.ApproveOthers, CAs: a.ApproveCAs, Former: a.FormerIssuers}
}

// Hash names the version of the file by its content: 16 hexadecimal digits. It
// is that of the file with its defaults filled in, so neither comments, order
// and layout nor a default that is written out change it.
func (c *Config) Hash() string { return c.hash }

// hashOf relies on encoding/json for a canonical form: it orders struct fields
// as declared and maps by key.
func hashOf(wire any) (string, error) {
	data, err := json.Marshal(wire)
	if err != nil {
		return "", fmt.Errorf("hashing the configuration: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
}
