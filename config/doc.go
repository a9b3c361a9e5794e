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
// v1alpha1. The way from one to the other is this:
//
//	bytes ─ document ─► node tree ─ read ─► values with places ─ check ─► decode ─► v1alpha1 over its defaults ─ convert ─► Config
//
// The node tree (go.yaml.in/yaml/v3) knows where everything stands, so that it
// gives the faults. A file without faults is then decoded as all of Kubernetes
// decodes YAML (sigs.k8s.io/yaml, strictly), and a file that the two parsers do
// not understand alike is a fault, too. The tree is read more strictly than YAML
// asks. Unknown and repeated fields, values of another type, further documents,
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
