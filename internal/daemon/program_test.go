// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

const minimal = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef: {name: ca}
`

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write returns the path of a file with this content.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// The rest of the command line is tested on the binaries; see cmd.
func TestProgram(t *testing.T) {
	good, bad := write(t, minimal), write(t, minimal+"typo: 1\n")
	warned := write(t, strings.ReplaceAll(minimal, "{name: ca}", "{name: ca, kind: GoogleCASClusterIssuer, group: cas-issuer.jetstack.io}"))
	for _, row := range []struct {
		name     string
		args     []string
		result   error
		code     int
		runs     bool
		out, err string // fragments; empty for no output at all
	}{
		{"runs", []string{"--config", good}, nil, 0, true, "", "stopped"},
		{"fails", []string{"--config", good}, errors.New("no cluster"), 1, true, "", "prog: no cluster\n"},
		{"a bad file", []string{"--config", bad}, nil, 1, false, "", "typo: is not a field"},
		{"a file that is warned of", []string{"--config", warned}, nil, 0, true, "", `level=WARN msg="configuration accepted, and known not to work" warning=`},
		{"no such file", []string{"--config", good + "x"}, nil, 1, false, "", "cannot open the configuration file"},
		{"no file", nil, nil, 2, false, "", "prog: --config FILE is missing; see --help\n"},
		{"an argument", []string{"--config", good, "extra"}, nil, 2, false, "", `unexpected argument "extra"`},
		{"an unknown flag", []string{"--verbose"}, nil, 2, false, "", "-verbose"},
		{"help", []string{"--help"}, nil, 0, false, "", "prog is for tests.\n\nUsage: prog --config FILE [flags]"},
		{"version", []string{"--version"}, nil, 0, false, "prog " + daemon.Version() + "\n", ""},
		{"version, with a bad file", []string{"--version", "--config", bad}, nil, 0, false, "prog ", ""},
		{"validate", []string{"--validate-config", "--config", good}, nil, 0, false, ": valid (", ""},
		{"validate a file that is warned of", []string{"--validate-config", "--config", warned}, nil, 0, false, ": valid (", ": warning: certificate.privateKey: "},
		{"validate a bad file", []string{"--validate-config", "--config", bad}, nil, 1, false, "", "1 fault\n"},
		{"print", []string{"--print-config", "--config", good}, nil, 0, false, "algorithm: ECDSA\n    size: 521\n", ""},
		{"print a bad file", []string{"--print-config", "--config", bad}, nil, 1, false, "", "1 fault\n"},
		{"schema", []string{"--print-schema"}, nil, 0, false, `"title": "SPIFFEConfiguration"`, ""},
		{"diff", []string{"--config", good, "--diff", good}, nil, 0, false, "no changes\n", ""},
		{"diff with a bad file", []string{"--config", good, "--diff", bad}, nil, 1, false, "", "typo: is not a field"},
		{"diff with nothing", []string{"--config", good, "--diff", ""}, nil, 2, false, "", "prog: --diff OLD is empty; see --help\n"},
		{"diff without a file", []string{"--diff", good}, nil, 2, false, "", "--config FILE is missing"},
		{"diff of standard input with itself", []string{"--config", "-", "--diff", "-"}, nil, 2, false, "", "cannot both be standard input"},
		{"a command", []string{"sing", "--loud"}, nil, 7, false, "la [--loud]", ""},
		{"a command that is none", []string{"dance"}, nil, 2, false, "", `unexpected argument "dance"`},
		{"commands in the help", []string{"--help"}, nil, 0, false, "", "\n       prog sing [flags]   sings\n"},
		{"a flag of its own", []string{"--config", good, "--node", "a"}, nil, 0, true, "", "node=a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			var node string
			ran := false
			program := daemon.Program{
				Name: "prog", Purpose: "is for tests.",
				Flags: func(flags *flag.FlagSet) { flags.StringVar(&node, "node", "b", "a flag of its own") },
				Commands: []daemon.Command{{Name: "sing", Purpose: "sings", Run: func(args []string, streams daemon.Streams) int {
					fmt.Fprint(streams.Out, "la ", args)
					return 7
				}}},
				Run: func(ctx context.Context, env daemon.Env) error {
					ran = true
					check(t, ctx.Err())
					if env.Config.Current().TrustDomain.Name() != "my.trust.domain" || env.Kubeconfig != "/from/env" {
						t.Errorf("runs with %+v", env)
					}
					env.Log.Info("x", "node", node)
					return row.result
				},
			}
			t.Setenv("KUBECONFIG", "/from/env")
			got := program.Main(row.args, daemon.Streams{Out: &out, Err: &errOut})
			if got != row.code || ran != row.runs {
				t.Errorf("exit code %d, ran %v, want %d, %v", got, ran, row.code, row.runs)
			}
			mustSay(t, "standard output", out.String(), row.out)
			mustSay(t, "standard error", errOut.String(), row.err)
		})
	}
}

func mustSay(t *testing.T, where, got, want string) {
	t.Helper()
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("%s is %q, want %q", where, got, want)
	}
}

func TestNamespace(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "security")
	if got := daemon.Namespace(); got != "security" {
		t.Errorf("got %q, want that of the environment", got)
	}
	t.Setenv("POD_NAMESPACE", "")
	if _, err := os.Stat("/var/run/secrets/kubernetes.io"); err == nil {
		t.Skip("runs in a pod, which has a namespace")
	}
	if got := daemon.Namespace(); got != "cert-manager" {
		t.Errorf("got %q, want cert-manager", got)
	}
}
