// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests tests what is in the folder manifests of the repository, by
// rendering it with the tools that operators use: kustomize, jsonnet and helm,
// pinned in internal/dev/tools and built by make.
//
// Each folder in testdata/settings is one wish of an operator in the words of
// each of the three tools. The tests show that all three make the same objects of
// it, field by field; that these agree with the configuration file among them;
// and that the real API server takes them, with strict validation of fields.
// More settings are more folders.
//
// What the daemons do with the rights of the manifests is tested in
// internal/dev/integration.
package manifests
