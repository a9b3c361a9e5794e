// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// monitoringCRDs are those of the Prometheus operator, out of its Go module.
const monitoringCRDs = programs + "/prometheus-crds"

// The API server takes everything that is rendered, and the examples: they are
// applied in a dry run on the server, with strict validation of fields.
func TestTheAPIServerTakesEverything(t *testing.T) {
	t.Parallel()
	cluster := testkit.Require(t)
	mapper := prepare(t, cluster)
	eachInstallation(t, func(i installation) {
		for key, object := range i.objects {
			if err := dryRun(i.t.Context(), cluster, mapper, object); err != nil {
				i.t.Errorf("%s: %v", key, err)
			}
		}
	})
	for _, example := range examples(t) {
		t.Run(filepath.Base(example), func(t *testing.T) {
			read, err := testkit.ReadManifests(example)
			check(t, err)
			for _, object := range read {
				switch object.GetKind() {
				case "ServiceAccount": // a pod is not taken without it
					check(t, cluster.Apply(t.Context(), "", testkit.Objects{object}))
				case "Certificate": // whose controller, and kind, the development cluster does not have
					check(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &cmapi.Certificate{}, true))
					continue
				}
				if err := dryRun(t.Context(), cluster, mapper, object); err != nil {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				}
			}
		})
	}
}

// That a mistake would show.
func TestTheAPIServerRefusesAMistake(t *testing.T) {
	t.Parallel()
	cluster := testkit.Require(t)
	mapper := prepare(t, cluster)
	for kind, path := range map[string][]string{
		"DaemonSet":      {"spec", "template", "spec", "priorityClas"},
		"ServiceMonitor": {"spec", "selctor"},
	} {
		for _, object := range render(t, "kustomize", "monitoring") {
			if object.GetKind() != kind {
				continue
			}
			check(t, unstructured.SetNestedField(object.Object, "x", path...))
			if err := dryRun(t.Context(), cluster, mapper, object); !apierrors.IsBadRequest(err) && !apierrors.IsInternalError(err) && !apierrors.IsInvalid(err) {
				t.Errorf("%s with %q: got %v", kind, path, err)
			}
		}
	}
}

// prepare makes what the settings need: their namespaces, and the kinds of the
// Prometheus operator.
func prepare(t *testing.T, cluster *testkit.Cluster) meta.RESTMapper {
	t.Helper()
	names := []string{"sandbox"}
	for _, setting := range settingNames(t) {
		names = append(names, namespaceOf(t, filepath.Join(settings, setting)))
	}
	for _, name := range names {
		_, err := cluster.Kubernetes.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			check(t, err)
		}
	}
	files, err := filepath.Glob(monitoringCRDs + "/*.yaml")
	check(t, err)
	if len(files) == 0 {
		t.Skipf("needs %s: run `make test`, or `make bin/prometheus-crds`", monitoringCRDs)
	}
	definitions, err := testkit.ReadManifests(files...)
	check(t, err)
	kinds := cluster.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, definition := range definitions {
		// Those of an operator that is there already stay.
		if _, err := kinds.Create(t.Context(), definition, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			check(t, err)
		}
	}
	client, err := discovery.NewDiscoveryClientForConfig(cluster.REST)
	check(t, err)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	for _, definition := range definitions {
		kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
		check(t, wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
			_, err := mapper.RESTMapping(schema.GroupKind{Group: "monitoring.coreos.com", Kind: kind}, "v1")
			if meta.IsNoMatchError(err) {
				mapper.Reset()
				return false, nil
			}
			return err == nil, err
		}))
	}
	return mapper
}

// dryRun has the API server do all that it does with a new object but keep it.
func dryRun(ctx context.Context, cluster *testkit.Cluster, mapper meta.RESTMapper, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot && object.GetNamespace() != "" {
		return errors.New("an object of the cluster has a namespace")
	}
	options := metav1.PatchOptions{
		DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict, FieldManager: "manifests", Force: new(true),
	}
	data, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = cluster.Dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()).Patch(ctx, object.GetName(), types.ApplyPatchType, data, options)
	return err
}

// examples are the files that an operator is told to apply.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(repository + "/manifests/examples/*.yaml")
	check(t, err)
	if len(files) == 0 {
		t.Fatal("there are no examples")
	}
	_, err = os.Stat(repository + "/manifests/examples/kustomize/kustomization.yaml")
	check(t, err)
	return files
}
