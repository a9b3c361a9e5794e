// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac holds the ServiceAccounts of cert-manager's controllers and
// webhook, and the RBAC objects that grant them exactly what cert-manager's Helm
// chart grants in production.
//
// The objects are what the chart renders with disableAutoApproval=true, as
// clusters that run csi-driver-spiffe are set up: cert-manager's controllers may
// not approve CertificateRequests. The chart's default for everything else
// stays, except that leases are in cert-manager's own namespace.
//
// A program cannot embed files of another module, so the objects are copied here
// by go generate, one a line. That runs the Helm that is pinned in
// internal/dev/tools/helm. A test compares them with the chart of the cert-manager
// version in go.mod.
package rbac

import (
	"bytes"
	_ "embed" // for the objects
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

//go:generate go run ./update -o cert-manager.jsonl

// Names of the ServiceAccounts and of the namespace they are in.
const (
	Namespace      = "cert-manager"
	Controller     = "cert-manager"
	WebhookAccount = "cert-manager-webhook"
)

//go:embed cert-manager.jsonl
var objects []byte

// All returns the objects: ServiceAccounts first, then roles, then bindings. Each
// is a *corev1.ServiceAccount or a Role, ClusterRole, RoleBinding or
// ClusterRoleBinding of rbac/v1.
func All() ([]runtime.Object, error) {
	var all []runtime.Object
	for line := range bytes.Lines(objects) {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(line, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("embedded RBAC object %d: %w", len(all)+1, err)
		}
		all = append(all, object)
	}
	return all, nil
}
