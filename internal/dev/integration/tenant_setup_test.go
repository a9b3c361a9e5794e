// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"maps"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	authv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// A tenant has the rights of ClusterRole "edit", as cert-manager extends it, in
// one namespace: that of the world's workload. See [newTenant] for who else is in
// the cluster.
type tenant struct {
	*world
	// user is the cluster as the tenant sees it.
	user *testkit.Cluster
	// account is the cluster with a token of the tenant's ServiceAccount that the
	// tenant has requested, bound to nothing.
	account *testkit.Cluster
	// boundToSecret is the same with a token bound to a Secret of the tenant's.
	boundToSecret *testkit.Cluster
	// impersonating is the cluster as the tenant sees it who impersonates the
	// ServiceAccount.
	impersonating *testkit.Cluster
	// pod is a Pod of the tenant's with that ServiceAccount, and inPod the cluster
	// with its token.
	pod, otherPod *corev1.Pod
	inPod         *testkit.Cluster
	// deployer is the Pod of a controller in another namespace that applies
	// manifests of tenants in their namespaces, under its own name, and inDeployer
	// the cluster with its token.
	deployer   *corev1.Pod
	inDeployer *testkit.Cluster
	// neighbour is a namespace in which the tenant's ServiceAccount may create
	// CertificateRequests.
	neighbour string
	// certManager is the Pod of cert-manager's controllers.
	certManager *corev1.Pod
}

// tenantRules are what ClusterRole "edit" grants of what matters here (Kubernetes'
// own, and cert-manager-edit of cert-manager's Helm chart).
func tenantRules() []rbacv1.PolicyRule {
	all := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificates", "certificaterequests", "issuers"}, Verbs: all},
		{APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificates/status"}, Verbs: []string{"update"}},
		{APIGroups: []string{""}, Resources: []string{"pods", "secrets", "serviceaccounts"}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses"}, Verbs: all},
		{APIGroups: []string{"gateway.networking.k8s.io"}, Resources: []string{"gateways"}, Verbs: all},
	}
}

// newTenant makes a tenant, a controller that applies manifests for tenants, and
// a namespace of another tenant, on a world with neither driver nor approver.
func newTenant(w *world) *tenant {
	w.t.Helper()
	ctx, name := w.t.Context(), w.workload.Namespace
	user := rest.ImpersonationConfig{UserName: "tenant@example.com", Groups: []string{"system:authenticated"}}
	a := &tenant{world: w, neighbour: name + "-neighbour"}
	a.user = a.impersonate(user)
	deployer := testkit.Workload{Namespace: name + "-deployer", ServiceAccount: "deployer", Driver: w.workload.Driver}
	w.check(w.CreateNamespace(ctx, deployer))
	w.check(w.CreateNamespace(ctx, testkit.Workload{Namespace: a.neighbour, ServiceAccount: "neighbour"}))

	_, err := w.Kubernetes.RbacV1().Roles(name).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "edit"}, Rules: tenantRules()}, metav1.CreateOptions{})
	w.check(err)
	a.bind(name, "edit", rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user.UserName})
	a.bind(name, "edit", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: deployer.Namespace, Name: deployer.ServiceAccount})
	a.bind(a.neighbour, "neighbour", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: name, Name: w.workload.ServiceAccount})

	a.pod, err = a.user.CreatePod(ctx, w.workload, "tenant-0", w.node)
	w.check(err)
	a.otherPod, err = a.user.CreatePod(ctx, w.workload, "tenant-1", w.node)
	w.check(err)
	a.deployer, err = w.CreatePod(ctx, deployer, "deployer-0", w.node)
	w.check(err)
	a.inPod = a.clusterOf(a.user.PodConfig(ctx, a.pod))
	a.inDeployer = a.clusterOf(w.PodConfig(ctx, a.deployer))
	a.account = a.clusterOf(a.user.ServiceAccountConfig(ctx, name, w.workload.ServiceAccount))
	a.boundToSecret = a.clusterOf(a.secretConfig())
	account := "system:serviceaccount:" + name + ":" + w.workload.ServiceAccount
	a.impersonating = a.impersonateAs(user, account)
	controllers, err := w.Kubernetes.CoreV1().Pods(testkit.InstallNamespace).List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=cert-manager,app.kubernetes.io/component=controller",
	})
	w.check(err)
	if len(controllers.Items) == 0 {
		w.t.Fatalf("no Pod of cert-manager's controllers in namespace %s", testkit.InstallNamespace)
	}
	a.certManager = &controllers.Items[0]
	return a
}

// bind binds a Role to a subject, and waits until the API server has seen it.
func (a *tenant) bind(namespace, role string, subject rbacv1.Subject) {
	a.t.Helper()
	_, err := a.Kubernetes.RbacV1().RoleBindings(namespace).Create(a.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{})
	a.check(err)
	user := subject.Name
	if subject.Kind == rbacv1.ServiceAccountKind {
		user = "system:serviceaccount:" + subject.Namespace + ":" + subject.Name
	}
	review := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User:               user,
		ResourceAttributes: &authzv1.ResourceAttributes{Namespace: namespace, Verb: "create", Group: "cert-manager.io", Resource: "certificaterequests"},
	}}
	a.eventually("the API server has seen the RoleBinding for "+user, func() bool {
		answer, err := a.Kubernetes.AuthorizationV1().SubjectAccessReviews().Create(a.t.Context(), review, metav1.CreateOptions{})
		a.check(err)
		return answer.Status.Allowed
	})
}

func (a *tenant) clusterOf(config *rest.Config, err error) *testkit.Cluster {
	a.t.Helper()
	a.check(err)
	cluster, err := testkit.NewCluster(config)
	a.check(err)
	return cluster
}

// impersonate has the administrator stand in for a user's own credentials.
func (a *tenant) impersonate(user rest.ImpersonationConfig) *testkit.Cluster {
	a.t.Helper()
	config := rest.CopyConfig(a.REST)
	config.Impersonate = user
	return a.clusterOf(config, nil)
}

// impersonateAs has the tenant impersonate a ServiceAccount. The administrator
// cannot impersonate the tenant as well, so it does what the API server lets the
// tenant do: the right to impersonate a ServiceAccount covers its user name and
// groups, and no extra fields.
func (a *tenant) impersonateAs(user rest.ImpersonationConfig, account string) *testkit.Cluster {
	a.t.Helper()
	may := func(resource string) bool {
		attributes := &authzv1.ResourceAttributes{Verb: "impersonate", Resource: resource, Namespace: a.workload.Namespace, Name: a.workload.ServiceAccount}
		if resource == "userextras" {
			attributes = &authzv1.ResourceAttributes{Verb: "impersonate", Group: "authentication.k8s.io", Resource: resource, Subresource: policy.ExtraPodName, Name: "tenant-0"}
		}
		answer, err := a.Kubernetes.AuthorizationV1().SubjectAccessReviews().Create(a.t.Context(), &authzv1.SubjectAccessReview{
			Spec: authzv1.SubjectAccessReviewSpec{User: user.UserName, ResourceAttributes: attributes},
		}, metav1.CreateOptions{})
		a.check(err)
		return answer.Status.Allowed
	}
	if !may("serviceaccounts") || may("userextras") {
		a.t.Fatalf("the tenant may impersonate the ServiceAccount: %t, and extra fields: %t; want only the first", may("serviceaccounts"), may("userextras"))
	}
	return a.impersonate(rest.ImpersonationConfig{
		UserName: account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + a.workload.Namespace, "system:authenticated"},
	})
}

// secretConfig is how the API is reached with a token that is bound to a Secret.
func (a *tenant) secretConfig() (*rest.Config, error) {
	ctx, core := a.t.Context(), a.user.Kubernetes.CoreV1()
	secret, err := core.Secrets(a.workload.Namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "binding"}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	token, err := core.ServiceAccounts(a.workload.Namespace).CreateToken(ctx, a.workload.ServiceAccount, &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		BoundObjectRef: &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: secret.Name, UID: secret.UID},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return a.As(token.Status.Token), nil
}

// identities are the SPIFFE IDs of all ServiceAccounts of the cluster, and of some
// that a cluster usually has.
func (a *tenant) identities() []spiffeid.ID {
	a.t.Helper()
	list, err := a.Kubernetes.CoreV1().ServiceAccounts("").List(a.t.Context(), metav1.ListOptions{})
	a.check(err)
	accounts := map[string]bool{
		"ns/kube-system/sa/generic-garbage-collector": true, "ns/default/sa/default": true,
		"ns/" + a.workload.Namespace + "/sa/default": true,
	}
	for _, account := range list.Items {
		accounts["ns/"+account.Namespace+"/sa/"+account.Name] = true
	}
	var ids []spiffeid.ID
	for _, path := range slices.Sorted(maps.Keys(accounts)) {
		id, err := spiffeid.FromPath(a.config.Policy().TrustDomain, "/"+path)
		a.check(err)
		ids = append(ids, id)
	}
	return ids
}
