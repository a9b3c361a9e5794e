// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Driver concerns the driver alone.
type Driver struct {
	// Name is the name of the CSI driver, as pods give it in
	// `spec.volumes[].csi.driver` and as the CSIDriver object is called: a
	// DNS-1123 subdomain of up to 63 characters. Volume attributes, labels and
	// annotations have the prefix `spiffe.csi.cert-manager.io/` under any name.
	// Drivers of several names on one node need a `volume.tmpfsPath` each.
	Name string `json:"name" validate:"required,drivername" change:"restart,driver"`
	// HTTPAddress is where the driver serves metrics and health: `host:port`,
	// or `:port` for all addresses. Empty: nowhere.
	HTTPAddress string `json:"httpAddress" validate:"omitempty,listen" change:"restart,driver"`
	// ProfilingAddress is where the driver serves profiles of itself, at
	// `/debug/pprof/` (net/http/pprof): `host:port`, another port than that of
	// `httpAddress`. They have no secrets in them, but making one costs CPU time, so
	// prefer an address that only `kubectl port-forward` reaches, such as
	// `localhost:6060`. Empty: nowhere.
	ProfilingAddress string `json:"profilingAddress" validate:"omitempty,listen" change:"restart,driver"`
	// KubeletRootDir is the kubelet's folder as the driver sees it, an absolute
	// path: what the kubelet's own `--root-dir` says. The driver mounts volumes
	// in its subfolder `pods`, and refuses to do so anywhere else.
	KubeletRootDir string `json:"kubeletRootDir" validate:"required,path,ne=/" change:"restart,driver"`
	// PublishTimeout is how long one attempt to fill a pod's volume may take,
	// from `1s` to `2m`, after which the kubelet gives up on it anyway.
	PublishTimeout Duration `json:"publishTimeout" validate:"min=1s,max=2m" change:"hot"`
	// MaxConcurrentRenewals is how many SVIDs may be in renewal at the same
	// time, from 1 to 1000. The first SVIDs of new pods do not wait for these.
	// Not counted is a renewal whose request has waited for approver or issuer
	// for a sixtieth of the SVID's lifetime, but at least 1 s and at most 10 s,
	// or which waits after an attempt that failed: while the issuer of one
	// namespace does not sign, the pods of others have their turn.
	MaxConcurrentRenewals int `json:"maxConcurrentRenewals" validate:"min=1,max=1000" change:"restart,driver"`
	// KubeAPIQPS limits the requests to the Kubernetes API per second, up to
	// 10000. 0: no limit but the API server's own, API Priority and Fairness.
	KubeAPIQPS float32 `json:"kubeAPIQPS" validate:"min=0,max=10000" change:"restart,driver"`
	// KubeAPIBurst is how many requests may be made at once under
	// `kubeAPIQPS`, up to 10000. To be set if that is, and only then.
	KubeAPIBurst int `json:"kubeAPIBurst" validate:"min=0,max=10000" change:"restart,driver"`
}

// Approver concerns the approver alone.
type Approver struct {
	// HTTPAddress is where the approver serves metrics and health: `host:port`,
	// or `:port` for all addresses. Empty: nowhere.
	HTTPAddress string `json:"httpAddress" validate:"omitempty,listen" change:"restart,approver"`
	// ProfilingAddress is where the approver serves profiles of itself, at
	// `/debug/pprof/` (net/http/pprof): `host:port`, another port than that of
	// `httpAddress`. They have no secrets in them, but making one costs CPU time, so
	// prefer an address that only `kubectl port-forward` reaches, such as
	// `localhost:6060`. Empty: nowhere.
	ProfilingAddress string `json:"profilingAddress" validate:"omitempty,listen" change:"restart,approver"`
	// Workers is how many requests are decided at the same time, from 1 to
	// 1000. Those of one namespace occupy at most three quarters of them (all but
	// one if there are fewer than four), so that slow decisions of one namespace
	// leave workers for the others, and only one while its requests are denied.
	Workers int `json:"workers" validate:"min=1,max=1000" change:"restart,approver"`
	// ApproveOthers makes the approver approve requests to other issuers, too, as
	// cert-manager's own approver does, so that this can be turned off with no
	// other approver in its place. Requests that hold a SPIFFE ID, cannot be
	// read or are too large to be judged are left alone: another approver may be there
	// for them. So are requests
	// for CA certificates, unless `approveCAs` lists their issuer, and requests to
	// `formerIssuers`. The approver then needs the right to approve for all signers.
	ApproveOthers bool `json:"approveOthers" change:"hot"`
	// ApproveCAs lists the issuers whose requests for CA certificates are approved
	// for `approveOthers`: those with `isCA`, or with the usage `cert sign` or `crl
	// sign`. To all other issuers, such requests are left alone. The issuer of
	// SVIDs and `formerIssuers` cannot be listed. Do not list an issuer whose
	// certificates lead to a root in a trust bundle, either: anybody who may create
	// CertificateRequests could get a CA certificate and make an SVID for anybody.
	ApproveCAs []OtherIssuer `json:"approveCAs" validate:"dive" change:"hot"`
	// FormerIssuers lists the issuers that signed SVIDs before `issuerRef` was
	// changed. While their roots are in trust bundles, whoever has a CA certificate
	// of theirs can make an SVID for anybody, so `approveOthers` approves no request
	// to them. List an issuer here in the same change that replaces it, and
	// keep it until its root has left every trust bundle.
	FormerIssuers []OtherIssuer `json:"formerIssuers" validate:"dive" change:"hot"`
	// IgnoredAnnotations lists the annotations that a request for an SVID may have
	// beside those of `certificate.requestAnnotations`: exact keys such as
	// `example.org/team`, or all keys of a prefix such as `example.org/*`. List
	// what an admission webhook of the cluster adds. Requests with any other
	// annotation are denied, because issuers take certificate profiles from
	// annotations: do not list what the issuer reads.
	IgnoredAnnotations []string `json:"ignoredAnnotations" validate:"dive,keypattern" change:"hot"`
	// IgnoredLabels is the same as `ignoredAnnotations`, for labels.
	IgnoredLabels []string `json:"ignoredLabels" validate:"dive,keypattern" change:"hot"`
	// KubeAPIQPS limits the requests to the Kubernetes API per second, up to
	// 10000. 0: no limit but the API server's own, API Priority and Fairness.
	KubeAPIQPS float32 `json:"kubeAPIQPS" validate:"min=0,max=10000" change:"restart,approver"`
	// KubeAPIBurst is how many requests may be made at once under
	// `kubeAPIQPS`, up to 10000. To be set if that is, and only then.
	KubeAPIBurst int `json:"kubeAPIBurst" validate:"min=0,max=10000" change:"restart,approver"`
	// LeaderElection makes one of several approvers the one that decides.
	LeaderElection LeaderElection `json:"leaderElection"`
}

// OtherIssuer names a cert-manager issuer that is not the one of SVIDs.
type OtherIssuer struct {
	// Name of the issuer object: a DNS-1123 subdomain.
	Name string `json:"name" validate:"required,subdomain" change:"hot"`
	// Kind of the issuer object: `ClusterIssuer`; `Issuer`, in any namespace; or
	// the kind of an external issuer.
	Kind string `json:"kind" validate:"required,kind" change:"hot"`
	// Group is the API group of that kind: `cert-manager.io`, or that of an
	// external issuer.
	Group string `json:"group" validate:"required,subdomain" change:"hot"`
}

// LeaderElection makes one of several approvers the one that decides. Its
// durations are ordered: leaseDuration is longer than renewDeadline, which is
// longer than 1.2 times retryPeriod.
type LeaderElection struct {
	// Enabled turns leader election on. Without it, run one approver only.
	Enabled bool `json:"enabled" change:"restart,approver"`
	// LeaseName is the name of the Lease object, in the approver's namespace: a
	// DNS-1123 subdomain.
	LeaseName string `json:"leaseName" validate:"required,subdomain" change:"restart,approver"`
	// LeaseDuration is how long an unresponsive leader keeps the lease, from `1s`
	// to `10m`. Longer than `renewDeadline`.
	LeaseDuration Duration `json:"leaseDuration" validate:"min=1s,max=10m" change:"restart,approver"`
	// RenewDeadline is how long a leader tries to renew the lease before it
	// steps down, from `500ms` to `10m`. Longer than 1.2 times `retryPeriod`.
	RenewDeadline Duration `json:"renewDeadline" validate:"min=500ms,max=10m" change:"restart,approver"`
	// RetryPeriod is the time between two attempts at the lease, from `100ms`
	// to `10m`.
	RetryPeriod Duration `json:"retryPeriod" validate:"min=100ms,max=10m" change:"restart,approver"`
}

// Observability is how both daemons let themselves be watched.
type Observability struct {
	// Logging is what both daemons write to standard error.
	Logging Logging `json:"logging"`
}

// Logging is what both daemons write to standard error.
type Logging struct {
	// Level is the least severe level that is written: `debug`, `info`, `warn`
	// or `error`.
	Level string `json:"level" validate:"required,oneof=debug info warn error" change:"hot"`
	// Format is `text` (key=value) or `json`, a line for each entry.
	Format string `json:"format" validate:"required,oneof=text json" change:"restart"`
}
