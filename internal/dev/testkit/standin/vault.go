// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// VaultPath is what spec.vault.path of an issuer has to say.
const VaultPath = "pki/sign/spiffe"

// VaultRole is a role of Vault's PKI secrets engine, as far as it decides about an
// SVID. The fields are called as in Vault's API.
type VaultRole struct {
	// AllowedURISANs are patterns in which * stands for any text. Without one, no
	// URI is signed.
	AllowedURISANs []string
	// RequireCN refuses a request without a common name, which an SVID's is.
	RequireCN bool
	// KeyType is rsa, ec, ed25519 or any; KeyBits is the least size for rsa and ec.
	KeyType string
	KeyBits int
	// KeyUsage, ServerFlag and ClientFlag are what is signed: Vault does not look at
	// the usages of the request.
	KeyUsage               x509.KeyUsage
	ServerFlag, ClientFlag bool
	// Organization is put into each subject.
	Organization []string
	// MaxTTL limits the lifetime without an error. Zero: no limit.
	MaxTTL time.Duration
	// NotBeforeDuration is how far each certificate is dated back.
	NotBeforeDuration time.Duration
}

// DefaultVaultRole is what Vault makes of `vault write pki/roles/spiffe` without any
// setting, for which see [the API].
//
// [the API]: https://developer.hashicorp.com/vault/api-docs/secret/pki#create-update-role
func DefaultVaultRole() VaultRole {
	return VaultRole{
		RequireCN: true, KeyType: "rsa", KeyBits: 2048,
		KeyUsage:   x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement | x509.KeyUsageKeyEncipherment,
		ServerFlag: true, ClientFlag: true, NotBeforeDuration: 30 * time.Second,
	}
}

// Vault is a stand-in for a Vault server with one role, at [VaultPath].
type Vault struct {
	// URL is what spec.vault.server of an issuer has to say.
	URL string
	// Token is the one token that may sign.
	Token string

	server    *httptest.Server
	authority *authority
	role      VaultRole
}

// NewVault starts a server whose role signs with ca. Close stops it.
func NewVault(ca testkit.CA, role VaultRole) (*Vault, error) {
	a, err := newAuthority(ca)
	if err != nil {
		return nil, err
	}
	v := &Vault{authority: a, role: role, Token: rand.Text()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/sys/health", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"initialized": true, "sealed": false, "standby": false})
	})
	mux.HandleFunc("POST "+path.Join("/v1", VaultPath), v.serveSign)
	v.server = httptest.NewServer(mux)
	v.URL = v.server.URL
	return v, nil
}

// Close stops the server.
func (v *Vault) Close() { v.server.Close() }

// serveSign is POST /v1/pki/sign/ROLE.
func (v *Vault) serveSign(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Vault-Token") != v.Token {
		reply(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	var request struct {
		CSR string `json:"csr"`
		TTL string `json:"ttl"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"errors": []string{err.Error()}})
		return
	}
	certificate, err := v.sign(request.CSR, request.TTL)
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"errors": []string{err.Error()}})
		return
	}
	reply(w, http.StatusOK, map[string]any{"data": map[string]any{
		"certificate": certificate, "issuing_ca": v.authority.chain[0], "ca_chain": v.authority.chain,
	}})
}

func (v *Vault) sign(text, ttl string) (string, error) {
	csr, err := parseCSR([]byte(text))
	if err != nil {
		return "", err
	}
	lifetime, err := time.ParseDuration(ttl)
	if err != nil {
		return "", fmt.Errorf("ttl: %w", err)
	}
	if err := errors.Join(v.role.checkKey(csr.PublicKey), v.role.checkNames(csr)); err != nil {
		return "", err
	}
	if v.role.MaxTTL > 0 {
		lifetime = min(lifetime, v.role.MaxTTL)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: csr.Subject.CommonName, Organization: v.role.Organization}, URIs: csr.URIs,
		NotBefore: now.Add(-v.role.NotBeforeDuration), NotAfter: now.Add(lifetime), KeyUsage: v.role.KeyUsage,
	}
	if v.role.ServerFlag {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if v.role.ClientFlag {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return v.authority.sign(template, csr.PublicKey)
}

// checkKey and checkNames say what Vault says (builtin/logical/pki/issuing, functions
// SignCert and GenerateCreationBundle), with use_csr_common_name and use_csr_sans set,
// as they are by default.
func (r VaultRole) checkKey(public any) error {
	kind, bits := "", 0
	switch key := public.(type) {
	case *rsa.PublicKey:
		kind, bits = "rsa", key.N.BitLen()
	case *ecdsa.PublicKey:
		kind, bits = "ec", key.Params().BitSize
	case ed25519.PublicKey:
		kind, bits = "ed25519", r.KeyBits
	}
	switch {
	case r.KeyType == "any":
		return nil // There is a least size then, which no key of an SVID is below.
	case kind != r.KeyType:
		return fmt.Errorf("role requires keys of type %s", r.KeyType)
	case bits < r.KeyBits:
		return fmt.Errorf("role requires a minimum of a %d-bit key, but CSR's key is %d bits", r.KeyBits, bits)
	default:
		return nil
	}
}

func (r VaultRole) checkNames(csr *x509.CertificateRequest) error {
	switch {
	case csr.Subject.CommonName == "" && r.RequireCN:
		return errors.New(`the common_name field is required, or must be provided in a CSR with "use_csr_common_name" set to true, unless "require_cn" is set to false`)
	case len(csr.URIs) > 0 && len(r.AllowedURISANs) == 0:
		return errors.New("URI Subject Alternative Names are not allowed in this role, but were provided via CSR")
	case slices.ContainsFunc(csr.URIs, func(uri *url.URL) bool { return !r.allows(uri.String()) }):
		return errors.New("URI Subject Alternative Names were provided via CSR which are not valid for this role")
	default:
		return nil
	}
}

func (r VaultRole) allows(uri string) bool {
	return slices.ContainsFunc(r.AllowedURISANs, func(pattern string) bool { return matches(pattern, uri) })
}

// matches reports whether the parts of the pattern between its asterisks are in the
// text, in order and from end to end.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	last := len(parts) - 1
	text, found := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1:last] {
		var here bool
		_, text, here = strings.Cut(text, part)
		found = found && here
	}
	return found && strings.HasSuffix(text, parts[last])
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
