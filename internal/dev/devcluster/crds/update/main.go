// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command update writes the CustomResourceDefinitions of cert-manager and of the
// Gateway API, as their modules in go.mod have them, in the form that package
// crds embeds.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// A source is a file of a module that holds one definition.
type source struct{ module, file string }

// wanted are the definitions to take.
func wanted() []source {
	const (
		certManager = "github.com/cert-manager/cert-manager"
		gatewayAPI  = "sigs.k8s.io/gateway-api"
	)
	return []source{
		{certManager, "deploy/crds/cert-manager.io_certificaterequests.yaml"},
		{certManager, "deploy/crds/cert-manager.io_certificates.yaml"},
		{certManager, "deploy/crds/cert-manager.io_clusterissuers.yaml"},
		{certManager, "deploy/crds/cert-manager.io_issuers.yaml"},
		{gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_gateways.yaml"},
	}
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
	var lines bytes.Buffer
	for _, source := range wanted() {
		dir, err := moduleDir(source.module)
		if err != nil {
			return err
		}
		line, err := compact(filepath.Join(dir, filepath.FromSlash(source.file)))
		if err != nil {
			return err
		}
		lines.Write(append(line, '\n'))
	}
	return os.WriteFile(output, lines.Bytes(), 0o644)
}

// moduleDir asks the go command where a module's files are.
func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", module, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("%s is not in the module cache: run go mod download %[1]s", module)
	}
	return dir, nil
}

// compact reads a YAML file and returns it as one line of JSON.
func compact(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	dropDescriptions(tree)
	return json.Marshal(tree)
}

// dropDescriptions removes every "description" that is text. One that is not is
// a field of that name, which stays.
func dropDescriptions(tree any) {
	switch node := tree.(type) {
	case map[string]any:
		if _, ok := node["description"].(string); ok {
			delete(node, "description")
		}
		for _, child := range node {
			dropDescriptions(child)
		}
	case []any:
		for _, child := range node {
			dropDescriptions(child)
		}
	}
}
