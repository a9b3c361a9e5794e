// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"strings"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// The CSIDriver object of cert-manager/csi-driver-spiffe says nothing of
// attachRequired, so that it is true and stays so. `helm template` cannot look
// into the cluster: an operator says it, or deletes the object.
func TestTheCSIDriverOfTheExistingProjectCanBeUpgraded(t *testing.T) {
	t.Parallel()
	cluster := testkit.Require(t)
	mapper := prepare(t, cluster)
	const name = "upgraded.example.org"
	drivers := cluster.Kubernetes.StorageV1().CSIDrivers()
	_, err := drivers.Create(t.Context(), &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: storagev1.CSIDriverSpec{
			PodInfoOnMount: new(true), VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral},
			TokenRequests: []storagev1.TokenRequest{{ExpirationSeconds: new(int64(3600))}}, RequiresRepublish: new(true),
		},
	}, metav1.CreateOptions{})
	check(t, err)
	upgrade := func(args ...string) error {
		i := installation{t: t, objects: objects(t, helmTemplate(t, append(args, "--set", "app.name="+name)...))}
		return dryRun(t.Context(), cluster, mapper, i.find("CSIDriver", name))
	}
	if err := upgrade(); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "field is immutable") {
		t.Errorf("got %v, want that attachRequired cannot change", err)
	}
	check(t, upgrade("--set", "app.driver.attachRequired=true"))
	check(t, drivers.Delete(t.Context(), name, metav1.DeleteOptions{}))
	check(t, upgrade())
}
