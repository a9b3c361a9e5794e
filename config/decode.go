// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// decode reads the file, in which no fault has been found, into decoded, which
// holds the defaults, and completes it. It refuses a file of which this reading
// is not what has been checked: YAML 1.1 and 1.2 differ over what a few plain
// words and numbers mean, and nobody should run with a value other than the one
// that was meant.
func (r *reader) decode(root *yamlv3.Node, checked, decoded any, complete func()) error {
	err := yaml.UnmarshalStrict(r.data, decoded)
	complete()
	if err == nil && reflect.DeepEqual(checked, decoded) {
		return nil
	}
	r.fault(root, "", "is understood differently by different YAML parsers, must be without doubt: put quotes around strings, and write numbers in plain decimal")
	return r.result()
}
