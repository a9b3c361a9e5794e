// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// Whatever values.schema.json accepts renders to objects whose fields are all of the
// right types, or is rejected by the chart in words. The values are random, and the same
// in each run.
func TestValuesThatTheSchemaAcceptsRenderToTypedObjects(t *testing.T) {
	t.Parallel()
	random := newRandomValues(t)
	for seed := range uint64(150) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			values := random.values(rand.New(rand.NewPCG(seed, 0)), nil)
			for _, object := range renderValues(t, values) {
				if err := checkTypes(object); err != nil {
					t.Errorf("%s %s: %v\nof these values:\n%s", object.GetKind(), object.GetName(), err, values)
				}
			}
		})
	}
}

// The API server takes these objects. Of the parts that are put into them as they are,
// such as an affinity, the schema knows the types, and only the API server whether they
// make sense: those are valid ones here.
func TestTheAPIServerTakesWhatTheSchemaAccepts(t *testing.T) {
	t.Parallel()
	cluster := testkit.Require(t)
	mapper := prepare(t, cluster)
	random := newRandomValues(t)
	for seed := range uint64(60) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			values := random.values(rand.New(rand.NewPCG(seed, 1)), validParts())
			for _, object := range renderValues(t, values) {
				if object.GetKind() == "CSIDriver" && object.GetName() == driver.Name { // other tests install it, with fields that never change
					object.SetName("values." + driver.Name)
				}
				if err := dryRun(t.Context(), cluster, mapper, object); err != nil {
					t.Errorf("%s %s: %v\nof these values:\n%s", object.GetKind(), object.GetName(), err, values)
				}
			}
		})
	}
}

// The random values are of use: each value gets different ones.
func TestRandomValuesDiffer(t *testing.T) {
	t.Parallel()
	source := rand.New(rand.NewPCG(0, 2))
	for _, leaf := range newRandomValues(t).leaves {
		different := map[string]bool{}
		for range 200 {
			if value, ok := leaf.sample(source); ok {
				data, err := json.Marshal(value)
				check(t, err)
				different[string(data)] = true
			}
		}
		if len(different) < 2 && leaf.schema.Const == nil {
			t.Errorf("%s: only %v", strings.Join(leaf.path, "."), different)
		}
		if testing.Verbose() {
			t.Logf("%s: %d different values", strings.Join(leaf.path, "."), len(different))
		}
	}
}

// A value that is set to null is one that the chart does without, or the schema says that
// it is missing.
func TestNullForEachValue(t *testing.T) {
	t.Parallel()
	paths := map[string]bool{}
	for _, leaf := range newRandomValues(t).leaves {
		for i := range leaf.path {
			paths[strings.Join(leaf.path[:i+1], ".")] = true
		}
	}
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{}
			set(values, strings.Split(path, "."), nil)
			data, err := json.Marshal(values)
			check(t, err)
			for _, object := range renderValues(t, data, "missing property", "got null, want") {
				if err := checkTypes(object); err != nil {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				}
			}
		})
	}
}

// renderValues returns the objects that the chart makes of values: none if it
// rejects them with a message of its own, or another that is expected.
func renderValues(t *testing.T, values []byte, expected ...string) []*unstructured.Unstructured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	check(t, os.WriteFile(file, values, 0o600))
	output, stderr, err := try(t, nil, "helm", "template", "any-release", chart, "--kube-version", kubeVersion, "--namespace", "default", "--values", file)
	if err != nil {
		expected = append(expected, "error calling fail", "execution error at")
		if !slices.ContainsFunc(expected, func(message string) bool { return strings.Contains(stderr, message) }) {
			t.Errorf("%s\nof these values:\n%s", stderr, values)
		}
		return nil
	}
	var found []*unstructured.Unstructured
	for document := range bytes.SplitSeq(output, []byte("\n---\n")) {
		data, err := yaml.ToJSON(document)
		check(t, err)
		if string(data) == "null" {
			continue
		}
		object := new(unstructured.Unstructured)
		if err := object.UnmarshalJSON(data); err != nil {
			t.Errorf("%v: %s\nof these values:\n%s", err, document, values)
			continue
		}
		if err := checkKeys(document); err != nil {
			t.Errorf("%s %s: %v\nof these values:\n%s", object.GetKind(), object.GetName(), err, values)
		}
		found = append(found, object)
	}
	return found
}

// checkKeys rejects a field that is given twice.
func checkKeys(document []byte) error {
	var decoded map[string]any
	return yaml.UnmarshalStrict(document, &decoded)
}

// checkTypes rejects an object that has a field of a wrong type, or one that its kind
// does not have. Of kinds of resource definitions it knows the metadata.
func checkTypes(object *unstructured.Unstructured) error {
	typed, err := scheme.Scheme.New(object.GroupVersionKind())
	if runtime.IsNotRegisteredError(err) {
		object = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": object.GetAPIVersion(), "kind": object.GetKind(), "metadata": object.Object["metadata"],
		}}
		typed, err = new(metav1.PartialObjectMetadata), nil
	}
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true)
}
