// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

func TestPrintingWhatHoldsATokenDoesNotTellIt(t *testing.T) {
	t.Parallel()
	claims, err := spiffe.ParsePodToken(csitest.Token())
	if err != nil {
		t.Fatal(err)
	}
	request := manager.PublishRequest{
		VolumeID: csitest.VolumeID, TargetPath: csitest.Target, Received: time.Now(),
		Token: manager.Token{Secret: issuance.NewToken(csitest.Token()), PodToken: claims},
	}
	for name, value := range map[string]any{
		"a request": request, "a pointer to a request": &request, "requests": []manager.PublishRequest{request},
		"a token": request.Token, "a pointer to a token": &request.Token, "tokens": map[string]manager.Token{"a": request.Token},
		"an error": fmt.Errorf("publishing %v", request),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			csitest.MustNotTell(t, fmt.Sprintf(verb, value), name+" printed with "+verb)
		}
		var out bytes.Buffer
		options := &slog.HandlerOptions{Level: slog.LevelDebug}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, options), slog.NewJSONHandler(&out, options)} {
			log := slog.New(handler)
			log.Debug("x", "value", value)
			log.With("value", value).WithGroup("g").Info("x", "value", value)
		}
		csitest.MustNotTell(t, out.String(), name+" in the log")
	}
	if got := request.Token.LogValue().String(); got != "[redacted]" {
		t.Errorf("a token is logged as %s", got)
	}
}

func TestTokenUsable(t *testing.T) {
	t.Parallel()
	now, secret := time.Now(), issuance.NewToken("token")
	for name, row := range map[string]struct {
		token manager.Token
		want  bool
	}{
		"none":         {manager.Token{}, false},
		"fresh":        {manager.Token{Secret: secret, PodToken: spiffe.PodToken{Expiry: now.Add(time.Second)}}, true},
		"expires now":  {manager.Token{Secret: secret, PodToken: spiffe.PodToken{Expiry: now}}, false},
		"has expired":  {manager.Token{Secret: secret, PodToken: spiffe.PodToken{Expiry: now.Add(-time.Second)}}, false},
		"only claimed": {manager.Token{PodToken: spiffe.PodToken{Expiry: now.Add(time.Hour)}}, false},
	} {
		if got := row.token.Usable(now); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}
