// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// checkCrossFields checks the rules between fields, which the validate tag of one
// field cannot express.
func (r *reader) checkCrossFields(c *v1alpha1.SPIFFEConfiguration) {
	r.checkIssuer("issuerRef", c.IssuerRef)
	r.checkIssuers("approver.formerIssuers", c.Approver.FormerIssuers)
	r.checkIssuers("approver.approveCAs", c.Approver.ApproveCAs)
	r.checkApproveCAs(c)
	r.checkKey(&c.Certificate.PrivateKey)
	r.checkRenewal(&c.Certificate)
	r.checkAnnotations(c.Certificate.RequestAnnotations)
	r.checkFiles(&c.Volume.Files)
	r.checkAddresses("driver", c.Driver.HTTPAddress, c.Driver.ProfilingAddress)
	r.checkAddresses("approver", c.Approver.HTTPAddress, c.Approver.ProfilingAddress)
	r.checkLimit("driver", c.Driver.KubeAPIQPS, c.Driver.KubeAPIBurst)
	r.checkLimit("approver", c.Approver.KubeAPIQPS, c.Approver.KubeAPIBurst)
	r.checkElection(&c.Approver.LeaderElection)
}

// crossFieldFault reports a fault between fields, unless one of them could not be read.
// The message is about the first of them. The position is that of the first
// which is in the file: it may be the value of the second that made the default
// of the first wrong.
func (r *reader) crossFieldFault(message string, paths ...string) {
	if slices.ContainsFunc(paths, r.isBroken) {
		return
	}
	at := max(0, slices.IndexFunc(paths, r.isSet))
	r.fault(r.locate(paths[at]), paths[0], message)
}

func (r *reader) checkIssuer(path string, ref v1alpha1.IssuerRef) {
	kind, group := path+".kind", path+".group"
	if ref.Group != "cert-manager.io" || ref.Kind == "Issuer" || ref.Kind == "ClusterIssuer" {
		return
	}
	if kindName.MatchString(ref.Kind) { // else that has been reported
		r.crossFieldFault(wrong("is not a kind of cert-manager's own issuers", r.got(kind, ref.Kind),
			"must be Issuer or ClusterIssuer, or "+group+" that of an external issuer"), kind, group)
	}
}

func (r *reader) checkIssuers(path string, refs []v1alpha1.OtherIssuer) {
	for i, ref := range refs {
		r.checkIssuer(item(path, i), v1alpha1.IssuerRef(ref))
	}
}

// checkApproveCAs keeps whoever may ask for CA certificates from asking an issuer
// of SVIDs.
func (r *reader) checkApproveCAs(c *v1alpha1.SPIFFEConfiguration) {
	for i, ref := range c.Approver.ApproveCAs {
		at := item("approver.approveCAs", i)
		if r.isBroken("issuerRef.name") || r.isBroken(at+".name") {
			continue
		}
		switch former := slices.Index(c.Approver.FormerIssuers, ref); {
		case v1alpha1.IssuerRef(ref) == c.IssuerRef:
			r.crossFieldFault(wrong("is the issuer of SVIDs", quote(ref.Name), "must be another: whoever has a CA certificate of issuerRef can make an SVID for anybody"), at, "issuerRef")
		case former >= 0:
			r.crossFieldFault(wrong("has been the issuer of SVIDs", quote(ref.Name), "must not be in approver.formerIssuers as well"), at, item("approver.formerIssuers", former))
		}
	}
}

func (r *reader) checkKey(key *v1alpha1.PrivateKey) {
	sizes, known := map[string]string{
		"ECDSA":   "256, 384 or 521",
		"RSA":     "2048, 3072 or 4096",
		"Ed25519": "left out, for its keys have but one size",
	}[key.Algorithm]
	const path = "certificate.privateKey.size"
	spec := policy.KeySpec{Algorithm: policy.Algorithm(key.Algorithm), Size: key.Size}
	if r.isSet(path) && strings.Trim(r.places[path].value.Value, "+-0") == "" {
		spec.Size = 0 // A zero that is there is not the default.
	}
	if !known || spec.Validate() == nil {
		return
	}
	r.crossFieldFault(wrong("is not a key size of "+key.Algorithm, strconv.Itoa(spec.Size), "must be "+sizes),
		path, "certificate.privateKey.algorithm")
}

func (r *reader) checkRenewal(c *v1alpha1.Certificate) {
	const before, percentage, duration = "certificate.renewBefore", "certificate.renewBeforePercentage", "certificate.duration"
	if c.RenewBefore == nil {
		return
	}
	if c.RenewBeforePercentage != nil {
		r.crossFieldFault("is set as well as "+before+", must be only one of the two", percentage)
	}
	if c.RenewBefore.Duration >= c.Duration.Duration {
		r.crossFieldFault(wrong("is too high", short(c.RenewBefore.Duration),
			"must be less than "+duration+", which is "+short(c.Duration.Duration)), before, duration)
	}
}

const (
	// maxAnnotations is how many bytes of annotations there may be: keys, values and
	// annotationSize for each. Kubernetes allows 256 KiB for each object, but
	// internal/certrequest keeps 16 KiB of a request, counted in the same way, and
	// the approver denies requests with more. The rest is for approver.ignoredAnnotations.
	maxAnnotations = 12 << 10
	annotationSize = 32
)

func (r *reader) checkAnnotations(annotations map[string]string) {
	const path = "certificate.requestAnnotations"
	size := 0
	for key, value := range annotations {
		size += annotationSize + len(key) + len(value)
		at := entry(path, key)
		switch prefix := reserved(key); {
		case len(validation.IsQualifiedName(strings.ToLower(key))) > 0:
			r.fault(r.places[at].key, at, wrong("is not an annotation key", quote(key),
				"must be up to 63 letters, digits, dashes, dots and underscores, after an optional DNS name of up to 253 and a slash"))
		case prefix != "":
			r.fault(r.places[at].key, at, wrong("is reserved", quote(key), "must not begin with "+prefix+"/"))
		}
	}
	if size > maxAnnotations {
		r.crossFieldFault(fmt.Sprintf("is too large (got %d bytes, with %d for each entry), must be at most %d", size, annotationSize, maxAnnotations), path)
	}
}

// reserved returns the prefix of an annotation key if it belongs to somebody
// else. Prefixes under cert-manager.io are free: external issuers have theirs
// there.
func reserved(key string) string {
	prefix, _, found := strings.Cut(strings.ToLower(key), "/")
	if !found {
		return ""
	}
	if prefix == "cert-manager.io" {
		return prefix
	}
	for _, domain := range []string{"spiffe.csi.cert-manager.io", "kubernetes.io", "k8s.io"} {
		if prefix == domain || strings.HasSuffix(prefix, "."+domain) {
			return prefix
		}
	}
	return ""
}

// checkFiles asks that all files of a volume have different names, and that
// stores have a password that somebody knows.
func (r *reader) checkFiles(files *v1alpha1.Files) {
	const section = "volume.files."
	names := []struct{ path, name string }{
		{section + "certificate", files.Certificate},
		{section + "privateKey", files.PrivateKey},
		{section + "trustBundle", files.TrustBundle},
		{section + "credentialBundle", files.CredentialBundle},
		{section + "spiffeBundle", files.SPIFFEBundle},
		{section + "pkcs12.keystore", files.PKCS12.Keystore},
		{section + "pkcs12.truststore", files.PKCS12.Truststore},
		{section + "jks.keystore", files.JKS.Keystore},
		{section + "jks.truststore", files.JKS.Truststore},
		{section + "storePassword.file", files.StorePassword.File},
	}
	for i, second := range names {
		for _, first := range names[:i] {
			if second.name != "" && first.name == second.name {
				r.crossFieldFault(wrong("is taken", quote(second.name), "must be different from "+first.path), second.path, first.path)
				break
			}
		}
	}
	if password := files.StorePassword; password.Value == "" && password.File == "" {
		r.crossFieldFault("is required when "+section+"storePassword.value is empty, must be the name of the file for the password that each volume gets",
			section+"storePassword.file", section+"storePassword.value")
	}
}

// checkAddresses sees to it that a daemon can listen on both of its addresses.
func (r *reader) checkAddresses(section, http, profiling string) {
	httpPath, profilingPath := section+".httpAddress", section+".profilingAddress"
	_, port, err := net.SplitHostPort(profiling)
	if _, other, otherErr := net.SplitHostPort(http); err != nil || otherErr != nil || other != port {
		return
	}
	r.crossFieldFault(wrong("has the port of "+httpPath, strconv.Quote(profiling), "must have another, or be \"\" for nowhere"), profilingPath, httpPath)
}

func (r *reader) checkLimit(section string, qps float32, burst int) {
	qpsPath, burstPath := section+".kubeAPIQPS", section+".kubeAPIBurst"
	switch {
	case qps > 0 && burst == 0:
		r.crossFieldFault("is required with "+qpsPath+", must be at least 1", burstPath, qpsPath)
	case qps == 0 && burst > 0:
		r.crossFieldFault(wrong("does nothing without "+qpsPath, strconv.Itoa(burst), "must be left out, or that be set"), burstPath, qpsPath)
	}
}

// checkElection asks what client-go's leaderelection asks, which would
// otherwise refuse to start.
func (r *reader) checkElection(e *v1alpha1.LeaderElection) {
	const section = "approver.leaderElection."
	const lease, deadline, retry = section + "leaseDuration", section + "renewDeadline", section + "retryPeriod"
	if e.LeaseDuration.Duration <= e.RenewDeadline.Duration {
		r.crossFieldFault(wrong("is too low", short(e.LeaseDuration.Duration),
			"must be more than "+deadline+", which is "+short(e.RenewDeadline.Duration)), lease, deadline)
	}
	if least := e.RetryPeriod.Duration / 5 * 6; e.RenewDeadline.Duration <= least {
		r.crossFieldFault(wrong("is too low", short(e.RenewDeadline.Duration),
			"must be more than 1.2 times "+retry+", which is "+short(least)), deadline, retry)
	}
}

// issuerKeys says which kinds of key the issuers of an API group do not sign.
type issuerKeys struct {
	// issuer is what operators call it.
	issuer string
	// unsupported are the kinds of key, and supported is what to use instead.
	unsupported []policy.KeySpec
	supported   string
}

// keysOfIssuers knows the external issuers, by API group. There is nothing for
// cert-manager.io: its kinds Issuer and ClusterIssuer do not tell which issuer it
// is. Each entry has its source in manifests/issuers.md.
func keysOfIssuers() map[string]issuerKeys {
	return map[string]issuerKeys{
		"awspca.cert-manager.io": {
			issuer:      "AWS Private CA",
			unsupported: []policy.KeySpec{{Algorithm: policy.Ed25519}},
			supported:   "ECDSA or RSA",
		},
		"cas-issuer.jetstack.io": {
			issuer:      "Google Certificate Authority Service",
			unsupported: []policy.KeySpec{{Algorithm: policy.ECDSA, Size: 521}},
			supported:   "ECDSA 256 or 384, Ed25519 or RSA",
		},
	}
}

// warnOfKey warns of a kind of key that the issuer does not sign. The position is
// that of the first of the fields concerned which is in the file.
func (r *reader) warnOfKey(c *v1alpha1.SPIFFEConfiguration) {
	known, found := keysOfIssuers()[c.IssuerRef.Group]
	key := policy.KeySpec{Algorithm: policy.Algorithm(c.Certificate.PrivateKey.Algorithm), Size: c.Certificate.PrivateKey.Size}
	if !found || !slices.Contains(known.unsupported, key) {
		return
	}
	const path = "certificate.privateKey"
	paths := []string{path + ".size", path + ".algorithm", "issuerRef.group"}
	at := r.locate(paths[max(0, slices.IndexFunc(paths, r.isSet))])
	r.warnings = append(r.warnings, Warning{r.file, at.Line, at.Column, path, wrong(
		"is a kind of key that "+known.issuer+" does not sign, so pods would not start", key.String(),
		"use "+known.supported+", or another issuer")})
}
