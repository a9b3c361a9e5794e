// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

func TestTokenMayComeInSecretsOrContext(t *testing.T) {
	t.Parallel()
	good := tokens(map[string]string{"": testToken()})
	other := tokens(map[string]string{"": fakeToken("other", "other", "other", "other")})
	for _, row := range []struct {
		name             string
		secrets, context string
	}{
		{"in secrets", good, ""},
		{"in the context", "", good},
		{"in both", good, good},
		{"secrets win", good, other},
		{"secrets win over garbage", good, "{"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := parsePublish(withTokens(row.secrets, row.context), testConfig(t))
			check(t, err)
			if got.token.secret.Reveal() != testToken() {
				t.Error("not the token that was sent")
			}
		})
	}
}

// withTokens is a good request but for its tokens; empty is for none.
func withTokens(secrets, context string) *csi.NodePublishVolumeRequest {
	req := goodRequest()
	delete(req.VolumeContext, keyTokens)
	if context != "" {
		req.VolumeContext[keyTokens] = context
	}
	if secrets != "" {
		req.Secrets = map[string]string{keyTokens: secrets, "other": "secret"}
	}
	return req
}

func TestTokenIsRefused(t *testing.T) {
	t.Parallel()
	one := func(raw string) string { return tokens(map[string]string{"": raw}) }
	good := testToken()
	parts := strings.Split(good, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	for _, row := range []struct {
		name             string
		secrets, context string
		want             error
		code             codes.Code
		fragment         string
	}{
		{"none", "", "", errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"of another audience only", "", tokens(map[string]string{"vault": good}), errNoToken, codes.FailedPrecondition, `audience ""`},
		{"not JSON", "", good, errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"JSON cut short", "", one(good)[:200], errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"JSON of another form", "", `{"": "` + good + `"}`, errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"null", "", "null", errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"an empty token", "", one(""), errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"garbage in secrets, good in the context", "{", one(good), errNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"not a JWT", "", one("abc"), spiffe.ErrMalformedToken, codes.InvalidArgument, "ServiceAccount token from the kubelet"},
		{"cut short", "", one(good[:len(good)/2]), spiffe.ErrMalformedToken, codes.InvalidArgument, "token"},
		{"unsigned", "", one(unsigned), spiffe.ErrMalformedToken, codes.InvalidArgument, "token"},
		{"with a newline", "", one(good + "\n"), spiffe.ErrMalformedToken, codes.InvalidArgument, "token"},
		{"of no pod", "", one(fakeToken("sandbox", "example-app", "", "")), spiffe.ErrTokenClaims, codes.InvalidArgument, "pod.name"},
		{"of another namespace", "", one(fakeToken("other", "example-app", "web-0", testPodUID)), errWrongPod, codes.InvalidArgument, keyPodNamespace},
		{"of another ServiceAccount", "", one(fakeToken("sandbox", "other", "web-0", testPodUID)), errWrongPod, codes.InvalidArgument, keyServiceAccount},
		{"of another pod", "", one(fakeToken("sandbox", "example-app", "web-1", testPodUID)), errWrongPod, codes.InvalidArgument, keyPodName},
		{"of an earlier pod of this name", "", one(fakeToken("sandbox", "example-app", "web-0", "0b4d4a5a")), errWrongPod, codes.InvalidArgument, keyPodUID},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := parsePublish(withTokens(row.secrets, row.context), testConfig(t))
			mustBeRefused(t, got, err, row.want, row.code, row.fragment)
			mustNotTell(t, err.Error(), "the error")
			mustNotTell(t, toStatus(err).Error(), "the status")
		})
	}
}

// mustNotTell fails the test if there is a telling part of the token in a text.
func mustNotTell(t *testing.T, text, where string) {
	t.Helper()
	const part = 16
	token := testToken()
	for i := 0; i+part <= len(token); i += part {
		if strings.Contains(text, token[i:i+part]) {
			t.Fatalf("%s has the token in it: %.300s", where, text)
		}
	}
}

func TestPrintingWhatHoldsATokenDoesNotTellIt(t *testing.T) {
	t.Parallel()
	request, err := parsePublish(goodRequest(), testConfig(t))
	check(t, err)
	state := &volumeState{id: testVolume, token: request.token}
	for name, value := range map[string]any{
		"a request": request, "a pointer to a request": &request, "requests": []publishRequest{request},
		"a token": request.token, "a pointer to a token": &request.token, "tokens": map[string]podToken{"a": request.token},
		"a volume": state, "an error": fmt.Errorf("publishing %v", request),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			mustNotTell(t, fmt.Sprintf(verb, value), name+" printed with "+verb)
		}
		var out bytes.Buffer
		options := &slog.HandlerOptions{Level: slog.LevelDebug}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, options), slog.NewJSONHandler(&out, options)} {
			log := slog.New(handler)
			log.Debug("x", "value", value)
			log.With("value", value).WithGroup("g").Info("x", "value", value)
		}
		mustNotTell(t, out.String(), name+" in the log")
	}
	if got := request.token.LogValue().String(); got != "[redacted]" {
		t.Errorf("a token is logged as %s", got)
	}
}

// The node service logs each refusal; what it logs has no token in it either.
func TestTheLogOfAFailedPublishDoesNotTellTheToken(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := newTestDriver(t, slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	req := goodRequest()
	req.VolumeContext[keyTokens] = tokens(map[string]string{"": testToken() + "!"})
	req.Secrets = map[string]string{"other": testToken()}
	if _, err := (&nodeServer{driver: d}).NodePublishVolume(context.Background(), req); err == nil {
		t.Fatal("no error")
	} else {
		mustNotTell(t, err.Error(), "the answer")
	}
	mustNotTell(t, out.String(), "the log")
	if !strings.Contains(out.String(), `"pod":"sandbox/web-0"`) {
		t.Errorf("the log does not name the pod: %s", out.String())
	}
}

func TestTokenUsable(t *testing.T) {
	t.Parallel()
	now, raw := time.Now(), "token"
	for name, row := range map[string]struct {
		token podToken
		want  bool
	}{
		"none":         {podToken{}, false},
		"fresh":        {podToken{issuance.NewToken(raw), spiffe.PodToken{Expiry: now.Add(time.Second)}}, true},
		"expires now":  {podToken{issuance.NewToken(raw), spiffe.PodToken{Expiry: now}}, false},
		"has expired":  {podToken{issuance.NewToken(raw), spiffe.PodToken{Expiry: now.Add(-time.Second)}}, false},
		"only claimed": {podToken{issuance.Token{}, spiffe.PodToken{Expiry: now.Add(time.Hour)}}, false},
	} {
		if got := row.token.usable(now); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}
