// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

func TestRESTConfig(t *testing.T) {
	t.Parallel()
	path := write(t, kubeconfig)
	for _, row := range []struct {
		name  string
		limit config.KubeAPI
		burst int // how many requests may be made at once; 0 for any number
	}{
		{"no limit", config.KubeAPI{}, 0},
		{"a limit", config.KubeAPI{KubeAPIQPS: 0.01, KubeAPIBurst: 40}, 40},
		{"less than one a second", config.KubeAPI{KubeAPIQPS: 0.001, KubeAPIBurst: 1}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := daemon.RESTConfig(path, "prog", row.limit)
			check(t, err)
			// Zero would be client-go's default: 5 requests a second.
			if got.QPS != -1 || (got.RateLimiter == nil) != (row.burst == 0) {
				t.Errorf("QPS %v and limiter %v", got.QPS, got.RateLimiter)
			}
			// Clients that are made of copies must share the limit.
			for range row.burst {
				if !rest.AnonymousClientConfig(got).RateLimiter.TryAccept() {
					t.Error("limited too early")
				}
			}
			if row.burst > 0 && rest.AnonymousClientConfig(got).RateLimiter.TryAccept() {
				t.Error("not limited")
			}
			if got.Host != "https://127.0.0.1:6443" || got.BearerToken != "secret" {
				t.Errorf("reaches %s", got.Host)
			}
			if want := "prog/" + daemon.Version(); got.UserAgent != want {
				t.Errorf("user agent %q, want %q", got.UserAgent, want)
			}
		})
	}
}

func TestRESTConfigSaysWhatToDo(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, path := range map[string]string{
		"no file, and no pod": "", "no such file": "/does/not/exist", "not a kubeconfig": write(t, "kind: Pod\n"),
	} {
		_, err := daemon.RESTConfig(path, "prog", config.KubeAPI{})
		if err == nil || !strings.Contains(err.Error(), "give --kubeconfig, or run in a pod") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
