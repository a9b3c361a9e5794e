// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

func TestTokenMayComeInSecretsOrContext(t *testing.T) {
	t.Parallel()
	good := csitest.Tokens(map[string]string{"": csitest.Token()})
	other := csitest.Tokens(map[string]string{"": csitest.FakeToken("other", "other", "other", "other")})
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
			s := serve(t)
			got := mustBePublished(t, s, withTokens(s.publishRequest(), row.secrets, row.context))
			if got.Token.Secret.Reveal() != csitest.Token() {
				t.Error("not the token that was sent")
			}
		})
	}
}

// withTokens gives a request other tokens; empty is for none.
func withTokens(req *csi.NodePublishVolumeRequest, secrets, context string) *csi.NodePublishVolumeRequest {
	delete(req.VolumeContext, csitest.KeyTokens)
	if context != "" {
		req.VolumeContext[csitest.KeyTokens] = context
	}
	if secrets != "" {
		req.Secrets = map[string]string{csitest.KeyTokens: secrets, "other": "secret"}
	}
	return req
}

func TestTokenIsRefused(t *testing.T) {
	t.Parallel()
	one := func(raw string) string { return csitest.Tokens(map[string]string{"": raw}) }
	good := csitest.Token()
	parts := strings.Split(good, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	for _, row := range []struct {
		name             string
		secrets, context string
		want             error
		code             codes.Code
		fragment         string
	}{
		{"none", "", "", csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"of another audience only", "", csitest.Tokens(map[string]string{"vault": good}), csiserver.ErrNoToken, codes.FailedPrecondition, `audience ""`},
		{"not JSON", "", good, csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"JSON cut short", "", one(good)[:200], csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"JSON of another form", "", `{"": "` + good + `"}`, csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"null", "", "null", csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"an empty token", "", one(""), csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"garbage in secrets, good in the context", "{", one(good), csiserver.ErrNoToken, codes.FailedPrecondition, "spec.tokenRequests"},
		{"not a JWT", "", one("abc"), spiffe.ErrMalformedToken, codes.InvalidArgument, "ServiceAccount token from the kubelet"},
		{"cut short", "", one(good[:len(good)/2]), spiffe.ErrMalformedToken, codes.InvalidArgument, "token"},
		{"unsigned", "", one(unsigned), spiffe.ErrMalformedToken, codes.InvalidArgument, "token"},
		{"with a newline", "", one(good + "\n"), spiffe.ErrMalformedToken, codes.InvalidArgument, "token"},
		{"of no pod", "", one(csitest.FakeToken("sandbox", "example-app", "", "")), spiffe.ErrTokenClaims, codes.InvalidArgument, "pod.name"},
		{"of another namespace", "", one(csitest.FakeToken("other", "example-app", "web-0", csitest.PodUID)), manager.ErrWrongPod, codes.InvalidArgument, csitest.KeyPodNamespace},
		{"of another ServiceAccount", "", one(csitest.FakeToken("sandbox", "other", "web-0", csitest.PodUID)), manager.ErrWrongPod, codes.InvalidArgument, csitest.KeyServiceAccount},
		{"of another pod", "", one(csitest.FakeToken("sandbox", "example-app", "web-1", csitest.PodUID)), manager.ErrWrongPod, codes.InvalidArgument, csitest.KeyPodName},
		{"of an earlier pod of this name", "", one(csitest.FakeToken("sandbox", "example-app", "web-0", "0b4d4a5a")), manager.ErrWrongPod, codes.InvalidArgument, csitest.KeyPodUID},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := serveDefault(t)
			err := mustBeRefused(t, s, withTokens(csitest.PublishRequest(), row.secrets, row.context), row.want, row.code, row.fragment)
			csitest.MustNotTell(t, s.volumes.cause.Error(), "the error")
			csitest.MustNotTell(t, err.Error(), "the status")
			csitest.MustNotTell(t, s.log.String(), "the log")
		})
	}
}

// The node service logs each refusal; what it logs has no token in it either.
func TestTheLogOfAFailedPublishDoesNotTellTheToken(t *testing.T) {
	t.Parallel()
	s := serveDefault(t)
	req := withTokens(csitest.PublishRequest(), "", csitest.Tokens(map[string]string{"": csitest.Token() + "!"}))
	req.Secrets = map[string]string{"other": csitest.Token()}
	if _, err := s.NodePublishVolume(t.Context(), req); err == nil {
		t.Fatal("no error")
	} else {
		csitest.MustNotTell(t, err.Error(), "the answer")
	}
	csitest.MustNotTell(t, s.log.String(), "the log")
	if !strings.Contains(s.log.String(), `"pod":"sandbox/web-0"`) {
		t.Errorf("the log does not name the pod: %s", s.log)
	}
}
