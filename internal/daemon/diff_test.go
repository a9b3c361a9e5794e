// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

func TestDiffWithRunningDaemon(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/configz":
			fmt.Fprint(w, minimal)
		case "/long":
			fmt.Fprint(w, strings.Repeat("#", 5<<20))
		case "/metrics":
			fmt.Fprint(w, "go_goroutines 9\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	changed := write(t, minimal+"observability: {logging: {level: debug}}\n")
	for path, want := range map[string]struct {
		code     int
		out, err string
	}{
		"/configz": {0, "observability.logging.level: info → debug (hot)\n1 change; none needs a restart; ", ""},
		"/nothing": {1, "", "/nothing: got 404 Not Found, must be 200 OK\n"},
		"/metrics": {1, "", server.URL + "/metrics:1:1: is of the wrong type"},
		"/long":    {1, "", server.URL + "/long:1:1: is too large"},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var out, errOut bytes.Buffer
			code := daemon.Program{Name: "prog"}.Main([]string{"--config", changed, "--diff", server.URL + path}, daemon.Streams{Out: &out, Err: &errOut})
			if code != want.code {
				t.Errorf("exit code %d, want %d", code, want.code)
			}
			mustSay(t, "standard output", out.String(), want.out)
			mustSay(t, "standard error", errOut.String(), want.err)
		})
	}
}
