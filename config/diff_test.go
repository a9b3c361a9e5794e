// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	const hot, reissue, restart = config.EffectHot, config.EffectReissue, config.EffectRestart
	const annotation = "certificate.requestAnnotations"
	change := func(path, before, after string, effect config.Effect, daemon string) config.Change {
		return config.Change{Path: path, Old: before, New: after, Effect: effect, Daemon: daemon}
	}
	for name, test := range map[string]struct {
		before, after string // what follows minimal
		want          []config.Change
	}{
		"nothing":                  {"", "", nil},
		"a default is written out": {"", "certificate: {duration: 60m}\nvolume: {defaultFSGroup: null}\n", nil},
		"in the order of the reference": {
			"", "observability: {logging: {level: warn, format: json}}\nvolume: {tmpfsPath: /a}\ncertificate: {duration: 2h}\n",
			[]config.Change{
				change("certificate.duration", "1h", "2h", hot, ""),
				change("volume.tmpfsPath", "/var/run/csi-driver-spiffe", "/a", restart, "driver"),
				change("observability.logging.level", "info", "warn", hot, ""),
				change("observability.logging.format", "text", "json", restart, ""),
			},
		},
		"defaults that depend on other fields": {
			"", "certificate: {privateKey: {algorithm: Ed25519}, renewBefore: 5m}\n",
			[]config.Change{
				change("certificate.privateKey.algorithm", "ECDSA", "Ed25519", reissue, ""),
				change("certificate.privateKey.size", "521", "unset", reissue, ""),
				change("certificate.renewBefore", "unset", "5m", hot, ""),
				change("certificate.renewBeforePercentage", "33", "unset", hot, ""),
			},
		},
		"entries of a map": {
			"certificate: {requestAnnotations: {a: one, b: two}}\n", "certificate: {requestAnnotations: {b: three, c/d: \"true\"}}\n",
			[]config.Change{
				change(annotation+`["a"]`, "one", "unset", hot, ""),
				change(annotation+`["b"]`, "two", "three", hot, ""),
				change(annotation+`["c/d"]`, "unset", `"true"`, hot, ""),
			},
		},
		"empty, and of two lines": {
			"certificate: {requestAnnotations: {a: \"\"}}\n", "certificate: {requestAnnotations: {a: \"one\\ntwo\"}}\n",
			[]config.Change{change(annotation+`["a"]`, `""`, `"one"…`, hot, "")},
		},
		"too long to show": {
			"", "trustBundle: {path: /" + strings.Repeat("a", 200) + "}\n",
			[]config.Change{change("trustBundle.path", `""`, `"/`+strings.Repeat("a", 63)+`"…`, hot, "")},
		},
		"of the approver alone": {
			"", "approver: {workers: 9, leaderElection: {enabled: false}}\n",
			[]config.Change{
				change("approver.workers", "8", "9", restart, "approver"),
				change("approver.leaderElection.enabled", "true", "false", restart, "approver"),
			},
		},
		"of the driver alone": {
			"", "driver: {kubeAPIQPS: 0.5, kubeAPIBurst: 1, httpAddress: \"[::1]:1\"}\n",
			[]config.Change{
				change("driver.httpAddress", ":9402", "'[::1]:1'", restart, "driver"),
				change("driver.kubeAPIQPS", "0", "0.5", restart, "driver"),
				change("driver.kubeAPIBurst", "0", "1", restart, "driver"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := config.Diff(parse(t, minimal+test.before), parse(t, minimal+test.after))
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(config.Change{}, "Note", "Reissue")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRestartRequired(t *testing.T) {
	t.Parallel()
	before := parse(t, minimal)
	hot := config.Diff(before, parse(t, strings.Replace(minimal, "my.trust", "your.trust", 1)))
	if got := config.RestartRequired(hot); len(got) != 0 {
		t.Errorf("trustDomain: %v", got)
	}
	mixed := config.Diff(before, parse(t, minimal+"certificate: {duration: 2h}\napprover: {workers: 9}\n"))
	got := config.RestartRequired(mixed)
	if len(mixed) != 2 || len(got) != 1 || got[0].Path != "approver.workers" {
		t.Errorf("got %v of %v", got, mixed)
	}
}

// As long as trust bundles contain the root of the previous issuer, nobody may get a
// CA certificate of that issuer.
func TestDiffOfTheIssuerSaysWhatToList(t *testing.T) {
	t.Parallel()
	for path, after := range map[string]string{
		"issuerRef.name": strings.Replace(minimal, "csi-driver-spiffe-ca", "another", 1),
		"issuerRef.kind": minimal + "  kind: Issuer\n",
	} {
		changes := config.Diff(parse(t, minimal), parse(t, after))
		if len(changes) != 1 || changes[0].Path != path || !strings.Contains(changes[0].String(), "list the previous issuer in approver.formerIssuers") {
			t.Errorf("%s: got %v", path, changes)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	const keep = "; live volumes keep their SVIDs until their renewal"
	for after, want := range map[string]string{
		"": "no changes",
		"observability: {logging: {level: debug}}\n": "observability.logging.level: info → debug (hot)\n1 change; none needs a restart" + keep,
		"certificate: {duration: 30m}\n": "certificate.duration: 1h → 30m (hot; from each volume's next renewal, or at once if more is left than it would now get)\n" +
			"1 change; none needs a restart; live volumes may be re-issued",
		"certificate: {privateKey: {size: 256}}\n": "certificate.privateKey.size: 521 → 256 (hot, re-issues live volumes)\n1 change; none needs a restart; live volumes are re-issued",
		"observability: {logging: {format: json}}\n": "observability.logging.format: text → json (restart)\n" +
			"1 change; 1 needs a restart, and until then both daemons refuse the whole file" + keep,
		"volume: {files: {privateKey: key}}\ndriver: {httpAddress: \"\"}\n": "volume.files.privateKey: tls.key → key (hot; for volumes published from then on)\n" +
			"driver.httpAddress: :9402 → \"\" (restart of the driver)\n" +
			"2 changes; 1 needs a restart, and until then both daemons refuse the whole file" + keep,
		"driver: {httpAddress: \"\"}\napprover: {workers: 1}\n": "driver.httpAddress: :9402 → \"\" (restart of the driver)\napprover.workers: 8 → 1 (restart of the approver)\n" +
			"2 changes; 2 need a restart, and until then both daemons refuse the whole file" + keep,
	} {
		var got strings.Builder
		changes := config.Diff(parse(t, minimal), parse(t, minimal+after))
		for _, change := range changes {
			got.WriteString(change.String() + "\n")
		}
		got.WriteString(config.Summary(changes))
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", after, diff)
		}
	}
}
