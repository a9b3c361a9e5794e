// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the configuration file as it is written: the first
// version of its wire form.
//
// One file configures the driver and the approver alike, so that what the one
// requests and the other demands cannot differ:
//
//	apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
//	kind: SPIFFEConfiguration
//	trustDomain: my.trust.domain
//	issuerRef:
//	  name: csi-driver-spiffe-ca
//
// A field that is left out, or null, has its default. A field that is there
// has the value that is there, be it empty or zero. No secret belongs in this
// file: it is meant for a ConfigMap, and --print-config shows all of it.
//
// These types only hold a file. Reading and checking one is the business of
// package config, whose Parse is the way to a value that is known to be good.
// To write a file from Go, change what [Default] returns and marshal it with
// sigs.k8s.io/yaml.
//
// The doc comment of each field is what users read in the reference: what it
// means, its unit, what is allowed. The validate tags are the rules that
// concern one field alone, in the language of
// github.com/go-playground/validator with a few tags of package config's own.
// The change tags say what a change of the field asks of daemons that are
// running:
//
//	hot               nothing: it holds for what is begun from then on
//	reissue           new SVIDs for live volumes
//	restart           a restart of both, for it is read at the start only
//	restart,driver    a restart of the driver; restart,approver in the same way
//	…,reissue         and new SVIDs for live volumes after that, or if need be
//
// A note tag says more of that, where there is more to say.
package v1alpha1
