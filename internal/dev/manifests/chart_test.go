// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// The command line of the existing project's documentation, but for the name of
// the chart: https://cert-manager.io/docs/usage/csi-driver-spiffe/installation/.
var existingCommandLine = []string{
	"--namespace", "cert-manager",
	"--set", "app.logLevel=1",
	"--set", "app.trustDomain=my.trust.domain",
	"--set", "app.approver.signerName=clusterissuers.cert-manager.io/csi-driver-spiffe-ca",
	"--set", "app.issuer.name=csi-driver-spiffe-ca",
	"--set", "app.issuer.kind=ClusterIssuer",
	"--set", "app.issuer.group=cert-manager.io",
	"--set", "app.driver.volumes[0].name=root-cas",
	"--set", "app.driver.volumes[0].secret.secretName=csi-driver-spiffe-ca",
	"--set", "app.driver.volumeMounts[0].name=root-cas",
	"--set", "app.driver.volumeMounts[0].mountPath=/var/run/secrets/cert-manager-csi-driver-spiffe",
	"--set", "app.driver.sourceCABundle=/var/run/secrets/cert-manager-csi-driver-spiffe/ca.crt",
}

func TestHelmLint(t *testing.T) {
	t.Parallel()
	run(t, nil, "helm", "lint", "--strict", chart)
	for _, setting := range settingNames(t) {
		run(t, nil, "helm", "lint", "--strict", chart, "--values", settings+"/"+setting+"/values.yaml")
	}
}

// configOf is the configuration file that a chart with some arguments makes.
func configOf(t *testing.T, args ...string) *config.Config {
	t.Helper()
	i := installation{t: t, objects: objects(t, helmTemplate(t, args...))}
	var configMap struct{ Data map[string]string }
	text, err := yaml.Marshal(i.find("ConfigMap", "csi-driver-spiffe").Object)
	check(t, err)
	check(t, yaml.Unmarshal(text, &configMap))
	c, err := config.Parse("config.yaml", []byte(configMap.Data["config.yaml"]))
	check(t, err)
	return c
}

func TestTheExistingCommandLineMakesTheConfigurationThatItMeans(t *testing.T) {
	t.Parallel()
	want, err := config.Parse("want.yaml", []byte(`
apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef: {name: csi-driver-spiffe-ca}
trustBundle: {path: /var/run/secrets/cert-manager-csi-driver-spiffe/ca.crt}
volume: {tmpfsSize: 128Mi}
`))
	check(t, err)
	if got := configOf(t, existingCommandLine...); got.Hash() != want.Hash() {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConfigOverridesEveryOtherValue(t *testing.T) {
	t.Parallel()
	c := configOf(t, "--set", "app.trustDomain=one.example,config.trustDomain=two.example",
		"--set", "app.certificateRequestDuration=1h,config.certificate.duration=2h",
		"--set", "config.driver.httpAddress=:1234")
	if c.TrustDomain.Name() != "two.example" || c.Certificate.Duration.Hours() != 2 || c.Driver.HTTPAddress != ":1234" {
		t.Errorf("got %+v", c)
	}
}

// What is no value, or none any more, is refused with what to do.
func TestWrongValuesAreRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ value, want string }{
		"misspelt":                      {"app.trustdomain=x", "additional properties 'trustdomain' not allowed"},
		"misspelt in the config":        {"config.volume.tmpfspath=/x", "additional properties 'tmpfspath' not allowed"},
		"of a wrong type":               {"app.driver.metrics.port=http", "got string, want integer"},
		"of a wrong type in config":     {"config.certificate.duration=soon", "does not match pattern"},
		"not one of the words":          {"app.logLevel=loud", "value must be one of"},
		"annotations without a value":   {"app.extraCertificateRequestAnnotations=team", `"team" is not KEY=VALUE`},
		"where no probe reaches":        {"config.driver.httpAddress=127.0.0.1:9402", "where the kubelet's probes do not reach it"},
		"a label that is a number":      {"commonLabels.team=42", "at '/commonLabels/team': got number, want string"},
		"a label that is a boolean":     {"nodeSelector.gpu=true", "at '/nodeSelector/gpu': got boolean, want string"},
		"a label with a space":          {"commonLabels.team=a b", "at '/commonLabels/team': 'a b' does not match pattern"},
		"misspelt in a toleration":      {"tolerations[0].kye=a", "additional properties 'kye' not allowed"},
		"a port that is none":           {"app.driver.metrics.port=65536", "maximum: got 65,536, want 65,535"},
		"a needed value taken out":      {"app.issuer.name=null", "at '/app/issuer': missing property 'name'"},
		"a needed section taken out":    {"app.issuer=null", "at '/app': missing property 'issuer'"},
		"a folder with a colon":         {"config.volume.tmpfsPath=/a:b", "at '/config/volume/tmpfsPath': '/a:b' does not match pattern"},
		"a folder twice":                {"config.volume.tmpfsPath=/config", "two volumes would be mounted at /config in the driver"},
		"a volume twice":                {"app.driver.volumes[0].name=tmpfs", `app.driver.volumes: there is another volume of the name "tmpfs"`},
		"a mount of no volume":          {"app.driver.volumeMounts[0].name=a,app.driver.volumeMounts[0].mountPath=/a", `app.driver.volumeMounts: there is no volume of the name "a"`},
		"registrar":                     {"app.driver.nodeDriverRegistrarImage.tag=v2", "app.driver.nodeDriverRegistrarImage: remove it, the driver registers itself"},
		"liveness probe's image":        {"app.driver.livenessProbeImage.tag=v2", "app.driver.livenessProbeImage: remove it"},
		"liveness probe's port":         {"app.driver.livenessProbe.port=9809", "on app.driver.metrics.port"},
		"data folder":                   {"app.driver.csiDataDir=/tmp/x", "config.volume.tmpfsPath is the folder"},
		"readiness probe's port":        {"app.approver.readinessProbe.port=6060", "on app.approver.metrics.port"},
		"a label of the selector":       {`commonLabels.app\.kubernetes\.io/name=x`, "commonLabels: app.kubernetes.io/name is what pods are selected by"},
		"the other of the selector":     {`commonLabels.app\.kubernetes\.io/component=x`, "commonLabels: app.kubernetes.io/component is what pods"},
		"ConfigMap with another issuer": {"app.runtimeIssuanceConfigMap=issuance", "set app.issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, stderr, err := try(t, nil, "helm", "template", "x", chart, "--kube-version", kubeVersion, "--set", row.value)
			if err == nil || !strings.Contains(stderr, row.want) {
				t.Errorf("--set %s: got %v, %s", row.value, err, stderr)
			}
		})
	}
}

// Values that say nothing are not refused, whatever their names.
func TestEmptyValuesThatWereRemovedAreTaken(t *testing.T) {
	t.Parallel()
	configOf(t, "--set", "app.runtimeIssuanceConfigMap=,app.driver.livenessProbe=null")
}

// The Secret that the chart mounts makes way for one of the operator's own, and for
// none.
func TestTheTrustBundleIsMountedOnce(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ values, want string }{
		"the chart's":    {"{}", "csi-driver-spiffe-ca"},
		"of other name":  {"{caBundleSecret: roots}", "roots"},
		"own volume":     {"{volumes: [{name: trust-bundle, secret: {secretName: own}}], volumeMounts: [{name: trust-bundle, mountPath: /trust-bundle}]}", "own"},
		"own mount":      {"{volumes: [{name: own, secret: {secretName: own}}], volumeMounts: [{name: own, mountPath: /trust-bundle}]}", "own"},
		"beside another": {"{volumes: [{name: own, secret: {secretName: own}}], volumeMounts: [{name: own, mountPath: /own}]}", "csi-driver-spiffe-ca"},
		"none":           {`{caBundleSecret: ""}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := t.TempDir() + "/values.yaml"
			check(t, os.WriteFile(values, []byte("app: {driver: "+row.values+"}"), 0o600))
			daemonSet, container := installation{t: t, objects: objects(t, helmTemplate(t, "--values", values))}.driver()
			got := ""
			if _, source := mounted(daemonSet.Spec.Template.Spec, "/trust-bundle"); source != nil {
				got = source.Secret.SecretName
			}
			names := map[string]bool{}
			for _, mount := range container.VolumeMounts {
				if names[mount.Name] || names[mount.MountPath] {
					t.Errorf("mounted twice: %+v", mount)
				}
				names[mount.Name], names[mount.MountPath] = true, true
			}
			if got != row.want {
				t.Errorf("the Secret is %q, want %q", got, row.want)
			}
		})
	}
}

// Labels of one object are there once, and the more special ones win. A file name with a
// line break of Unicode stays what it is.
func TestUnusualValuesThatAreTaken(t *testing.T) {
	t.Parallel()
	values := t.TempDir() + "/values.yaml"
	check(t, os.WriteFile(values, []byte(`
commonLabels: {team: common, prometheus: common, number: "042"}
monitoring: {prometheusRule: {enabled: true, labels: {team: special}}, dashboard: {enabled: true}}
config: {volume: {files: {certificate: "a\u2028b"}, tmpfsPath: "/a #b"}, driver: {name: null}}
`), 0o600))
	for _, object := range renderValues(t, readFile(t, values)) {
		want := "common"
		if object.GetKind() == "PrometheusRule" {
			want = "special"
		}
		if got := object.GetLabels(); got["team"] != want || got["number"] != "042" {
			t.Errorf("%s %s: labels %v, want team %s", object.GetKind(), object.GetName(), got, want)
		}
	}
	c := configOf(t, "--values", values)
	if c.Volume.Files.Certificate != "a\u2028b" || c.Volume.TmpfsPath != "/a #b" || c.Driver.Name != "spiffe.csi.cert-manager.io" {
		t.Errorf("got %+v", c)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return data
}

// Everything else that pods can be given.
func TestSchedulingValues(t *testing.T) {
	t.Parallel()
	values := t.TempDir() + "/values.yaml"
	check(t, os.WriteFile(values, []byte(`
imagePullSecrets: [{name: registry}]
image: {digest: {driver: "sha256:00", approver: "sha256:11"}}
priorityClassName: high
commonLabels: {team: identity}
nodeSelector: {disk: ssd}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
tolerations: [{key: b, operator: Exists}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
`), 0o600))
	i := installation{t: t, objects: objects(t, helmTemplate(t, "--values", values))}
	daemonSet, driver := i.driver()
	deployment, approver := i.approver()
	if !strings.HasSuffix(driver.Image, "/csi-driver-spiffe@sha256:00") || !strings.HasSuffix(approver.Image, "/csi-driver-spiffe-approver@sha256:11") {
		t.Errorf("images %s and %s", driver.Image, approver.Image)
	}
	for name, pod := range map[string]corev1.PodTemplateSpec{"driver": daemonSet.Spec.Template, "approver": deployment.Spec.Template} {
		if pod.Spec.PriorityClassName != "high" || pod.Labels["team"] != "identity" || pod.Spec.NodeSelector["disk"] != "ssd" ||
			pod.Spec.Affinity.NodeAffinity == nil || pod.Spec.ImagePullSecrets[0].Name != "registry" {
			t.Errorf("%s: %+v", name, pod)
		}
	}
	if daemonSet.Spec.Template.Spec.Tolerations[0].Key != "" || deployment.Spec.Template.Spec.Tolerations[0].Key != "b" ||
		deployment.Spec.Template.Spec.TopologySpreadConstraints[0].TopologyKey != "zone" {
		t.Errorf("%+v, %+v", daemonSet.Spec.Template.Spec.Tolerations, deployment.Spec.Template.Spec)
	}
	for key, object := range i.objects {
		if object.GetLabels()["team"] != "identity" {
			t.Errorf("%s lacks the common label", key)
		}
	}
}
