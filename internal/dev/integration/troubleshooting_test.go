// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sys/unix"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// The rows of README's section Troubleshooting that no other test provokes. Those
// about the kubelet and about containers are in package e2e.

// What the kubelet may ask for that is refused before anything is requested.
func TestTroubleshootingOfVolumes(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		change func(*csi.NodePublishVolumeRequest)
		sees   troubleshooting.Row
	}{
		"read-write": {refusals()["not read-only"].change, troubleshooting.Row("volume refused: pod.spec.…")},
		"no token":   {refusals()["no token"].change, troubleshooting.Row("no ServiceAccount token for the API server …")},
		"another root folder of the kubelet": {
			func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "/data/kubelet/pods/uid/mount" },
			troubleshooting.Row("target_path … is not in …, where the kubelet has the volumes of pods"),
		},
		"a file": {
			func(r *csi.NodePublishVolumeRequest) { w.check(os.WriteFile(r.GetTargetPath(), nil, 0o600)) },
			troubleshooting.Row("target_path is in use by something else"),
		},
		"no folder of the kubelet": { // there is no other pod
			func(*csi.NodePublishVolumeRequest) { w.check(os.RemoveAll(filepath.Join(w.kubeletRoot(), "pods"))) },
			troubleshooting.Row("the kubelet's folder is not there"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := w.kubelet.PublishRequest(t.Context(), w.pod(testkit.UniqueName("pod")), testkit.VolumeName)
			w.check(err)
			row.change(request)
			if _, err = w.kubelet.Node.NodePublishVolume(t.Context(), request); err == nil {
				t.Fatal("it is published")
			}
			row.sees.Seen(t, err.Error())
		})
	}
}

// Issuers that do not sign, one after the other, for one pod.
func TestTroubleshootingOfIssuers(t *testing.T) {
	w := newWorld(t, impatient)
	pod := w.pod("web-0")
	w.setIssuer(silentIssuer())
	w.waitsWith(pod, troubleshooting.Row("waiting for the issuer to sign: … it has said nothing yet"))
	w.setIssuer(cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "missing"}})
	w.waitsWith(pod, troubleshooting.Row("waiting for the issuer to sign: … Referenced issuer does not have a Ready status condition"))
	w.setIssuer(cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}})
	w.waitsWith(pod, troubleshooting.Row("CertificateRequest … failed: …"))
	w.setIssuer(cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: w.issuer}})
	w.publishSoon(pod)
}

// silentIssuer never answers: nothing of cert-manager that signs with Venafi runs in this
// cluster.
func silentIssuer() cmapi.IssuerConfig {
	return cmapi.IssuerConfig{Venafi: &cmapi.VenafiIssuer{
		Zone: "none", TPP: &cmapi.VenafiTPP{URL: "https://127.0.0.1:1", CredentialsRef: cmmeta.LocalObjectReference{Name: "missing"}},
	}}
}

// setIssuer changes how the world's issuer signs.
func (w *world) setIssuer(to cmapi.IssuerConfig) {
	w.t.Helper()
	issuers := w.CertManager.CertmanagerV1().ClusterIssuers()
	w.eventually("the issuer is changed", func() bool { // cert-manager writes to it, too
		issuer, err := issuers.Get(w.t.Context(), w.issuer, metav1.GetOptions{})
		w.check(err)
		issuer.Spec.IssuerConfig = to
		_, err = issuers.Update(w.t.Context(), issuer, metav1.UpdateOptions{})
		return err == nil
	})
}

// cert-manager's webhook does not answer when a request is created.
func TestTroubleshootingOfTheWebhook(t *testing.T) {
	w := newWorld(t, impatient)
	requests := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	restore := w.breakWebhook(admissionv1.Create, "certificaterequests", func() error {
		request := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: w.spec("example-app")}
		_, err := requests.Create(t.Context(), request, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	pod := w.pod("web-0")
	w.waitsWith(pod, troubleshooting.Row(`failed calling webhook "webhook.cert-manager.io": … is cert-manager-webhook running?`))
	restore()
	w.publishSoon(pod)
}

// The kubelet does not look for the driver, or not where its socket is.
func TestTroubleshootingOfRegistration(t *testing.T) {
	for name, row := range map[string]struct {
		folder string
		sees   troubleshooting.Row
	}{
		"no kubelet": {"plugins_registry", troubleshooting.Row("the kubelet has not registered the driver yet")},
		"no folder":  {"missing", troubleshooting.Row("the registration socket is not there: …")},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t)
			dir := filepath.Dir(w.socketPath()) // which is short
			w.check(os.Mkdir(filepath.Join(dir, "plugins_registry"), 0o755))
			w.registration = &driver.Registration{Folder: filepath.Join(dir, row.folder), Endpoint: "/csi/csi.sock"}
			w.startDriver()
			w.eventually("not ready, for the reason", func() bool {
				err := w.driver.Ready()
				return err != nil && row.sees.In(err.Error())
			})
			row.sees.Seen(t, w.driver.Ready().Error())
		})
	}
}

// The driver's pod in a namespace where Pod Security admission does not let it be.
func TestTroubleshootingOfPodSecurity(t *testing.T) {
	w := prepare(t)
	objects, err := testkit.ReadManifests(filepath.Join(repository, "manifests/base/driver.yaml"))
	w.check(err)
	i := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == "DaemonSet" })
	var set appsv1.DaemonSet
	w.check(runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, &set))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "driver"}, Spec: set.Spec.Template.Spec}
	pod.Spec.ServiceAccountName = w.workload.ServiceAccount
	create := func() error {
		_, err := w.Kubernetes.CoreV1().Pods(w.workload.Namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	w.check(create())
	_, err = w.Kubernetes.CoreV1().Namespaces().Patch(t.Context(), w.workload.Namespace, types.MergePatchType,
		[]byte(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}`), metav1.PatchOptions{})
	w.check(err)
	w.eventually("the pod is refused", func() bool { err = create(); return err != nil })
	troubleshooting.Row(`violates PodSecurity "…"`).Seen(t, err.Error())
}

// cert-manager's default approver cannot be had here, for there is no switch to
// turn it on: what it does is done in its place, word for word
// (cert-manager/pkg/controller/certificaterequests/approver).
func TestTroubleshootingOfAnotherApprover(t *testing.T) {
	w := prepare(t, func(*world) string { return "rollout: {gracePeriod: 10m}" })
	w.startApprover()
	// It has a stamp that is not known: there is time to be faster.
	name := w.stampedRequest(w.spec("somebody-else"), "0123456789abcdef")
	w.logged("put off")
	requests := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	request, err := requests.Get(t.Context(), name, metav1.GetOptions{})
	w.check(err)
	apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue,
		"cert-manager.io", "Certificate request has been approved by cert-manager.io")
	_, err = requests.UpdateStatus(t.Context(), request, metav1.UpdateOptions{})
	w.check(err)
	w.logs(troubleshooting.Row("approved by another approver, which may let everything pass"))
	w.logged("by=cert-manager.io")
}

// An issuer of a kind that does not exist.
func TestTroubleshootingOfTheKindOfIssuer(t *testing.T) {
	w := prepare(t)
	w.config = w.changedConfig("issuerRef: {name: " + w.issuer + ", kind: Issuerr, group: example.org}")
	w.startApprover()
	w.request(w.spec("example-app"))
	w.logs(troubleshooting.Row("the API server knows no issuers of this kind and group"))
}

// A replica that stands by, and that finds bad versions of its file.
func TestTroubleshootingOfAStandbyAndItsFile(t *testing.T) {
	w := prepare(t)
	lease, address := "csi-driver-spiffe-approver-"+w.issuer, w.freeAddress()
	w.config = w.changedConfig("approver: {httpAddress: '" + address + "', leaderElection: {leaseName: " + lease + "}}")
	_, err := w.Kubernetes.CoordinationV1().Leases(testkit.InstallNamespace).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: lease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("another"), LeaseDurationSeconds: ptr.To(int32(3600)),
			AcquireTime: &metav1.MicroTime{Time: time.Now()}, RenewTime: &metav1.MicroTime{Time: time.Now()},
		},
	}, metav1.CreateOptions{})
	w.check(err)
	told := w.startProcess("csi-driver-spiffe-approver")
	served := func(path string) func() string { return func() string { return w.get("http://" + address + path) } }
	sees := func(row troubleshooting.Row, where func() string) {
		t.Helper()
		w.eventually(string(row), func() bool { return row.In(where()) })
		row.Seen(t, where())
	}
	sees(troubleshooting.Row("csi_driver_spiffe_approver_leader 0"), served("/metrics"))
	w.eventually("it says who leads", func() bool { return strings.Contains(told(), "leader elected") })

	good := w.readFile(w.dir, "config.yaml")
	write := func(text string) { w.check(os.WriteFile(filepath.Join(w.dir, "config.yaml"), []byte(text), 0o600)) }
	write(strings.Replace(good, "trustDomain", "trustdomain", 1))
	sees(troubleshooting.Row("configuration refused, the running one stays"), told)
	sees(troubleshooting.Row("is not a field, did you mean …?"), told)
	sees(troubleshooting.Row("configuration refused at …, hash … of … stays"), served("/readyz"))
	write(strings.Replace(good, lease, "another-lease", 1))
	sees(troubleshooting.Row("cannot change while the program runs (from … to …), a restart takes it up"), told)
}

// get is what an address answers, or why it does not.
func (w *world) get(url string) string {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, http.NoBody)
	w.check(err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	w.check(err)
	return string(body)
}

// What an issuer may make of a request. cert-manager's own do none of this, and
// the clock of the cluster cannot be set: this test signs, as an external issuer
// does.
func TestTroubleshootingOfWhatIsSigned(t *testing.T) {
	w := newWorld(t, withBundle)
	w.setIssuer(silentIssuer())
	w.publishSignedAs("short", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(20 * time.Minute) })
	troubleshooting.Row("the issuer has signed for less than certificate.duration").Seen(t, w.log.String())

	w.check(w.publishSignedAs("long", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.AddDate(10, 0, 0) }))
	troubleshooting.Row("the issuer has signed for more than certificate.duration").Seen(t, w.log.String())
	if due := w.list()["long"].NextRenewal; time.Until(due) > w.config.Certificate.Duration {
		t.Errorf("the renewal is due at %s, after what was requested", due)
	}

	trusted := w.ca
	w.ca = w.newCA("not in the bundle")
	w.check(w.publishSignedAs("stranger", func(*x509.Certificate) {}))
	row := troubleshooting.Row("the trust bundle in force does not verify the certificate chain of a volume")
	w.eventually("the chain is checked", func() bool { return strings.Contains(w.log.String(), "does not verify") })
	row.Seen(t, w.log.String())
	w.ca = trusted

	err := w.publishSignedAs("nameless", func(c *x509.Certificate) { c.URIs = nil })
	troubleshooting.Row("issuer returned a certificate that is not the SVID that was asked for").Seen(t, fmt.Sprint(err))
}

// publishSignedAs publishes a volume for a new pod, with a certificate that was
// changed before it was signed.
func (w *world) publishSignedAs(name string, change func(*x509.Certificate)) error {
	w.t.Helper()
	return w.publishAnswered(w.pod(name), func(spec cmapi.CertificateRequestSpec) []byte { return w.signed(spec, change) })
}

// signed is what an issuer would make of a request, as changed.
func (w *world) signed(spec cmapi.CertificateRequestSpec, change func(*x509.Certificate)) []byte {
	w.t.Helper()
	block, _ := pem.Decode(spec.Request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	w.check(err)
	ca, err := tls.X509KeyPair(w.ca.CertificatePEM, w.ca.KeyPEM)
	w.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: csr.URIs,
		NotBefore: time.Now(), NotAfter: time.Now().Add(spec.Duration.Duration),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, csr.PublicKey, ca.PrivateKey)
	w.check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A program whose volume is mounted with subPath, and one that trusts somebody
// else, in mutual TLS with those that do as they should.
func TestTroubleshootingOfPeers(t *testing.T) {
	w := newWorld(t, withBundle, func(w *world) string { return w.volumeSection(allForms) },
		func(*world) string { return "certificate: {duration: 20s, privateKey: {algorithm: Ed25519}}" })
	server, client := podFiles{w.publish(w.pod("server"))}, podFiles{w.publish(w.pod("client"))}
	stale := podFiles{w.mountSubPaths(server.target, "both.pem", "bundle.json")}
	good, bad := server.serve(t), stale.serve(t)
	w.check(client.call(t.Context(), bad)) // at first

	stranger := podFiles{t.TempDir()}
	others, err := x509bundle.Parse(spiffeid.RequireTrustDomainFromString(trustDomain), w.newCA("other").CertificatePEM)
	w.check(err)
	bundle, err := spiffebundle.FromX509Bundle(others).Marshal()
	w.check(err)
	w.check(os.WriteFile(filepath.Join(stranger.target, "bundle.json"), bundle, 0o600))
	w.check(os.WriteFile(filepath.Join(stranger.target, "both.pem"), []byte(w.readFile(client.target, "both.pem")), 0o600))
	err = stranger.call(t.Context(), good)
	troubleshooting.Row("x509: certificate signed by unknown authority").Seen(t, fmt.Sprint(err))

	w.eventually("the certificate that nobody reads anew has expired", func() bool {
		err = client.call(t.Context(), bad)
		return err != nil
	})
	troubleshooting.Row("x509: certificate has expired or is not yet valid: …").Seen(t, err.Error())
	w.check(client.call(t.Context(), good))
}

// mountSubPaths mounts files of a volume as a container runtime does for a
// volumeMount with subPath: what is there at that moment, and for good.
func (w *world) mountSubPaths(target string, names ...string) (folder string) {
	w.t.Helper()
	folder = w.t.TempDir()
	for _, name := range names {
		path := filepath.Join(folder, name)
		w.check(os.WriteFile(path, nil, 0o600))
		w.check(unix.Mount(filepath.Join(target, name), path, "", unix.MS_BIND, ""))
		w.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
	return folder
}
