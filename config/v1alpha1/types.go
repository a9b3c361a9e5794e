// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"strings"
	"time"
)

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

// CertificateRequests is how requests are followed, and what stays of them in the
// cluster.
type CertificateRequests struct {
	// HistoryLimit is how many issued CertificateRequests are kept for each live
	// volume, from 0 to 10: the one that its SVID came from and those before
	// it. With 0, that one is deleted as soon as the SVID is in the volume.
	// Each takes about 5 KiB in etcd.
	HistoryLimit int `json:"historyLimit" validate:"min=0,max=10" change:"hot" note:"what is too many is deleted at once"`
	// Watch is how the driver learns what becomes of its requests. `Node`: by one
	// watch on all requests of the node. `Request`: by a watch on each request, for
	// as long as it is open. The API server compares every change of any request in
	// the cluster with every watch of the first kind, which takes it about 2 µs, and
	// to open one of the second takes about 2 ms: `Request` is for clusters of more
	// than about 500 nodes.
	Watch string `json:"watch" validate:"required,oneof=Node Request" change:"restart,driver"`
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

// Files are the names of the files in a volume.
type Files struct {
	// Certificate is the file of the SVID: a PEM certificate chain, leaf first.
	Certificate string `json:"certificate" validate:"required,filename" change:"hot" note:"for volumes published from then on"`
	// PrivateKey is the file of the SVID's private key: PKCS #8, PEM.
	PrivateKey string `json:"privateKey" validate:"required,filename" change:"hot" note:"for volumes published from then on"`
	// TrustBundle is the file of the CA certificates, in PEM. It is written when
	// `trustBundle.path` is set.
	TrustBundle string `json:"trustBundle" validate:"required,filename" change:"hot" note:"for volumes published from then on"`
	// CredentialBundle is a file with the private key and the certificate chain,
	// in this order, in PEM: a program that reads it gets a matching pair whatever
	// happens meanwhile. Empty: there is none.
	CredentialBundle string `json:"credentialBundle" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
	// SPIFFEBundle is a file with the trust bundle as a SPIFFE bundle document, in
	// JSON, for instance `bundle.json`. It is written when `trustBundle.path` is
	// set. Empty: there is none.
	SPIFFEBundle string `json:"spiffeBundle" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
	// PKCS12 are stores for Java 8u301, 11.0.12 and later, and for whatever else
	// reads PKCS #12 (AES-256, HMAC-SHA-256).
	PKCS12 Stores `json:"pkcs12"`
	// JKS are stores in Java's own older format, for programs that read no other:
	// its encryption is weak.
	JKS Stores `json:"jks"`
	// StorePassword is that of all stores and of the keys in them.
	StorePassword StorePassword `json:"storePassword"`
}

// Stores are files in the formats of Java.
type Stores struct {
	// Keystore is a file with the private key and the certificate chain as its
	// only entry. Empty: there is none.
	Keystore string `json:"keystore" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
	// Truststore is a file with each certificate of the trust bundle as an entry.
	// It is written when `trustBundle.path` is set. Empty: there is none.
	Truststore string `json:"truststore" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
}

// StorePassword is that of all stores and of the keys in them.
type StorePassword struct {
	// Value is the password: 6 to 128 printable ASCII characters. It is no secret,
	// as nothing in this configuration is, and need not be one: what guards a store is
	// what guards the private key beside it, the rights of the file. Empty: each
	// volume has one of its own, made by chance, which stays for as long as the
	// volume does, and `file` must be set.
	Value string `json:"value" validate:"omitempty,storepassword" change:"hot" note:"live volumes get stores with it"`
	// File is the name of a file with the password, without a newline. It is
	// written if there is a store. Empty: there is none.
	File string `json:"file" validate:"omitempty,filename" change:"hot" note:"live volumes get the file, or lose it"`
}

// TrustBundle is the CA certificates that are put beside each SVID.
type TrustBundle struct {
	// Path of a file of PEM certificates, absolute, as the driver sees it: up to
	// 1 MiB of CERTIFICATE blocks and nothing else but comments. While its content
	// is anything else, or it is not there, the last good one stays in force.
	// Empty: no trust bundle is put into volumes.
	Path string `json:"path" validate:"omitempty,path" change:"hot" note:"live volumes get the bundle, or lose it"`
	// Required makes the driver exit at its start with the reason if the file is
	// missing or bad then and the node has no volumes of running pods yet; where it
	// has, those keep the bundle that they have and are renewed. Until there has been
	// a good one, pods that are new are refused. `false` is for a file that appears
	// later: the driver starts, and pods get their SVIDs without a bundle, which
	// follows when the file is good.
	Required bool `json:"required" change:"hot"`
}

// Rollout is how a change of this file takes effect while it spreads, which
// through a ConfigMap takes a minute or more from node to node.
type Rollout struct {
	// GracePeriod is for how long after a change the approver still approves
	// what the file allowed before it, and waits with denying a request that was
	// made under a file which it has not seen: from `0s` to `1h`. It should be
	// longer than a change takes to arrive everywhere. When a change shortens it,
	// the old one still counts for that change, but `0s` takes effect at once: set
	// that together with a change that cannot wait.
	GracePeriod Duration `json:"gracePeriod" validate:"min=0s,max=1h" change:"hot"`
	// ReissueWindow is the time over which the driver replaces the SVIDs of live
	// volumes when a change makes them others (another trust domain, issuer or
	// kind of key): from `0s`, all at once, to `168h`, a week. SVIDs that are due
	// earlier are replaced then.
	ReissueWindow Duration `json:"reissueWindow" validate:"min=0s,max=168h" change:"hot"`
}

// Duration is a length of time, written as Go writes it: 1h, 1h30m, 500ms
// (time.ParseDuration). It differs from that of Kubernetes' own API in that a
// null leaves the default, as it does for every other field, and that it is
// printed without zeros at the end.
type Duration struct{ time.Duration }

// String returns the duration as it is best written: 1h rather than 1h0m0s.
func (d Duration) String() string {
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the duration from a string.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil || text == nil {
		return err
	}
	parsed, err := time.ParseDuration(*text)
	if err == nil {
		d.Duration = parsed
	}
	return err
}
