// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// crossFieldRules returns the rules between the fields of a section, which package config
// has in its file of the same name. Those that need arithmetic, or to compare
// two values, are not among them: JSON Schema cannot say these.
func crossFieldRules(section string) []*schema {
	switch section {
	case "issuerRef", "approver.approveCAs[]", "approver.formerIssuers[]":
		return issuerKinds()
	case "certificate":
		return oneRenewal()
	case "certificate.privateKey":
		return keySizes()
	case "volume.files.storePassword":
		return passwordSomewhere()
	case "driver", "approver":
		return limits()
	default:
		return nil
	}
}

// issuerKinds are two in cert-manager's own group, and any in others.
func issuerKinds() []*schema {
	return []*schema{{
		If:   object("group", &schema{Enum: []any{v1alpha1.Default().IssuerRef.Group, nil}}),
		Then: object("kind", &schema{Enum: []any{"ClusterIssuer", "Issuer", nil}}),
	}}
}

// oneRenewal is that only one of two fields may be set.
func oneRenewal() []*schema {
	return []*schema{{
		If: &schema{Required: []string{"renewBefore"}, Properties: properties{
			{"renewBefore", &schema{Type: "string"}},
		}},
		Then: object("renewBeforePercentage", &schema{Type: "null"}),
	}}
}

// keySizes are those of each algorithm, of which the first is the default.
func keySizes() []*schema {
	var rules []*schema
	sizes := map[csr.Algorithm][]any{}
	var algorithms []csr.Algorithm
	for _, spec := range csr.KeySpecs() {
		if sizes[spec.Algorithm] == nil {
			algorithms = append(algorithms, spec.Algorithm)
		}
		sizes[spec.Algorithm] = append(sizes[spec.Algorithm], spec.Size)
	}
	for i, algorithm := range algorithms {
		is := object("algorithm", &schema{Const: algorithm})
		if i == 0 {
			is = object("algorithm", &schema{Enum: []any{algorithm, nil}})
		} else {
			is.Required = []string{"algorithm"}
		}
		rules = append(rules, &schema{If: is, Then: object("size", &schema{Enum: append(sizes[algorithm], nil)})})
	}
	return rules
}

// passwordSomewhere is that a password which a volume makes needs a file.
func passwordSomewhere() []*schema {
	is := object("value", &schema{Const: ""})
	is.Required = []string{"value"}
	then := object("file", &schema{Type: "string", MinLength: new(1)})
	then.Required = []string{"file"}
	return []*schema{{If: is, Then: then}}
}

// limits are that of two fields each needs the other.
func limits() []*schema {
	const qps, burst = "kubeAPIQPS", "kubeAPIBurst"
	return []*schema{ifPositive(qps, burst), ifPositive(burst, qps)}
}

func ifPositive(one, other string) *schema {
	is := func(name string) *schema {
		s := object(name, &schema{Type: "number", ExclusiveMinimum: new(0.0)})
		s.Required = []string{name}
		return s
	}
	return &schema{If: is(one), Then: is(other)}
}

// object of which one property, if it is there, is as told.
func object(name string, value *schema) *schema {
	return &schema{Properties: properties{{name, value}}}
}
