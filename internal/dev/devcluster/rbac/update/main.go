// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command update writes the ServiceAccounts and the RBAC objects of
// cert-manager's Helm chart, as the cert-manager module in go.mod has it, in the
// form that package rbac embeds. It is run in the folder of that package.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	// chartModule is where the chart is from; below deploy/charts.
	chartModule = "github.com/cert-manager/cert-manager"
	// kubernetesModule has the version of Kubernetes to render it for.
	kubernetesModule = "k8s.io/kubernetes"
	// helm is the module that pins Helm, seen from the folder of package rbac.
	helm = "../../tools/helm"
)

// templates are the files of the chart to take. The cainjector does not run in a
// devcluster.
func templates() []string {
	return []string{"rbac.yaml", "serviceaccount.yaml", "webhook-rbac.yaml", "webhook-serviceaccount.yaml"}
}

// values differ from the chart's defaults; see the comment of package rbac.
// "creator" leaves the labels of a Helm release out.
func values() []string {
	return []string{"creator=static", "disableAutoApproval=true", "global.leaderElection.namespace=cert-manager"}
}

// order is the order of the kinds: a Pod or a token can be made only for a
// ServiceAccount that exists.
func order() []string {
	return []string{"ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
}

func main() {
	output := flag.String("o", "/dev/stdout", "file to write")
	flag.Parse()
	if err := update(*output); err != nil {
		fmt.Fprintln(os.Stderr, "update:", err)
		os.Exit(1)
	}
}

func update(output string) error {
	dir, err := moduleField(chartModule, "Dir")
	if err != nil {
		return err
	}
	version, err := moduleField(kubernetesModule, "Version")
	if err != nil {
		return err
	}
	rendered, err := render(filepath.Join(dir, "deploy", "charts", "cert-manager"), version)
	if err != nil {
		return err
	}
	lines, err := compact(rendered)
	if err != nil {
		return err
	}
	return os.WriteFile(output, lines, 0o644)
}

// moduleField asks the go command about a module of go.mod.
func moduleField(module, field string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{."+field+"}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", module, err)
	}
	value := strings.TrimSpace(string(out))
	if value == "" {
		return "", fmt.Errorf("%s is not in the module cache: run go mod download %[1]s", module)
	}
	return value, nil
}

// render renders the chart in a folder, as YAML documents.
func render(chart, kubernetes string) ([]byte, error) {
	args := []string{"tool", "helm", "template", "cert-manager", chart, "--namespace", "cert-manager", "--kube-version", kubernetes}
	for _, value := range values() {
		args = append(args, "--set", value)
	}
	for _, template := range templates() {
		args = append(args, "--show-only", "templates/"+template)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = helm
	// As the Makefile builds tools, so that they are compiled once.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("rendering the chart %s: %w\n%s", chart, err, exit.Stderr)
	}
	return out, err
}

// compact returns YAML documents as one line of JSON each, sorted by kind.
func compact(documents []byte) ([]byte, error) {
	var objects []map[string]any
	for document := range bytes.SplitSeq(documents, []byte("\n---\n")) {
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, fmt.Errorf("what the chart renders: %w\n%s", err, document)
		}
		if len(object) == 0 { // nothing but comments
			continue
		}
		if !slices.Contains(order(), kind(object)) {
			return nil, fmt.Errorf("the chart renders a %s, which package bootstrap cannot create: add it there and here", kind(object))
		}
		objects = append(objects, object)
	}
	slices.SortStableFunc(objects, func(a, b map[string]any) int {
		return cmp.Compare(slices.Index(order(), kind(a)), slices.Index(order(), kind(b)))
	})
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines) // ends each with a newline
	for _, object := range objects {
		if err := encoder.Encode(object); err != nil {
			return nil, err
		}
	}
	return lines.Bytes(), nil
}

func kind(object map[string]any) string {
	kind, _ := object["kind"].(string)
	return kind
}
