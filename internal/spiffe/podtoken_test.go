// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// The claims of a token as an API server makes it, one to a line so that a test
// can change them.
const payload = `{
	"aud": ["https://kubernetes.default.svc"],
	"exp": 1893456000,
	"iat": 1893452400,
	"iss": "https://kubernetes.default.svc",
	"jti": "5f0d8cf3-9a6d-4f49-8a2f-0c1b46c5a1d7",
	"kubernetes.io": {
		"namespace": "sandbox",
		"node": {"name": "worker-1", "uid": "0b4d4a5a-7b1c-4bb0-9f7e-2a6f6f1a9e11"},
		"pod": {"name": "example-app-6d4b75cb6d-hx9vq", "uid": "c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42"},
		"serviceaccount": {"name": "example-app", "uid": "e1a5c0de-3d8b-4c57-a1f3-8f4b2e6d9c01"}
	},
	"nbf": 1893452400,
	"sub": "system:serviceaccount:sandbox:example-app"
}`

const header = `{"alg":"RS256","kid":"9nqAXFmD2yQ8sR0hTbJ4wVuKpLcEo6ZgYxWi1MtNrSs"}`

func makeToken(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signature := sha512.Sum512([]byte("a signature nobody made"))
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode(signature[:])
}

func changed(old, replacement string) string {
	if strings.Count(payload, old) != 1 {
		panic("not in the payload once: " + old)
	}
	return makeToken(header, strings.Replace(payload, old, replacement, 1))
}

func TestParsePodToken(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{
		"RS256": header, "ES256": `{"alg":"ES256"}`, "ES384": `{"alg":"ES384"}`, "PS256": `{"alg":"PS256"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := spiffe.ParsePodToken(makeToken(header, payload))
			if err != nil {
				t.Fatal(err)
			}
			want := spiffe.PodToken{
				ServiceAccount: got.ServiceAccount,
				PodName:        "example-app-6d4b75cb6d-hx9vq",
				PodUID:         "c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42",
				NodeName:       "worker-1",
				Expiry:         got.Expiry,
			}
			if got != want || got.ServiceAccount.String() != "sandbox/example-app" ||
				!got.Expiry.Equal(time.Unix(1893456000, 0)) {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("no node", func(t *testing.T) {
		t.Parallel()
		got, err := spiffe.ParsePodToken(changed(`"node": {"name": "worker-1", "uid": "0b4d4a5a-7b1c-4bb0-9f7e-2a6f6f1a9e11"},`, ""))
		if err != nil || got.NodeName != "" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestParsePodTokenRefuses(t *testing.T) {
	t.Parallel()
	good := makeToken(header, payload)
	parts := strings.Split(good, ".")
	for _, test := range []struct {
		name, token string
		want        error
	}{
		{"empty", "", spiffe.ErrMalformedToken},
		{"two parts", parts[0] + "." + parts[1], spiffe.ErrMalformedToken},
		{"four parts", good + ".x", spiffe.ErrMalformedToken},
		{"no signature", parts[0] + "." + parts[1] + ".", spiffe.ErrMalformedToken},
		{"line break behind", good + "\n\n", spiffe.ErrMalformedToken},
		{"line break within", parts[0] + ".\n" + parts[1] + "." + parts[2], spiffe.ErrMalformedToken},
		{"padding", good + "=", spiffe.ErrMalformedToken},
		{"bearer", "Bearer " + good, spiffe.ErrMalformedToken},
		{"header not base64", "!" + good, spiffe.ErrMalformedToken},
		{"header not JSON", makeToken(`{"alg":`, payload), spiffe.ErrMalformedToken},
		{"algorithm none", makeToken(`{"alg":"none"}`, payload), spiffe.ErrMalformedToken},
		{"algorithm HS256", makeToken(`{"alg":"HS256"}`, payload), spiffe.ErrMalformedToken},
		{"algorithm missing", makeToken(`{}`, payload), spiffe.ErrMalformedToken},
		{"payload not base64", parts[0] + ".!" + parts[1] + "." + parts[2], spiffe.ErrMalformedToken},
		{"payload not JSON", makeToken(header, payload[:60]), spiffe.ErrMalformedToken},
		{"payload a list", makeToken(header, "["+payload+"]"), spiffe.ErrMalformedToken},
		{"claim of wrong type", changed(`"namespace": "sandbox"`, `"namespace": ["sandbox"]`), spiffe.ErrMalformedToken},
		{"expiry a string", changed(`"exp": 1893456000`, `"exp": "1893456000"`), spiffe.ErrMalformedToken},
		{"full JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, spiffe.ErrMalformedToken},
		{"too long", good + strings.Repeat("A", 64<<10), spiffe.ErrMalformedToken},
		{"no claims", makeToken(header, "{}"), spiffe.ErrTokenClaims},
		{"person", changed("system:serviceaccount:sandbox:example-app", "alice"), spiffe.ErrTokenClaims},
		{"other namespace", changed(`"namespace": "sandbox"`, `"namespace": "kube-system"`), spiffe.ErrTokenClaims},
		{"other ServiceAccount", changed(`{"name": "example-app",`, `{"name": "admin",`), spiffe.ErrTokenClaims},
		{"other subject", changed("system:serviceaccount:sandbox:example-app", "system:serviceaccount:sandbox:admin"), spiffe.ErrTokenClaims},
		{"no private claims", changed(`"kubernetes.io"`, `"kubernetes.example"`), spiffe.ErrTokenClaims},
		{"not bound to a pod", changed(`"pod"`, `"secret"`), spiffe.ErrTokenClaims},
		{"no pod name", changed("example-app-6d4b75cb6d-hx9vq", ""), spiffe.ErrTokenClaims},
		{"pod name a path", changed("example-app-6d4b75cb6d-hx9vq", "../x"), spiffe.ErrTokenClaims},
		{"no pod UID", changed("c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42", ""), spiffe.ErrTokenClaims},
		{"pod UID a path", changed("c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42", "../../etc"), spiffe.ErrTokenClaims},
		{"node a path", changed("worker-1", "../x"), spiffe.ErrTokenClaims},
		{"no expiry", changed(`"exp": 1893456000,`, ""), spiffe.ErrTokenClaims},
		{"expiry zero", changed(`"exp": 1893456000`, `"exp": 0`), spiffe.ErrTokenClaims},
		{"expiry after year 9999", changed(`"exp": 1893456000`, `"exp": 253402300800`), spiffe.ErrTokenClaims},
		{"expiry negative", changed(`"exp": 1893456000`, `"exp": -5`), spiffe.ErrTokenClaims},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := spiffe.ParsePodToken(test.token)
			if !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if got != (spiffe.PodToken{}) {
				t.Errorf("got %+v with an error", got)
			}
			requireNoTokenMaterial(t, err, test.token)
		})
	}
}

// requireNoTokenMaterial fails if the error holds any eight characters in a row
// of the token, or of what its parts decode to. Texts that errors have of their
// own are let pass.
func requireNoTokenMaterial(t *testing.T, err error, token string) {
	t.Helper()
	if err == nil {
		return
	}
	const window = 8
	texts := []string{token}
	for _, part := range strings.Split(token, ".") {
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil {
			texts = append(texts, string(decoded))
		}
	}
	for _, own := range []string{"kubernetes", "ServiceAccount", "serviceaccount", "namespace", "signature"} {
		for i, text := range texts {
			texts[i] = strings.ReplaceAll(text, own, "\x00")
		}
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%q"} {
		message := fmt.Sprintf(form, err)
		for _, text := range texts {
			for i := 0; i+window <= len(text); i++ {
				if strings.Contains(message, text[i:i+window]) {
					t.Fatalf("error holds %q of the token: %s", text[i:i+window], message)
				}
			}
		}
	}
}

func FuzzParsePodToken(f *testing.F) {
	f.Add(header, payload)
	f.Add(`{"alg":"none"}`, payload)
	f.Add(header, `{"sub":"system:serviceaccount:a:b","exp":1e400}`)
	f.Add(header, `{"sub":"system:serviceaccount:a:b","exp":1,"kubernetes.io":{"namespace":"a","serviceaccount":{"name":"b"},"pod":{"name":"c","uid":"d"}}}`)
	td := spiffeid.RequireTrustDomainFromString("my.trust.domain")
	f.Fuzz(func(t *testing.T, header, payload string) {
		for _, token := range []string{makeToken(header, payload), header + "." + payload} {
			got, err := spiffe.ParsePodToken(token)
			if err != nil {
				if !errors.Is(err, spiffe.ErrMalformedToken) && !errors.Is(err, spiffe.ErrTokenClaims) || got != (spiffe.PodToken{}) {
					t.Fatalf("got %+v with error %v", got, err)
				}
				continue
			}
			if _, err := got.ServiceAccount.ID(td); err != nil || got.PodName == "" || got.PodUID == "" {
				t.Fatalf("accepted, but has no identity: %+v, %v", got, err)
			}
			if _, err := json.Marshal(got.Expiry); err != nil {
				t.Fatalf("accepted, but expires at no date: %v", err)
			}
		}
	})
}
