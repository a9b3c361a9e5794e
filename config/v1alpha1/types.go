// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// What the first two lines of a file say.
const (
	APIVersion = "config.spiffe.csi.cert-manager.io/v1alpha1"
	Kind       = "SPIFFEConfiguration"
)

// SPIFFEConfiguration is the whole file.
type SPIFFEConfiguration struct {
	// APIVersion is the version of this format, always
	// `config.spiffe.csi.cert-manager.io/v1alpha1`.
	APIVersion string `json:"apiVersion" validate:"required,eq=config.spiffe.csi.cert-manager.io/v1alpha1" change:"hot"`
	// Kind is always `SPIFFEConfiguration`.
	Kind string `json:"kind" validate:"required,eq=SPIFFEConfiguration" change:"hot"`
	// TrustDomain is the SPIFFE trust domain of every identity, such as
	// `my.trust.domain`: up to 255 lower-case letters, digits, dots, dashes and
	// underscores, with something between and around dots, without scheme,
	// port or path.
	TrustDomain string `json:"trustDomain" validate:"required,trustdomain" change:"reissue"`
	// IssuerRef names the cert-manager issuer that signs every SVID. The
	// approver decides requests for this issuer and leaves all others alone.
	IssuerRef IssuerRef `json:"issuerRef"`
	// Certificate is what the driver requests, and the approver demands.
	Certificate Certificate `json:"certificate"`
	// CertificateRequests is how requests are followed, and what stays of them in
	// the cluster.
	CertificateRequests CertificateRequests `json:"certificateRequests"`
	// Volume is what pods find in their volume.
	Volume Volume `json:"volume"`
	// TrustBundle is the CA certificates that are put beside each SVID. A change of
	// the file reaches every live volume at once.
	TrustBundle TrustBundle `json:"trustBundle"`
	// Rollout is how a change of this file takes effect while it spreads.
	Rollout Rollout `json:"rollout"`
	// Driver concerns the driver alone.
	Driver Driver `json:"driver"`
	// Approver concerns the approver alone.
	Approver Approver `json:"approver"`
	// Observability is how both daemons let themselves be watched.
	Observability Observability `json:"observability"`
}

// IssuerRef names a cert-manager issuer, as spec.issuerRef of a
// CertificateRequest does.
type IssuerRef struct {
	// Name of the issuer object: a DNS-1123 subdomain.
	Name string `json:"name" validate:"required,subdomain" change:"reissue" note:"list the previous issuer in approver.formerIssuers until its root has left every trust bundle"`
	// Kind of the issuer object: `ClusterIssuer`; `Issuer`, of which there must
	// be one in each pod's namespace; or the kind of an external issuer.
	Kind string `json:"kind" validate:"required,kind" change:"reissue" note:"list the previous issuer in approver.formerIssuers until its root has left every trust bundle"`
	// Group is the API group of that kind: `cert-manager.io`, or that of an
	// external issuer.
	Group string `json:"group" validate:"required,subdomain" change:"reissue" note:"list the previous issuer in approver.formerIssuers until its root has left every trust bundle"`
}

// Volume is what pods find in their volume.
type Volume struct {
	// TmpfsPath is the folder on the node in which the driver keeps keys and
	// certificates, in memory: an absolute path.
	TmpfsPath string `json:"tmpfsPath" validate:"required,path,ne=/" change:"restart,driver,reissue" note:"drain the node first, for running pods keep their old files"`
	// TmpfsSize is the most that the tmpfs may hold for all volumes of a node: a
	// Kubernetes quantity in whole bytes from `1Mi` to `1Ti`, such as `64Mi`. A
	// volume needs about 32Ki while it is written anew, with every form of
	// `files` about 100Ki, more if the trust bundle is large; and the last 512Ki are kept
	// for renewals. Empty: half of the node's memory.
	TmpfsSize string `json:"tmpfsSize,omitempty" validate:"omitempty,tmpfssize" change:"restart,driver"`
	// DefaultFSGroup is the group that may read the files of pods which set no
	// group themselves, neither by fsGroup nor by the volume attribute
	// `spiffe.csi.cert-manager.io/fs-group`: a group ID from 0 to 4294967294.
	// Unset, only the owner, root, may.
	DefaultFSGroup *int64 `json:"defaultFSGroup,omitempty" validate:"omitempty,min=0,max=4294967294" change:"hot" note:"for volumes published from then on"`
	// Files are the names of the files in a volume: all different, each of up to
	// 255 bytes, without slashes and backslashes, not `.` and not beginning with
	// `..`. All of them change in one step. A volume keeps the names that it has
	// for as long as its pod lives.
	Files Files `json:"files"`
}

// Certificate is what the driver requests, and the approver demands.
type Certificate struct {
	// Duration is the requested lifetime of an SVID, from `5s` to `87600h`
	// (ten years). An issuer may sign for less. If it signs for more, the SVID is
	// still renewed by the requested lifetime.
	Duration Duration `json:"duration" validate:"min=5s,max=87600h" change:"hot,reissue" note:"from each volume's next renewal, or at once if more is left than it would now get"`
	// PrivateKey is the kind of key that an SVID has. Every renewal makes a new
	// one.
	PrivateKey PrivateKey `json:"privateKey"`
	// RenewBefore is how long before its end an SVID is renewed, from `1s` and
	// less than `duration`. Set this or `renewBeforePercentage`, not both. When
	// an issuer signs for no longer than this, 33 percent of the lifetime is
	// used instead.
	RenewBefore *Duration `json:"renewBefore,omitempty" validate:"omitempty,min=1s" change:"hot"`
	// RenewBeforePercentage is the same as a part of the actual lifetime, from
	// 1 to 99 percent: 33 renews after about two thirds of it. To spread the
	// load, each volume is renewed earlier than that, always by the same part:
	// up to a tenth of the time from issuance to then. The first two times, and
	// twice after a renewal that was late or a re-issue, it is up to a half, so
	// that volumes which got their SVIDs together part.
	RenewBeforePercentage *int `json:"renewBeforePercentage,omitempty" validate:"omitempty,min=1,max=99" change:"hot"`
	// RequestAnnotations are put on every CertificateRequest, for instance for
	// an external issuer to read. Refused are keys that belong to somebody
	// else: with the prefix `spiffe.csi.cert-manager.io/`, `cert-manager.io/`,
	// or one under `kubernetes.io` or `k8s.io`.
	RequestAnnotations map[string]string `json:"requestAnnotations" change:"hot" note:"for requests made from then on"`
}

// PrivateKey is the kind of key that an SVID has.
type PrivateKey struct {
	// Algorithm is `ECDSA`, `RSA` or `Ed25519`.
	Algorithm string `json:"algorithm" validate:"required,oneof=ECDSA RSA Ed25519" change:"reissue"`
	// Size in bits. ECDSA: 256, 384 or 521, by default 521. RSA: 2048, 3072 or
	// 4096, by default 3072. Ed25519 has none.
	Size int `json:"size,omitempty" change:"reissue"`
}
