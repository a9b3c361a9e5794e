// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"sigs.k8s.io/yaml"
)

const monitoring = repository + "/manifests/components/monitoring"

// expressions are the queries of alerts and dashboard, by name.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	data, err := os.ReadFile(monitoring + "/prometheusrule.yaml")
	check(t, err)
	var rule struct {
		Spec rules `json:"spec"`
	}
	check(t, yaml.Unmarshal(data, &rule))
	for _, alert := range rule.Spec.Groups[0].Rules {
		found[alert.Alert] = alert.Expr
	}
	data, err = os.ReadFile(monitoring + "/csi-driver-spiffe.json")
	check(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	check(t, json.Unmarshal(data, &dashboard))
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			found[panel.Title+" "+target.Expr] = target.Expr
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %d expressions", len(found))
	}
	return found
}

// Grafana puts these in before it asks.
var grafana = strings.NewReplacer("$__rate_interval", "1m", "$namespace", "cert-manager")

// Alerts and dashboard are PromQL, about metrics that README.md lists.
func TestAlertsAndDashboardAskForMetricsThatExist(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(repository + "/README.md")
	check(t, err)
	metric := regexp.MustCompile(`(csi_driver_spiffe|rest_client)_[a-z_]+`)
	histogram := regexp.MustCompile(`_(bucket|count|sum)$`)
	for name, expression := range expressions(t) {
		if _, err := metricsql.Parse(grafana.Replace(expression)); err != nil {
			t.Errorf("%s: %s: %v", name, expression, err)
		}
		for _, used := range metric.FindAllString(expression, -1) {
			used = histogram.ReplaceAllString(used, "")
			if !strings.Contains(string(readme), "| `"+used+"`") && !strings.Contains(string(readme), "| `"+used+"{") {
				t.Errorf("%s: README.md does not list %s", name, used)
			}
		}
	}
}

// That SVIDs are near their expiry is said when they are, and not of SVIDs
// that are not due for renewal yet.
func TestNearExpiryFollowsTheDuration(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ certificate, want string }{
		"default":              {"{}", "600"},
		"long":                 {"{duration: 24h}", "600"},
		"short":                {"{duration: 10m}", "100"},
		"two units":            {"{duration: 1m30s}", "15"},
		"shortest":             {"{duration: 5s}", "1"},
		"renewed late":         {"{duration: 1.5h, renewBefore: 8m}", "240"},
		"late as a percentage": {"{duration: 2h, renewBeforePercentage: 5}", "180"},
		"renewed early":        {"{duration: 1h, renewBefore: 50m}", "600"},
		"milliseconds":         {"{duration: 60000ms, renewBefore: null}", "10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := t.TempDir() + "/values.yaml"
			check(t, os.WriteFile(values, []byte("monitoring: {prometheusRule: {enabled: true}}\nconfig: {certificate: "+row.certificate+"}"), 0o600))
			library := absolute(t, repository+"/manifests/jsonnet/csi-driver-spiffe.libsonnet")
			for tool, output := range map[string][]byte{
				"helm":    helmTemplate(t, "--values", values),
				"jsonnet": run(t, nil, "jsonnet", "-e", "(import '"+library+"').new(std.parseYaml(importstr '"+values+"') + {monitoring: true}).list"),
			} {
				if !strings.Contains(string(output), " - time() < "+row.want+" and csi_driver_spiffe_volumes") {
					t.Errorf("%s: the threshold is not %s", tool, row.want)
				}
			}
		})
	}
}

func TestThereIsAnAlertForEachThing(t *testing.T) {
	t.Parallel()
	all := expressions(t)
	for _, alert := range []string{
		"ConfigReloadFailed", "ConfigHashesDiffer", "SVIDNearExpiry", "RequestsDenied", "NoLeader",
		"TrustBundleReloadFailed", "TrustBundleNearExpiry", "VolumesBehind",
		"SVIDExpired", "RenewalsOverdue", "IssuancesFail", "PodsWait", "PublishSlow", "VolumesHidden", "VolumesUnverified", "VolumesOverlong", "VolumesDamaged",
	} {
		if all["CSIDriverSPIFFE"+alert] == "" {
			t.Errorf("there is no alert %s", alert)
		}
	}
}
