// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// rules are a file of rules, as Prometheus reads it.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for,omitempty"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

// Prometheus itself evaluates each alert on what is bad and on what is well.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(repository + "/manifests/helm/csi-driver-spiffe/files/alerts.yaml")
	check(t, err)
	var alerts rules
	check(t, yaml.UnmarshalStrict(data, &alerts))
	cases, err := os.ReadFile("testdata/alerts.yaml")
	check(t, err)
	fired := namesOfFired(t, cases)
	for _, rule := range alerts.Groups[0].Rules {
		if !fired[rule.Alert] {
			t.Errorf("testdata/alerts.yaml has no case in which %s fires", rule.Alert)
		}
		// It says what to do, at length and always the same.
		if rule.Annotations["description"] == "" {
			t.Errorf("%s has no description", rule.Alert)
		}
		delete(rule.Annotations, "description")
	}
	data, err = yaml.Marshal(alerts)
	check(t, err)
	folder := t.TempDir()
	check(t, os.WriteFile(filepath.Join(folder, "rules.yaml"), data, 0o600))
	check(t, os.WriteFile(filepath.Join(folder, "alerts.yaml"), cases, 0o600))
	run(t, nil, "promtool", "test", "rules", filepath.Join(folder, "alerts.yaml"))
}

// namesOfFired are the alerts that fire in some case.
func namesOfFired(t *testing.T, cases []byte) map[string]bool {
	t.Helper()
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	check(t, yaml.Unmarshal(cases, &file))
	fired := map[string]bool{}
	for _, test := range file.Tests {
		for _, alert := range test.Alerts {
			fired[alert.Name] = fired[alert.Name] || len(alert.Expected) > 0
		}
	}
	return fired
}
