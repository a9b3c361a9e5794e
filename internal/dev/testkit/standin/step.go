// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// stepProvisioner is the name of the JWK provisioner.
const stepProvisioner = "spiffe"

// Step is a real step-ca, and the client of it that step-issuer is.
type Step struct {
	url    string
	client *http.Client
	key    *ecdsa.PrivateKey
	keyID  string
	root   []byte

	command *exec.Cmd
}

// StartStep runs step-ca, a program of internal/dev/tools/step-ca, in a folder of its own,
// with an intermediate of root, its default settings and one JWK provisioner. It
// returns when step-ca answers. Close ends it.
func StartStep(ctx context.Context, program, folder string, root testkit.CA, log io.Writer) (*Step, error) {
	address, err := testkit.FreeAddress()
	if err != nil {
		return nil, err
	}
	s := &Step{url: "https://" + address, root: root.CertificatePEM}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	file, err := s.configure(folder, address, root)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root.CertificatePEM)
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	s.command = exec.Command(program, file)
	s.command.Env = append(os.Environ(), "STEPPATH="+folder)
	s.command.Stdout, s.command.Stderr = log, log
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	if err := s.wait(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends step-ca.
func (s *Step) Close() {
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
}

// configure writes what step-ca reads.
func (s *Step) configure(folder, address string, root testkit.CA) (string, error) {
	intermediate, err := root.NewIntermediate("step-ca")
	if err != nil {
		return "", err
	}
	jwk := jose.JSONWebKey{Key: s.key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	s.keyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	jwk.KeyID = s.keyID
	in := func(name string) string { return filepath.Join(folder, name) }
	config, err := json.Marshal(map[string]any{
		"root": in("root.crt"), "crt": in("intermediate.crt"), "key": in("intermediate.key"),
		"address": address, "dnsNames": []string{"127.0.0.1"},
		"authority": map[string]any{"provisioners": []any{map[string]any{"type": "JWK", "name": stepProvisioner, "key": jwk}}},
	})
	if err != nil {
		return "", err
	}
	var errs []error
	for name, content := range map[string][]byte{
		"root.crt": root.CertificatePEM, "intermediate.key": intermediate.KeyPEM, "ca.json": config,
		// Without the root, as step-ca wants it.
		"intermediate.crt": bytes.TrimSuffix(intermediate.CertificatePEM, root.CertificatePEM),
	} {
		errs = append(errs, os.WriteFile(in(name), content, 0o600))
	}
	return in("ca.json"), errors.Join(errs...)
}

func (s *Step) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := s.call(ctx, http.MethodGet, "/health", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("step-ca does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Sign does what step-issuer does with an approved CertificateRequest (version 0.10,
// provisioners/step.go): a one-time token for the names of the CSR, whose subject is its
// common name or else its first name; and the duration as it is.
func (s *Step) Sign(ctx context.Context, csrPEM []byte, duration time.Duration) (chain, ca []byte, err error) {
	csr, err := parseCSR(csrPEM)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, uri := range csr.URIs {
		names = append(names, uri.String())
	}
	if len(names) == 0 {
		return nil, nil, errors.New("this stand-in signs URIs alone, and the CSR has none")
	}
	token, err := s.token(names)
	if err != nil {
		return nil, nil, err
	}
	answer, err := s.call(ctx, http.MethodPost, "/1.0/sign", map[string]any{"csr": string(csrPEM), "ott": token, "notAfter": duration.String()})
	if err != nil {
		return nil, nil, err
	}
	var signed struct {
		CertChain []string `json:"certChain"`
	}
	if err := json.Unmarshal(answer, &signed); err != nil {
		return nil, nil, err
	}
	return []byte(strings.Join(signed.CertChain, "")), s.root, nil
}

func (s *Step) token(names []string) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.keyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: stepProvisioner, Subject: names[0], Audience: jwt.Audience{s.url + "/1.0/sign"}, ID: rand.Text(),
		NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute)),
	}).Claims(map[string]any{"sans": names}).Serialize()
}

func (s *Step) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("step-ca says %s: %s", answer.Status, text)
	}
	return text, err
}
