// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	authv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
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

// An attempt is to get one identity in one way. The CertificateRequest that comes
// of it has its name, or is of a Certificate of its name.
type attempt struct {
	name string
	id   spiffeid.ID
}

// A way is how to ask for an identity.
type way struct {
	ask func(a *tenant, to attempt) error
	// want are reasons with which it is denied, whatever the identity.
	want []error
	// own is set if a Pod may get the identity of its own ServiceAccount in this
	// way: it is how the driver asks.
	own bool
}

// byController are the reasons to deny what cert-manager asks for a Certificate.
var byController = []error{policy.ErrNamespace, policy.ErrOwner}

// ways are all that a tenant can make of a CertificateRequest, by itself or by
// having a controller make it.
var ways = map[string]way{
	"Certificate": {want: byController, ask: func(a *tenant, to attempt) error { return a.createCertificate(a.certificate(to)) }},
	"Certificate that is labelled and annotated as the driver's requests": {want: byController, ask: func(a *tenant, to attempt) error {
		certificate := a.certificate(to)
		certificate.Labels, certificate.Annotations = a.driverMetadata(to)
		return a.createCertificate(certificate)
	}},
	"Certificate whose CSR has no usages": {want: byController, ask: func(a *tenant, to attempt) error {
		certificate := a.certificate(to)
		certificate.Spec.EncodeUsagesInRequest = new(false)
		return a.createCertificate(certificate)
	}},
	// The one way in which the namespace is right. A tenant cannot do this, but whoever
	// manages certificates of cert-manager's namespace can.
	"Certificate in cert-manager's namespace": {want: []error{policy.ErrOwner}, ask: func(a *tenant, to attempt) error {
		_, err := a.CertManager.CertmanagerV1().Certificates(testkit.InstallNamespace).Create(a.t.Context(), a.certificate(to), metav1.CreateOptions{})
		return err
	}},
	"Certificate with a literal subject": {want: byController, ask: func(a *tenant, to attempt) error {
		certificate := a.certificate(to)
		certificate.Spec.LiteralSubject = "O=system:masters"
		return a.createCertificate(certificate)
	}},
	"Certificate created by a deployment controller": {want: byController, ask: func(a *tenant, to attempt) error {
		_, err := a.inDeployer.CertManager.CertmanagerV1().Certificates(a.workload.Namespace).Create(a.t.Context(), a.certificate(to), metav1.CreateOptions{})
		return err
	}},
	"annotated Ingress": {want: byController, ask: (*tenant).createIngress},
	"annotated Gateway": {want: byController, ask: (*tenant).createGateway},
	"CertificateRequest of the user": {want: []error{policy.ErrUsername}, ask: func(a *tenant, to attempt) error {
		return a.create(a.user, a.forge(to, a.pod))
	}},
	"CertificateRequest of the user that names another requester": {want: []error{policy.ErrUsername}, ask: func(a *tenant, to attempt) error {
		request := a.forge(to, a.pod)
		namespace := strings.Split(to.id.Path(), "/")[2]
		request.Spec.Username = "system:serviceaccount:" + namespace + ":" + strings.Split(to.id.Path(), "/")[4]
		request.Spec.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
		request.Spec.Extra = map[string][]string{policy.ExtraPodName: {a.pod.Name}, policy.ExtraPodUID: {string(a.pod.UID)}}
		return a.create(a.user, request)
	}},
	"CertificateRequest of the user as an impersonated ServiceAccount": {want: []error{policy.ErrExtra}, ask: func(a *tenant, to attempt) error {
		return a.create(a.impersonating, a.forge(to, a.pod))
	}},
	"CertificateRequest with a token that is bound to nothing": {want: []error{policy.ErrExtra}, ask: func(a *tenant, to attempt) error {
		return a.create(a.account, a.forge(to, a.pod))
	}},
	"CertificateRequest with a token that is bound to a Secret": {want: []error{policy.ErrExtra}, ask: func(a *tenant, to attempt) error {
		return a.create(a.boundToSecret, a.forge(to, a.pod))
	}},
	"CertificateRequest with a Pod's token": {want: []error{policy.ErrIdentity}, own: true, ask: func(a *tenant, to attempt) error {
		return a.create(a.inPod, a.forge(to, a.pod))
	}},
	"CertificateRequest with a Pod's token, without an owner": {want: []error{policy.ErrOwner}, ask: func(a *tenant, to attempt) error {
		return a.create(a.inPod, a.forge(to, nil))
	}},
	"CertificateRequest with a Pod's token, owned by another Pod": {want: []error{policy.ErrOwner}, ask: func(a *tenant, to attempt) error {
		return a.create(a.inPod, a.forge(to, a.otherPod))
	}},
	"CertificateRequest with a Pod's token, owned by cert-manager's Pod": {want: []error{policy.ErrOwner}, ask: func(a *tenant, to attempt) error {
		return a.create(a.inPod, a.forge(to, a.certManager))
	}},
	"CertificateRequest with a Pod's token, in a neighbour's namespace": {want: []error{policy.ErrNamespace}, ask: func(a *tenant, to attempt) error {
		request := a.forge(to, a.pod)
		request.Namespace = a.neighbour
		return a.create(a.inPod, request)
	}},
	"CertificateRequest created by a deployment controller": {want: []error{policy.ErrNamespace, policy.ErrOwner}, ask: func(a *tenant, to attempt) error {
		return a.create(a.inDeployer, a.forge(to, a.pod))
	}},
	"CertificateRequest created by a deployment controller, owned by the controller's Pod": {want: []error{policy.ErrNamespace}, ask: func(a *tenant, to attempt) error {
		return a.create(a.inDeployer, a.forge(to, a.deployer))
	}},
}

// certificate asks for what the driver asks for, as far as a Certificate can.
func (a *tenant) certificate(to attempt) *cmapi.Certificate {
	demanded := a.config.Policy()
	ref := demanded.IssuerRef.Defaulted()
	return &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Name: to.name},
		Spec: cmapi.CertificateSpec{
			SecretName: to.name,
			URIs:       []string{to.id.String()},
			Duration:   &metav1.Duration{Duration: demanded.Duration},
			Usages:     policy.Usages(),
			IssuerRef:  cmmeta.IssuerReference{Name: ref.Name, Kind: ref.Kind, Group: ref.Group},
			PrivateKey: &cmapi.CertificatePrivateKey{
				Algorithm: cmapi.PrivateKeyAlgorithm(demanded.Key.Algorithm), Size: demanded.Key.Size,
				RotationPolicy: cmapi.RotationPolicyAlways,
			},
		},
	}
}

func (a *tenant) createCertificate(certificate *cmapi.Certificate) error {
	_, err := a.user.CertManager.CertmanagerV1().Certificates(a.workload.Namespace).Create(a.t.Context(), certificate, metav1.CreateOptions{})
	return err
}

// shimAnnotations have cert-manager make a Certificate of an Ingress or a Gateway.
func (a *tenant) shimAnnotations(to attempt) map[string]string {
	demanded := a.config.Policy()
	var usages []string
	for _, usage := range policy.Usages() {
		usages = append(usages, string(usage))
	}
	return map[string]string{
		cmapi.IngressClusterIssuerNameAnnotationKey:     a.issuer,
		cmapi.URISANAnnotationKey:                       to.id.String(),
		cmapi.AltNamesAnnotationKey:                     to.id.String(),
		cmapi.DurationAnnotationKey:                     demanded.Duration.String(),
		cmapi.UsagesAnnotationKey:                       strings.Join(usages, ","),
		cmapi.PrivateKeyAlgorithmAnnotationKey:          string(demanded.Key.Algorithm),
		cmapi.PrivateKeySizeAnnotationKey:               strconv.Itoa(demanded.Key.Size),
		cmapi.PrivateKeyRotationPolicyAnnotationKey:     string(cmapi.RotationPolicyAlways),
		policy.AnnotationHash:                           demanded.Hash(),
		"csi-driver-spiffe.example.org/some-annotation": "copied",
	}
}

func (a *tenant) createIngress(to attempt) error {
	_, err := a.user.Kubernetes.NetworkingV1().Ingresses(a.workload.Namespace).Create(a.t.Context(), &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: to.name, Annotations: a.shimAnnotations(to)},
		Spec: networkingv1.IngressSpec{
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "app", Port: networkingv1.ServiceBackendPort{Number: 443}}},
			TLS:            []networkingv1.IngressTLS{{Hosts: []string{"tenant.example.org"}, SecretName: to.name}},
		},
	}, metav1.CreateOptions{})
	return err
}

func (a *tenant) createGateway(to attempt) error {
	gateway := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
		"spec": map[string]any{"gatewayClassName": "none", "listeners": []any{map[string]any{
			"name": "https", "hostname": "tenant.example.org", "port": int64(443), "protocol": "HTTPS",
			"tls": map[string]any{"mode": "Terminate", "certificateRefs": []any{map[string]any{"name": to.name}}},
		}}},
	}}
	gateway.SetName(to.name)
	gateway.SetAnnotations(a.shimAnnotations(to))
	resource := schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
	_, err := a.user.Dynamic.Resource(resource).Namespace(a.workload.Namespace).Create(a.t.Context(), gateway, metav1.CreateOptions{})
	return err
}

// forge makes the request that the driver would make of owner for the identity.
func (a *tenant) forge(to attempt, owner *corev1.Pod) *cmapi.CertificateRequest {
	a.t.Helper()
	demanded := a.config.Policy()
	key, err := demanded.Key.Generate()
	a.check(err)
	csrPEM, err := csr.Build(to.id, key)
	a.check(err)
	request := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Name: to.name, Namespace: a.workload.Namespace},
		Spec:       demanded.CertificateRequestSpec(to.id, csrPEM),
	}
	request.Labels, request.Annotations = a.driverMetadata(to)
	if owner != nil {
		request.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: owner.Name, UID: owner.UID}}
	}
	return request
}

// driverMetadata is what the driver puts on a request.
func (a *tenant) driverMetadata(to attempt) (labels, annotations map[string]string) {
	volume := issuance.VolumeLabel(testkit.VolumeID(a.pod, testkit.VolumeName))
	return map[string]string{issuance.LabelNode: a.node, issuance.LabelVolume: volume},
		map[string]string{issuance.AnnotationIdentity: to.id.String(), policy.AnnotationHash: a.config.Policy().Hash()}
}

func (a *tenant) create(as *testkit.Cluster, request *cmapi.CertificateRequest) error {
	_, err := as.CertManager.CertmanagerV1().CertificateRequests(request.Namespace).Create(a.t.Context(), request, metav1.CreateOptions{})
	return err
}

// decided waits until each attempt has led to a CertificateRequest which is
// decided, and returns those by the name of the attempt.
func (a *tenant) decided(attempts []attempt) map[string]*cmapi.CertificateRequest {
	a.t.Helper()
	var found map[string]*cmapi.CertificateRequest
	var waiting []string
	err := wait.PollUntilContextTimeout(a.t.Context(), time.Second/2, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := a.CertManager.CertmanagerV1().CertificateRequests("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		found, waiting = map[string]*cmapi.CertificateRequest{}, nil
		for _, request := range list.Items {
			name := request.Name
			if certificate := request.Annotations[cmapi.CertificateNameKey]; certificate != "" {
				name = certificate
			}
			found[name] = &request
		}
		for _, attempt := range attempts {
			if request := found[attempt.name]; request == nil || !apiutil.CertificateRequestIsApproved(request) && !apiutil.CertificateRequestIsDenied(request) {
				waiting = append(waiting, attempt.name)
			}
		}
		return len(waiting) == 0, nil
	})
	if err != nil {
		a.t.Fatalf("no decided CertificateRequest for %v: %v", waiting, err)
	}
	return found
}

// A tenant who may do everything in a namespace gets no identity of the cluster,
// neither directly nor by having a controller ask, while a Pod of the same tenant
// gets its own from the driver. On a cluster of its own, so that "every identity of
// the cluster" is known.
func TestTenantGetsNoIdentity(t *testing.T) {
	t.Parallel()
	testkit.Require(t)
	w := prepareOn(t, testkit.RequireOwn(t), withoutAdmission) // for the approver alone to be tried
	a := newTenant(w)
	w.startApprover()
	own, err := spiffeid.FromSegments(w.config.Policy().TrustDomain, "ns", w.workload.Namespace, "sa", w.workload.ServiceAccount)
	w.check(err)

	attempts := map[string][]attempt{}
	var all []attempt
	for i, name := range slices.Sorted(maps.Keys(ways)) {
		for j, id := range a.identities() {
			if id == own && ways[name].own {
				continue
			}
			attempt := attempt{name: fmt.Sprintf("way-%d-id-%d", i, j), id: id}
			if err := ways[name].ask(a, attempt); err != nil {
				t.Fatalf("%s for %s: %v", name, id, err)
			}
			attempts[name], all = append(attempts[name], attempt), append(all, attempt)
		}
	}
	decided := a.decided(all)
	for name, attempts := range attempts {
		t.Run(name, func(t *testing.T) {
			for _, attempt := range attempts {
				requireDeniedFor(t, attempt.id, decided[attempt.name], ways[name].want)
			}
		})
	}
	a.requireNoCertificates(all, decided)

	// Not before: it deletes requests that a pod made under its labels for a volume
	// that does not exist.
	w.startDriver()
	if svid := w.readSVID(w.publish(w.pod("honest"))); svid.ID != own {
		t.Errorf("the pod has the identity %s, want %s", svid.ID, own)
	}
}

// requireDeniedFor asserts that a request is denied for all reasons that are wanted.
func requireDeniedFor(t *testing.T, id spiffeid.ID, request *cmapi.CertificateRequest, want []error) {
	t.Helper()
	denied := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionDenied)
	if denied == nil {
		t.Errorf("%s: not denied: requester %s, conditions %+v", id, request.Spec.Username, request.Status.Conditions)
		return
	}
	for _, reason := range want {
		if !strings.Contains(denied.Message, reason.Error()) {
			t.Errorf("%s: denied without the reason %q: %s", id, reason, denied.Message)
		}
	}
}

// requireNoCertificates asserts that nothing was signed for any attempt.
func (a *tenant) requireNoCertificates(attempts []attempt, decided map[string]*cmapi.CertificateRequest) {
	a.t.Helper()
	for _, attempt := range attempts {
		if len(decided[attempt.name].Status.Certificate) > 0 {
			a.t.Errorf("%s: a certificate was signed", attempt.id)
		}
	}
	secrets, err := a.Kubernetes.CoreV1().Secrets("").List(a.t.Context(), metav1.ListOptions{})
	a.check(err)
	for _, secret := range secrets.Items {
		if len(secret.Data[corev1.TLSCertKey]) > 0 && secret.Name != a.issuer {
			a.t.Errorf("Secret %s holds a certificate", secret.Name)
		}
	}
}

// What would let a tenant go around the approver is forbidden.
func TestTenantIsForbidden(t *testing.T) {
	w := prepare(t, withoutAdmission) // for the approver alone to be tried
	a := newTenant(w)
	forged := a.forge(attempt{name: "asked", id: spiffeid.RequireFromString("spiffe://" + trustDomain + "/ns/cert-manager/sa/cert-manager")}, a.pod)
	w.check(a.create(a.user, forged))
	requests := a.user.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	for name, try := range map[string]func() error{
		"token of cert-manager's ServiceAccount": func() error {
			_, err := a.user.ServiceAccountConfig(t.Context(), testkit.InstallNamespace, "cert-manager")
			return err
		},
		"request in cert-manager's namespace": func() error {
			elsewhere := forged.DeepCopy()
			elsewhere.Namespace = testkit.InstallNamespace
			return a.create(a.user, elsewhere)
		},
		"approval": func() error {
			request, err := requests.Get(t.Context(), forged.Name, metav1.GetOptions{})
			w.check(err)
			apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "Tenant", "approved by the tenant")
			_, err = requests.UpdateStatus(t.Context(), request, metav1.UpdateOptions{})
			return err
		},
		"approval with the rights of a deployment controller": func() error {
			_, err := a.inDeployer.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Patch(t.Context(), forged.Name, types.MergePatchType,
				[]byte(`{"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Tenant", "message": "m"}]}}`), metav1.PatchOptions{}, "status")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := try(); !apierrors.IsForbidden(err) {
				t.Errorf("got %v, want that it is forbidden", err)
			}
		})
	}
	t.Run("change of the requester", func(t *testing.T) {
		_, err := requests.Patch(t.Context(), forged.Name, types.MergePatchType,
			[]byte(`{"spec": {"username": "system:serviceaccount:cert-manager:cert-manager"}}`), metav1.PatchOptions{})
		if err == nil || !strings.Contains(err.Error(), "webhook.cert-manager.io") {
			t.Errorf("got %v, want a refusal by cert-manager's webhook", err)
		}
	})
}
