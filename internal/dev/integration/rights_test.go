// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// right is a rule of the manifests, or one verb of a rule. Its name is ROLE:
// RESOURCE, or ROLE: RESOURCE: VERB.
type right struct {
	// message is what somebody is told when it is missing.
	message string
	// row is what README says of it, or empty.
	row troubleshooting.Row
	// provoke does what needs it, and returns where to look for the message.
	provoke func(w *world) (told func() string)
	// works asserts that it goes on by itself when the right is given. It may be
	// nil.
	works func(w *world)
}

// rights has a row for each rule of manifests/base.
var rights = map[string]right{
	"ClusterRole csi-driver-spiffe: certificaterequests": {
		message: `cannot list resource "certificaterequests"`, provoke: publishing, works: published,
		row: troubleshooting.Row(`cannot list resource "certificaterequests"`),
	},
	"ClusterRole csi-driver-spiffe: certificaterequests: get": {
		message: `cannot get resource "certificaterequests"`, provoke: adopting,
	},
	"ClusterRole csi-driver-spiffe: certificaterequests: delete": {
		message: `cannot delete resource "certificaterequests"`, provoke: renewing,
		row: troubleshooting.Row(`cannot delete resource "certificaterequests"`),
	},
	"Role csi-driver-spiffe: events": {
		message: `cannot create resource "events"`, provoke: driverRefusingItsFile,
	},
	"ClusterRole csi-driver-spiffe-approver: signers": {
		message: "the rule {apiGroups: [cert-manager.io], resources: [signers], verbs: [approve], resourceNames: [clusterissuers.cert-manager.io/",
		provoke: approving, works: approved,
		row: troubleshooting.Row("the approver's ClusterRole lacks… the rule {…}"),
	},
	"ClusterRole csi-driver-spiffe-approver: certificaterequests/status": {
		message: "lacks the rule {apiGroups: [cert-manager.io], resources: [certificaterequests/status], verbs: [update]}",
		provoke: approving, works: approved,
	},
	"ClusterRole csi-driver-spiffe-approver: certificaterequests": {
		message: "lacks the rule {apiGroups: [cert-manager.io], resources: [certificaterequests], verbs: [list, watch]}",
		provoke: approving, works: approved,
	},
	"ClusterRole csi-driver-spiffe-approver: events": {
		message: `cannot create resource "events"`, provoke: denying,
	},
	"Role csi-driver-spiffe-approver: leases: create": {
		message: `cannot create resource "leases"`, provoke: electing,
	},
	"Role csi-driver-spiffe-approver: leases: get": {
		message: `cannot get resource "leases"`, provoke: electing,
		row: troubleshooting.Row(`cannot … resource "leases"`),
	},
	"Role csi-driver-spiffe-approver: leases: update": {
		message: `cannot update resource "leases"`, provoke: electing,
	},
}

// Each right that the manifests give is needed: without it something does not
// work, and says which right is missing. That all of them together are enough is
// what every other test shows, for the daemons have no others.
func TestEachRightIsNeededAndNamedWhenItIsMissing(t *testing.T) {
	for name, row := range rights {
		t.Run(name, func(t *testing.T) {
			w := prepare(t)
			role, resource, _ := strings.Cut(name, ": ")
			resource, verb, _ := strings.Cut(resource, ": ")
			restore := w.take(role+"-"+w.issuer, resource, verb)
			told := row.provoke(w)
			w.eventually("somebody is told: "+row.message, func() bool { return strings.Contains(strings.ReplaceAll(told(), `\"`, `"`), row.message) })
			if row.row != "" {
				row.row.Seen(t, told())
			}
			restore()
			if row.works != nil {
				row.works(w)
			}
		})
	}
}

// No rule of the manifests is without a row above.
func TestEachRuleOfTheManifestsIsAmongTheRights(t *testing.T) {
	t.Parallel()
	base := filepath.Join(repository, "manifests", "base")
	objects, err := testkit.ReadManifests(filepath.Join(base, "driver-rbac.yaml"), filepath.Join(base, "approver-rbac.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rows := slices.Collect(maps.Keys(rights))
	for _, object := range objects {
		if !strings.HasSuffix(object.GetKind(), "Role") {
			continue
		}
		var role rbacv1.ClusterRole // which has all fields of a Role
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			prefix := fmt.Sprintf("%s %s: %s", object.GetKind(), object.GetName(), rule.Resources[0])
			if !slices.ContainsFunc(rows, func(row string) bool { return row == prefix || strings.HasPrefix(row, prefix+": ") }) {
				t.Errorf("no row for %s", prefix)
			}
		}
	}
}

// take takes a right away, and waits until it is gone. An empty verb is all of
// them.
func (w *world) take(role, resource, verb string) (restore func()) {
	w.t.Helper()
	kind, name, _ := strings.Cut(role, " ")
	all := w.rules(kind, name, nil)
	kept := []rbacv1.PolicyRule{}
	var taken *rbacv1.PolicyRule
	for _, rule := range all {
		if rule.Resources[0] == resource && (verb == "" || slices.Contains(rule.Verbs, verb)) {
			taken = rule.DeepCopy()
			rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return verb == "" || v == verb })
		}
		if len(rule.Verbs) > 0 {
			kept = append(kept, rule)
		}
	}
	if taken == nil {
		w.t.Fatalf("%s has no rule for %s", role, resource)
	}
	if verb == "" {
		verb = taken.Verbs[len(taken.Verbs)-1]
	}
	w.rules(kind, name, kept)
	w.eventually("the right is gone", func() bool { return !w.may(kind, name, taken, verb) })
	return func() { w.rules(kind, name, all) }
}

// rules reads the rules of a role, or writes them.
func (w *world) rules(kind, name string, wanted []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	w.t.Helper()
	ctx, roles, clusterRoles := w.t.Context(), w.Kubernetes.RbacV1().Roles(testkit.InstallNamespace), w.Kubernetes.RbacV1().ClusterRoles()
	if kind == "Role" {
		role, err := roles.Get(ctx, name, metav1.GetOptions{})
		w.check(err)
		if wanted != nil {
			role.Rules = wanted
			_, err = roles.Update(ctx, role, metav1.UpdateOptions{})
			w.check(err)
		}
		return role.Rules
	}
	role, err := clusterRoles.Get(ctx, name, metav1.GetOptions{})
	w.check(err)
	if wanted != nil {
		role.Rules = wanted
		_, err = clusterRoles.Update(ctx, role, metav1.UpdateOptions{})
		w.check(err)
	}
	return role.Rules
}

// may asks the API server, which learns of rules by and by. A role and its
// ServiceAccount have one name.
func (w *world) may(kind, name string, rule *rbacv1.PolicyRule, verb string) bool {
	w.t.Helper()
	resource, sub, _ := strings.Cut(rule.Resources[0], "/")
	attributes := &authorizationv1.ResourceAttributes{Group: rule.APIGroups[0], Resource: resource, Subresource: sub, Verb: verb}
	if len(rule.ResourceNames) > 0 {
		attributes.Name = rule.ResourceNames[0]
	}
	if kind == "Role" {
		attributes.Namespace = testkit.InstallNamespace
	}
	review, err := w.Kubernetes.AuthorizationV1().SubjectAccessReviews().Create(w.t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + testkit.InstallNamespace + ":" + name, ResourceAttributes: attributes,
		},
	}, metav1.CreateOptions{})
	w.check(err)
	return review.Status.Allowed
}

// publishing has a pod want its volume, and returns what the kubelet is told.
func publishing(w *world) func() string {
	w.config = w.changedConfig("driver: {httpAddress: '', publishTimeout: 2s}")
	w.startApprover()
	w.startDriver()
	return w.publishError("web-0")
}

func published(w *world) {
	pod := w.pod("web-1")
	w.eventually("a pod gets its volume", func() bool {
		_, err := w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
}

// publishError publishes a pod's volume each time that it is called.
func (w *world) publishError(name string) func() string {
	pod := w.pod(name)
	return func() string {
		_, err := w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		return fmt.Sprint(err)
	}
}

// adopting has the driver learn that its request is there already, as it does
// when the answer to the first attempt was lost, before the watch shows it.
func adopting(w *world) func() string {
	w.config = w.changedConfig("driver: {httpAddress: '', publishTimeout: 2s}")
	proxy := w.behindProxy()
	w.startDriver()
	there := testkit.Refuse(metav1.Status{Code: http.StatusConflict, Reason: metav1.StatusReasonAlreadyExists, Message: "it is there"})
	proxy.Inject(testkit.OnCreate(there))
	return w.publishError("web-0")
}

// renewing has a volume renewed, whose first request is of no use then.
func renewing(w *world) func() string {
	w.config = w.changedConfig("certificate: {duration: 10s}")
	w.startApprover()
	w.startDriver()
	w.publish(w.pod("web-0"))
	return w.log.String
}

func approving(w *world) func() string {
	w.startApprover()
	w.request(w.spec("example-app"))
	return w.log.String
}

func approved(w *world) { w.requireApproved(w.request(w.spec("example-app"))) }

// denying has a process deny a request: what its libraries log is in its log.
func denying(w *world) func() string {
	told := w.startProcess("csi-driver-spiffe-approver")
	w.requireDenied(w.request(w.spec("somebody-else")))
	return told
}

func electing(w *world) func() string {
	w.config = w.changedConfig("approver: {httpAddress: '', leaderElection: {leaseName: csi-driver-spiffe-approver-" + w.issuer +
		", leaseDuration: 2s, renewDeadline: 1s, retryPeriod: 200ms}}")
	return w.startProcess("csi-driver-spiffe-approver")
}

// driverRefusingItsFile has a driver find a bad file in the place of its own.
func driverRefusingItsFile(w *world) func() string {
	told := w.startProcess("csi-driver-spiffe", "--node-name="+w.node, "--csi-socket="+w.socketPath())
	w.t.Cleanup(w.unmountAll)
	w.eventually("the driver runs", func() bool { return strings.Contains(told(), "config.yaml") })
	w.check(os.WriteFile(filepath.Join(w.dir, "config.yaml"), []byte("nothing: good\n"), 0o600))
	return told
}

// startProcess runs a daemon as a process, and returns its log.
func (w *world) startProcess(name string, args ...string) func() string {
	w.t.Helper()
	bin := testkit.RequirePrograms(w.t)
	text, err := w.config.YAML()
	w.check(err)
	w.check(os.WriteFile(filepath.Join(w.dir, "config.yaml"), text, 0o600))
	access := w.installation.Driver
	if strings.HasSuffix(name, "approver") {
		access, args = w.installation.Approver, []string{"--identity=process", "--namespace=" + testkit.InstallNamespace}
	}
	program, err := testkit.StartProgramWith([]string{"POD_NAME=process", "POD_NAMESPACE=" + testkit.InstallNamespace}, bin, w.dir, name, access, args...)
	w.check(err)
	w.t.Cleanup(func() { _ = program.Kill() })
	return func() string {
		text, err := os.ReadFile(program.Log)
		w.check(err)
		return string(text)
	}
}
