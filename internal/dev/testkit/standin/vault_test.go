// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package standin_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/standin"
)

// Each setting of the role that an SVID depends on, with the default of Vault's, is
// refused in Vault's words.
func TestVaultRoleRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*standin.VaultRole)
		token  string
		want   string // "" when it is signed
	}{
		"nothing of an allowed SVID": {change: func(*standin.VaultRole) {}},
		"a token that it does not know": {
			change: func(*standin.VaultRole) {}, token: "other", want: "permission denied",
		},
		"a request without common name": {
			change: func(r *standin.VaultRole) { r.RequireCN = true }, want: "the common_name field is required",
		},
		"URIs where none is allowed": {
			change: func(r *standin.VaultRole) { r.AllowedURISANs = nil }, want: "URI Subject Alternative Names are not allowed in this role",
		},
		"the URI of another trust domain": {
			change: func(r *standin.VaultRole) { r.AllowedURISANs = []string{"spiffe://other.example/ns/*/sa/*"} },
			want:   "provided via CSR which are not valid for this role",
		},
		"an ECDSA key with the default key_type": {
			change: func(r *standin.VaultRole) { r.KeyType = "rsa" }, want: "role requires keys of type rsa",
		},
		"a key that is too small": {
			change: func(r *standin.VaultRole) { r.KeyBits = 384 }, want: "role requires a minimum of a 384-bit key, but CSR's key is 256 bits",
		},
		"nothing with key_type any": {change: func(r *standin.VaultRole) { r.KeyType, r.KeyBits = "any", 0 }},
	}
	ca, err := testkit.NewCA("vault")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			role := standin.DefaultVaultRole()
			role.AllowedURISANs, role.RequireCN = []string{"spiffe://test.example.org/ns/*/sa/*"}, false
			role.KeyType, role.KeyBits = "ec", 256
			test.change(&role)
			vault, err := standin.NewVault(ca, role)
			if err != nil {
				t.Fatal(err)
			}
			defer vault.Close()
			status, body := post(t, vault, test.token)
			if signed := status == http.StatusOK; signed != (test.want == "") || !strings.Contains(body, test.want) {
				t.Errorf("status %d, %s: want %q", status, body, test.want)
			}
		})
	}
}

// post sends a request for an SVID with a P-256 key.
func post(t *testing.T, vault *standin.Vault, token string) (status int, body string) {
	t.Helper()
	key, err := csr.KeySpec{Algorithm: csr.ECDSA, Size: 256}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Build(spiffeid.RequireFromString("spiffe://test.example.org/ns/sandbox/sa/web"), key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{"csr": string(request), "ttl": "1h0m0s"})
	if err != nil {
		t.Fatal(err)
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, vault.URL+"/v1/"+standin.VaultPath, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if token == "" {
		token = vault.Token
	}
	post.Header.Set("X-Vault-Token", token)
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, strings.ReplaceAll(string(text), `\"`, `"`)
}
