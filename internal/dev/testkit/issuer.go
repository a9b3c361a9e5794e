// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// CA is a CA's certificate, followed by those above it if it is no root, with
// its key.
type CA struct {
	CertificatePEM, KeyPEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA makes a self-signed root that is valid for a day.
func NewCA(commonName string) (CA, error) { return newCA(commonName, nil) }

// NewIntermediate makes a CA whose certificate is signed by ca.
func (ca CA) NewIntermediate(commonName string) (CA, error) { return newCA(commonName, &ca) }

func newCA(commonName string, parent *CA) (CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return CA{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	above := CA{certificate: template, key: key}
	if parent != nil {
		above = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.certificate, key.Public(), above.key)
	if err != nil {
		return CA{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return CA{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return CA{}, err
	}
	return CA{
		CertificatePEM: slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), above.CertificatePEM),
		KeyPEM:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		certificate:    certificate,
		key:            key,
	}, nil
}

// issuerSpec signs with the CA in the secret of the issuer's name.
func issuerSpec(name string) cmapi.IssuerSpec {
	return cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: name}}}
}

func (c *Cluster) createCASecret(ctx context.Context, namespace, name string, ca CA) error {
	_, err := c.Kubernetes.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{
			// cert-manager keeps labelled secrets in memory, and fetches others each time.
			cmapi.PartOfCertManagerControllerLabelKey: "true",
		}},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: ca.CertificatePEM, corev1.TLSPrivateKeyKey: ca.KeyPEM},
	}, metav1.CreateOptions{})
	return err
}

// CreateClusterIssuer makes a ClusterIssuer that signs with ca, and waits until
// it is ready.
func (c *Cluster) CreateClusterIssuer(ctx context.Context, name string, ca CA) error {
	if err := c.createCASecret(ctx, InstallNamespace, name, ca); err != nil {
		return err
	}
	return c.CreateClusterIssuerOf(ctx, name, issuerSpec(name))
}

// CreateClusterIssuerOf makes a ClusterIssuer of any type, and waits until it is
// ready. The Secrets that it refers to are in [InstallNamespace].
func (c *Cluster) CreateClusterIssuerOf(ctx context.Context, name string, spec cmapi.IssuerSpec) error {
	issuers := c.CertManager.CertmanagerV1().ClusterIssuers()
	issuer := &cmapi.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	if _, err := issuers.Create(ctx, issuer, metav1.CreateOptions{}); err != nil {
		return err
	}
	return waitReady(ctx, "ClusterIssuer "+name, func(ctx context.Context) (cmapi.GenericIssuer, error) {
		return issuers.Get(ctx, name, metav1.GetOptions{})
	})
}

// CreateIssuer makes an Issuer in a namespace that signs with ca, and waits
// until it is ready.
func (c *Cluster) CreateIssuer(ctx context.Context, namespace, name string, ca CA) error {
	if err := c.createCASecret(ctx, namespace, name, ca); err != nil {
		return err
	}
	issuers := c.CertManager.CertmanagerV1().Issuers(namespace)
	issuer := &cmapi.Issuer{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: issuerSpec(name)}
	if _, err := issuers.Create(ctx, issuer, metav1.CreateOptions{}); err != nil {
		return err
	}
	return waitReady(ctx, "Issuer "+namespace+"/"+name, func(ctx context.Context) (cmapi.GenericIssuer, error) {
		return issuers.Get(ctx, name, metav1.GetOptions{})
	})
}

func waitReady(ctx context.Context, what string, get func(context.Context) (cmapi.GenericIssuer, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		issuer, err := get(ctx)
		return err == nil && apiutil.IssuerHasCondition(issuer, cmapi.IssuerCondition{
			Type: cmapi.IssuerConditionReady, Status: cmmeta.ConditionTrue,
		}), err
	})
	if err != nil {
		return fmt.Errorf("%s did not become ready: %w", what, err)
	}
	return nil
}
