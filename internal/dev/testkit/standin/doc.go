// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package standin has stand-ins for the services behind cert-manager's issuers: what
// a real controller calls over HTTP and cannot be had on a development machine. The
// controllers themselves are real: cert-manager's Vault issuer, which is part of the
// development cluster, and aws-privateca-issuer, which `make test` builds.
//
//	vault, err := standin.NewVault(ca, standin.DefaultVaultRole())
//	defer vault.Close()
//
// With Smallstep it is the other way round: [Step] runs the real step-ca, and does what
// step-issuer does, whose module cannot be downloaded.
//
// A stand-in decides what is signed and dated the way the service does, by its
// documentation and, for Vault, its source; the comments say which rule comes from
// where. It knows what the controller asks of it and answers everything else with an
// error.
package standin
