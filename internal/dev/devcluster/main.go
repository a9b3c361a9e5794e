// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Devcluster is a Kubernetes control plane with cert-manager in it, for the
// demo, the tests and the benchmarks of csi-driver-spiffe.
//
//	devcluster up                     stay up until interrupted
//	devcluster exec -- make demo      stay up for one command
//
// It needs neither containers nor a network nor root, only Go to build it:
//
//	cd internal/dev/devcluster
//	CGO_ENABLED=0 go build -ldflags "$(cat ldflags)" -o devcluster .
//
// Everything in it comes through the Go module proxy. The first build compiles
// Kubernetes and takes minutes; the build cache makes later ones take seconds.
// The file ldflags strips the binary to half its size and stamps it with the
// version of Kubernetes. kubectl is a program apart, ./cmd/kubectl, built alike.
//
// # What is real
//
// etcd, kube-apiserver (RBAC, TokenRequest, API Priority and Fairness),
// cert-manager's controllers for CA, SelfSigned and Vault issuers, for Certificates
// and for annotated Ingresses and Gateways, and cert-manager's admission webhook run
// as they are, each in a process of its own. The webhook fills in who made a
// CertificateRequest, and lets nobody approve one without the verb "approve" on
// the signer. Nobody approves by default.
//
// cert-manager has its production rights: controllers and webhook run as the
// ServiceAccounts cert-manager and cert-manager-webhook in namespace cert-manager,
// with the RBAC that cert-manager's Helm chart grants when it is installed with
// disableAutoApproval=true. Their tokens are bound to Pods of the same names,
// which exist but run nowhere; whoever deletes such a Pod ends the token.
//
// The kubeconfig, and nothing else, is that of a member of system:masters.
// Everything listens on 127.0.0.1 or on a UNIX socket and on ports that were free,
// and is kept in a fresh folder below TMPDIR, so any number can run at the same
// time. All of it is gone afterwards, also after kill -9 (but for a copy that
// --kubeconfig asked for). Only when a part has failed are the logs kept; the error
// says where.
//
// # What is missing
//
// There is no kubelet and no scheduler: pods can be created but do not run.
// There is no kube-controller-manager, so what its controllers do is not done:
//
//   - The garbage collector: an object stays when its owner is deleted. A
//     CertificateRequest owned by a pod has to be deleted by hand.
//   - The namespace controller: a deleted namespace is Terminating for ever, and
//     what is in it stays. Use a new namespace instead.
//   - The ServiceAccount controller: no namespace gets a ServiceAccount "default".
//     Create the ServiceAccount before the pod, which is refused otherwise.
//   - The root CA publisher: no ConfigMap kube-root-ca.crt.
//   - The ClusterRole aggregator: "admin", "edit" and "view" are empty. Bind
//     roles of your own.
//
// [Command devnode] has all of that, and needs root.
//
// Of cert-manager's kinds only Certificate, CertificateRequest, Issuer and
// ClusterIssuer exist, of the Gateway API's only Gateway. Somebody has to approve the request that a Certificate
// makes. Whoever makes a CA issuer's Secret by hand labels it
// controller.cert-manager.io/fao=true where speed matters (cert-manager then has
// it in its cache).
//
// [Command devnode]: https://pkg.go.dev/github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cmd/devnode
package main

import (
	"fmt"
	"os"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cli"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/part"
)

func main() {
	// This program starts itself again for every part; that has nothing to do
	// with the command line for people.
	if len(os.Args) == 3 && os.Args[1] == cli.PartCommand {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[2], part.Run(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(cli.Main(nil))
}
