// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config reads the one YAML file that configures both daemons.
//
// [Load] reads, checks and converts a file. It gives either a [Config], the
// running form, in which every value is present, typed and known to be good; or
// [Faults], which are all that is wrong with the file, each with its place:
//
//	config.yaml:3:14: trustDomain: is not a trust domain name (got "spiffe://a"), must be …
//	config.yaml:8:3: certificate.duratoin: is not a field, did you mean certificate.duration?
//
// The format itself, with its defaults and what each field means, is in package
// v1alpha1. A file is read in these steps, each in the file named beside it:
//
//	text      ─► node tree             document.go: one YAML document, UTF-8, no syntax error
//	node tree ─► values with places    read.go: every field known, of its type, given once
//	values    ─► checked values        validate.go: each field; crossfield.go: fields against each other
//	text      ─► v1alpha1              read.go: decoded again, as Kubernetes decodes YAML
//	v1alpha1  ─► Config                v1alpha1.go
//
// The node tree (go.yaml.in/yaml/v3) knows where everything stands, so every
// fault has a line and a column (faults.go) and, where possible, a correction
// (suggest.go). A file without faults is then decoded as all of Kubernetes decodes
// YAML (sigs.k8s.io/yaml, strictly); a value that the two parsers understand
// differently is a fault, too. The tree is read more strictly than YAML
// demands. Unknown and repeated fields, values of another type, further documents,
// anchors, aliases, merge keys and explicit tags are all faults. A null is the
// same as nothing: the field keeps its default.
//
// [Diff] says what two versions of a file differ in, and what a change asks of
// daemons that are running. [JSONSchema] is for editors.
//
// A program keeps its Config in a [Holder] and takes one snapshot per operation.
// A [Reloader] follows the file and puts a new Config into the Holder, or leaves
// the old one there, whole:
//
//	holder := config.NewHolder(loaded)
//	reloader := config.NewReloader(path, holder, report)
//	go reloader.Run(ctx, hangup)
//
// [CheckFile] is what --validate-config and --print-config do.
package config
