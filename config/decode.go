// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// decode reads the file, in which no fault has been found, into decoded, which
// holds the defaults, and completes it. It rejects a file of which this reading
// is not what has been checked, since nobody should run with a value other than the one
// that was meant. [isAmbiguous] knows all such values that are known to us: this is
// for those that are not.
func (r *reader) decode(root *yamlv3.Node, checked, decoded any, complete func()) error {
	err := yaml.UnmarshalStrict(r.data, decoded)
	complete()
	if err == nil && reflect.DeepEqual(checked, decoded) {
		return nil
	}
	at, path := root, firstDifference(checked, decoded)
	if path != "" {
		at = r.locate(path)
	}
	r.fault(at, path, "is understood differently by different YAML parsers, must be without doubt: put quotes around strings, and write numbers in plain decimal")
	return r.result()
}

// firstDifference returns the path of the first field, in the order of the reference, in
// which two wire forms differ; or nothing, if that cannot be said.
func firstDifference(a, b any) string {
	inA, inB := appendLeaves(nil, "", reflect.Indirect(reflect.ValueOf(a))), appendLeaves(nil, "", reflect.Indirect(reflect.ValueOf(b)))
	for _, path := range mergedPaths(inA, inB) {
		if find(inA, path).text != find(inB, path).text {
			return path
		}
	}
	return ""
}
