// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// Where the private CA is, and its name.
const (
	AWSRegion = "eu-central-1"
	AWSPCAARN = "arn:aws:acm-pca:" + AWSRegion + ":123456789012:certificate-authority/11111111-2222-3333-4444-555555555555"
)

// awsBackdate is how far AWS Private CA dates a certificate back of whose NotBefore
// the request says nothing (IssueCertificate, ValidityNotBefore).
const awsBackdate = time.Hour

// AWSPCA is a stand-in for AWS Private CA with one CA, [AWSPCAARN], and for the one
// call of AWS's Security Token Service by which the controller looks who it is.
type AWSPCA struct {
	// URL is what AWS_ENDPOINT_URL has to say.
	URL string

	server    *httptest.Server
	authority *authority

	mu sync.Mutex
	// issued has the certificates by their ARN, and arns these by idempotency token.
	issued map[string]*awsCertificate
	arns   map[string]string
}

// awsCertificate is ready when it has been asked for once: AWS signs after it has
// answered.
type awsCertificate struct {
	text  string
	asked bool
}

// NewAWSPCA starts a server whose private CA is ca. Close stops it.
func NewAWSPCA(ca testkit.CA) (*AWSPCA, error) {
	a, err := newAuthority(ca)
	if err != nil {
		return nil, err
	}
	p := &AWSPCA{authority: a, issued: map[string]*awsCertificate{}, arns: map[string]string{}}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	p.URL = p.server.URL
	return p, nil
}

// Close stops the server.
func (p *AWSPCA) Close() { p.server.Close() }

// awsError is an error as the API names it.
type awsError struct{ name, message string }

func (e awsError) Error() string { return e.name + ": " + e.message }

func (p *AWSPCA) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The client is gone.
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "ACMPrivateCA.")
	var answer any
	switch {
	case strings.Contains(string(body), "Action=GetCallerIdentity"):
		serveCallerIdentity(w)
		return
	case operation == "DescribeCertificateAuthority":
		answer = map[string]any{"CertificateAuthority": map[string]any{
			"Arn": AWSPCAARN, "Status": "ACTIVE", "Type": "SUBORDINATE",
			"CertificateAuthorityConfiguration": map[string]any{"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA"},
		}}
	case operation == "IssueCertificate":
		answer, err = p.issue(body)
	case operation == "GetCertificate":
		answer, err = p.get(body)
	default:
		err = awsError{"UnknownOperationException", "this stand-in has no operation " + operation}
	}
	var known awsError
	switch {
	case errors.As(err, &known):
		reply(w, http.StatusBadRequest, map[string]any{"__type": known.name, "message": known.message})
	case err != nil:
		reply(w, http.StatusBadRequest, map[string]any{"__type": "InvalidArgsException", "message": err.Error()})
	default:
		reply(w, http.StatusOK, answer)
	}
}

func serveCallerIdentity(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/xml")
	_, _ = io.WriteString(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
		`<Arn>arn:aws:iam::123456789012:user/pca</Arn><UserId>AIDA</UserId><Account>123456789012</Account>`+
		`</GetCallerIdentityResult></GetCallerIdentityResponse>`)
}

// awsValidity is a point in time, in seconds since 1970.
type awsValidity struct {
	Type  string
	Value int64
}

// awsIssueCertificate is what IssueCertificate is given.
type awsIssueCertificate struct {
	CertificateAuthorityArn, SigningAlgorithm, TemplateArn, IdempotencyToken string

	Csr               []byte
	Validity          awsValidity
	ValidityNotBefore *awsValidity
}

func (p *AWSPCA) issue(body []byte) (any, error) {
	var request awsIssueCertificate
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	arn, repeated := p.arns[request.IdempotencyToken]
	if !repeated {
		text, err := p.sign(&request)
		if err != nil {
			return nil, err
		}
		arn = fmt.Sprintf("%s/certificate/%032x", AWSPCAARN, len(p.issued))
		p.issued[arn], p.arns[request.IdempotencyToken] = &awsCertificate{text: text}, arn
	}
	return map[string]any{"CertificateArn": arn}, nil
}

func (p *AWSPCA) sign(request *awsIssueCertificate) (string, error) {
	csr, err := parseCSR(request.Csr)
	if err != nil {
		return "", awsError{"MalformedCSRException", err.Error()}
	}
	switch {
	case request.CertificateAuthorityArn != AWSPCAARN:
		return "", awsError{"ResourceNotFoundException", "could not find " + request.CertificateAuthorityArn}
	case request.SigningAlgorithm != "SHA256WITHECDSA":
		return "", awsError{"InvalidArgsException", "signing algorithm " + request.SigningAlgorithm + " cannot be used with key type EC_prime256v1"}
	case request.Validity.Type != "ABSOLUTE" || request.ValidityNotBefore != nil && request.ValidityNotBefore.Type != "ABSOLUTE":
		return "", awsError{"InvalidArgsException", "this stand-in knows validity of type ABSOLUTE alone"}
	}
	if err := checkAWSRequest(csr); err != nil {
		return "", err
	}
	template := &x509.Certificate{
		RawSubject: csr.RawSubject, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-awsBackdate), NotAfter: time.Unix(request.Validity.Value, 0),
	}
	if request.ValidityNotBefore != nil {
		template.NotBefore = time.Unix(request.ValidityNotBefore.Value, 0)
	}
	if err := fillAWSTemplate(template, request.TemplateArn, csr); err != nil {
		return "", err
	}
	return p.authority.sign(template, csr.PublicKey)
}

// checkAWSRequest refuses what AWS Private CA is known to refuse: a name that only a
// reader of a non-critical extension finds (github.com/cert-manager/istio-csr, issue
// 90), and by its documentation an Ed25519 key.
func checkAWSRequest(csr *x509.CertificateRequest) error {
	for _, extension := range csr.Extensions {
		if extension.Id.Equal(oidSubjectAltName) && !extension.Critical && len(csr.Subject.Names) == 0 {
			return awsError{"MalformedCSRException", "CSR must mark the SAN extension critical when it has an empty subject"}
		}
	}
	if _, found := csr.PublicKey.(ed25519.PublicKey); found {
		return awsError{"MalformedCSRException", "the public key algorithm is not supported"}
	}
	return nil
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// fillAWSTemplate gives a certificate the extensions of one of AWS's [templates].
//
// [templates]: https://docs.aws.amazon.com/privateca/latest/userguide/template-definitions.html
func fillAWSTemplate(certificate *x509.Certificate, template string, csr *x509.CertificateRequest) error {
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	endEntity := map[string][]x509.ExtKeyUsage{
		"EndEntityCertificate/V1":           {server, client},
		"EndEntityServerAuthCertificate/V1": {server},
		"EndEntityClientAuthCertificate/V1": {client},
	}
	_, name, _ := strings.Cut(template, ":template/")
	switch usages, found := endEntity[name]; {
	case found: // names from the CSR, usages from the template
		certificate.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		certificate.ExtKeyUsage = usages
		for _, extension := range csr.Extensions {
			if extension.Id.Equal(oidSubjectAltName) {
				certificate.ExtraExtensions = append(certificate.ExtraExtensions, extension)
			}
		}
	case name == "BlankEndEntityCertificate_APICSRPassthrough/V1": // all of the CSR, and no more
		certificate.ExtraExtensions = slices.Clone(csr.Extensions)
	default:
		return awsError{"InvalidArgsException", "this stand-in has no template " + template}
	}
	return nil
}

func (p *AWSPCA) get(body []byte) (any, error) {
	var request struct{ CertificateArn string }
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	certificate, found := p.issued[request.CertificateArn]
	switch {
	case !found:
		return nil, awsError{"ResourceNotFoundException", "could not find " + request.CertificateArn}
	case !certificate.asked:
		certificate.asked = true
		return nil, awsError{"RequestInProgressException", "the certificate is not ready yet"}
	}
	return map[string]any{"Certificate": certificate.text, "CertificateChain": strings.Join(p.authority.chain, "\n")}, nil
}
