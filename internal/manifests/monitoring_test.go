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
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
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
	metric := regexp.MustCompile(`csi_driver_spiffe_[a-z_]+`)
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

func TestThereIsAnAlertForEachThing(t *testing.T) {
	t.Parallel()
	all := expressions(t)
	for _, alert := range []string{"ConfigReloadFailed", "ConfigHashesDiffer", "SVIDNearExpiry", "RequestsDenied", "NoLeader"} {
		if all["CSIDriverSPIFFE"+alert] == "" {
			t.Errorf("there is no alert %s", alert)
		}
	}
}
