// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// The three tools make the same objects of each setting, field by field. The
// configuration file among them is the same when its defaults are filled in: its
// comments and the order of its fields are not.
func TestTheThreeToolsMakeTheSameObjects(t *testing.T) {
	t.Parallel()
	for _, setting := range settingNames(t) {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			want := contents(t, render(t, "kustomize", setting))
			for _, tool := range []string{"jsonnet", "helm"} {
				if diff := cmp.Diff(want, contents(t, render(t, tool, setting))); diff != "" {
					t.Errorf("(-kustomize +%s):\n%s", tool, diff)
				}
			}
		})
	}
}

// Settings differ, so that they are not all the defaults.
func TestSettingsMakeDifferentObjects(t *testing.T) {
	t.Parallel()
	want := contents(t, render(t, "kustomize", "defaults"))
	for _, setting := range settingNames(t) {
		if setting != "defaults" && cmp.Equal(want, contents(t, render(t, "kustomize", setting))) {
			t.Errorf("%s makes the same as the defaults", setting)
		}
	}
}

// contents of objects, with the configuration file in the form that it has when
// its defaults are filled in.
func contents(t *testing.T, rendered map[string]*unstructured.Unstructured) map[string]any {
	t.Helper()
	found := map[string]any{}
	for key, object := range rendered {
		if text, ok, _ := unstructured.NestedString(object.Object, "data", "config.yaml"); ok {
			c, err := config.Parse("config.yaml", []byte(text))
			check(t, err)
			full, err := c.YAML()
			check(t, err)
			check(t, unstructured.SetNestedField(object.Object, string(full), "data", "config.yaml"))
		}
		found[key] = object.Object
	}
	return found
}

// The rights that the daemons of all tests have, which testkit.Install takes from
// the files of the base, are those that are installed.
func TestTestsRunWithTheRightsThatAreInstalled(t *testing.T) {
	t.Parallel()
	base := repository + "/manifests/base"
	files, err := testkit.ReadManifests(base+"/csidriver.yaml", base+"/driver-rbac.yaml", base+"/approver-rbac.yaml")
	check(t, err)
	rendered := render(t, "kustomize", "other-namespace")
	for _, object := range files {
		namespace := "-"
		switch kind := object.GetKind(); kind {
		case "ServiceAccount", "Role", "RoleBinding":
			namespace = "spiffe-system"
			object.SetNamespace(namespace)
		}
		if subjects, found, _ := unstructured.NestedSlice(object.Object, "subjects"); found {
			subjects[0].(map[string]any)["namespace"] = "spiffe-system"
			check(t, unstructured.SetNestedSlice(object.Object, subjects, "subjects"))
		}
		switch object.GetKind() {
		case "ClusterRoleBinding":
			check(t, unstructured.SetNestedField(object.Object, object.GetName()+".spiffe-system", "roleRef", "name"))
			fallthrough
		case "ClusterRole":
			object.SetName(object.GetName() + ".spiffe-system")
		}
		key := object.GetKind() + " " + namespace + " " + object.GetName()
		if rendered[key] == nil {
			t.Errorf("%s is not installed", key)
			continue
		}
		if diff := cmp.Diff(object.Object, rendered[key].Object); diff != "" {
			t.Errorf("%s (-file +installed):\n%s", key, diff)
		}
	}
}
