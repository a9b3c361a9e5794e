// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// What follows up to the tests is all that a new version takes: here a made-up
// one, in which trust domain and issuer have a section of their own, and in
// which there is nothing else but the certificate.

const v1beta1 = "config.spiffe.csi.cert-manager.io/v1beta1"

type fileV1beta1 struct {
	APIVersion  string               `json:"apiVersion" validate:"required,eq=config.spiffe.csi.cert-manager.io/v1beta1" change:"hot"`
	Kind        string               `json:"kind" validate:"required,eq=SPIFFEConfiguration" change:"hot"`
	Identity    identityV1beta1      `json:"identity"`
	Certificate v1alpha1.Certificate `json:"certificate"`
}

type identityV1beta1 struct {
	TrustDomain string             `json:"trustDomain" validate:"required,trustdomain" change:"reissue"`
	Issuer      v1alpha1.IssuerRef `json:"issuer"`
}

// old is the same file in the version before.
func (f *fileV1beta1) old() *v1alpha1.SPIFFEConfiguration {
	old := v1alpha1.Default()
	old.TrustDomain, old.IssuerRef, old.Certificate = f.Identity.TrustDomain, f.Identity.Issuer, f.Certificate
	old.Complete()
	return old
}

func (f *fileV1beta1) complete() { f.Certificate = f.old().Certificate }

func defaultV1beta1() *fileV1beta1 {
	old := v1alpha1.Default()
	return &fileV1beta1{Identity: identityV1beta1{Issuer: old.IssuerRef}, Certificate: old.Certificate}
}

func parseV1beta1(r *reader, root *yaml.Node) (*Config, error) {
	wire, decoded := defaultV1beta1(), defaultV1beta1()
	r.read("", root, reflect.ValueOf(wire).Elem())
	wire.complete()
	if err := r.checkFields(wire); err != nil {
		return nil, err
	}
	r.checkKey(&wire.Certificate.PrivateKey)
	r.checkRenewal(&wire.Certificate)
	if err := r.result(); err != nil {
		return nil, err
	}
	if err := r.decode(root, wire, decoded, decoded.complete); err != nil {
		return nil, err
	}
	c, err := fromV1alpha1(decoded.old())
	if err != nil {
		return nil, err
	}
	c.wire, c.apiVersion = decoded, v1beta1
	c.hash, err = hashOf(decoded)
	return c, err
}

func withV1beta1() []version { return append(versions(), version{v1beta1, parseV1beta1}) }

const goodV1beta1 = "apiVersion: " + v1beta1 + `
kind: SPIFFEConfiguration
identity:
  trustDomain: my.trust.domain
  issuer: {name: csi-driver-spiffe-ca}
certificate: {duration: 2h}
`

func TestNewVersion(t *testing.T) {
	t.Parallel()
	c, err := parse("new.yaml", []byte(goodV1beta1), withV1beta1())
	if err != nil {
		t.Fatal(err)
	}
	if c.TrustDomain.Name() != "my.trust.domain" || c.Certificate.Duration.Hours() != 2 || c.Volume.Files.Certificate != "tls.crt" {
		t.Errorf("got %+v", c)
	}
	printed, err := c.YAML()
	if err != nil || !strings.HasPrefix(string(printed), "apiVersion: "+v1beta1+"\n") {
		t.Fatalf("%v\n%s", err, printed)
	}
	again, err := parse("again.yaml", printed, withV1beta1())
	if err != nil || again.Hash() != c.Hash() {
		t.Errorf("printed and parsed again: %v, %+v", err, again)
	}
	_, err = parse("bad.yaml", []byte(strings.Replace(goodV1beta1, "issuer:", "issuerRef:", 1)), withV1beta1())
	if err == nil || !strings.Contains(err.Error(), "bad.yaml:5:3: identity.issuerRef: is not a field") {
		t.Errorf("got %v", err)
	}
}

// All files of testdata, good and bad, are understood as ever, but for the
// words about which apiVersions there are.
func TestOldFilesKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../testdata/config/*.yaml")
	if err != nil || len(paths) < 100 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, errBefore := Parse("f", data)
		after, errAfter := parse("f", data, withV1beta1())
		switch {
		case !strings.Contains(string(data), v1alpha1.APIVersion):
			if errAfter == nil {
				t.Errorf("%s: is taken", path)
			}
		case errBefore != nil:
			if diff := cmp.Diff(errBefore, errAfter); diff != "" {
				t.Errorf("%s (-before +after):\n%s", path, diff)
			}
		case errAfter != nil || before.Hash() != after.Hash():
			t.Errorf("%s: %v", path, errAfter)
		}
	}
}

func TestUnknownVersionsSayWhichAreKnown(t *testing.T) {
	t.Parallel()
	const known = "must be " + v1alpha1.APIVersion + " or " + v1beta1
	for apiVersion, want := range map[string]string{
		"config.spiffe.csi.cert-manager.io/v2":       "f:1:13: apiVersion: is not understood by this release (got \"config.spiffe.csi.cert-manager.io/v2\"), " + known + "; the rest of the file has not been looked at",
		"config.spiffe.csi.cert-manager.io/v1alpah1": "f:1:13: apiVersion: is not understood (got \"config.spiffe.csi.cert-manager.io/v1alpah1\"), " + known + "\nf:7:1: new: is not a field",
	} {
		_, err := parse("f", []byte(strings.Replace(goodV1beta1, v1beta1, apiVersion, 1)+"new: 1\n"), withV1beta1())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestDiffAcrossVersions(t *testing.T) {
	t.Parallel()
	before, err := Parse("old.yaml", []byte("apiVersion: "+v1alpha1.APIVersion+"\nkind: SPIFFEConfiguration\ntrustDomain: my.trust.domain\nissuerRef: {name: ca}\n"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := parse("new.yaml", []byte(goodV1beta1), withV1beta1())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range Diff(before, after)[:4] {
		got = append(got, c.Path+" "+c.Old+" "+c.New+" "+string(c.Effect))
	}
	want := []string{
		"apiVersion " + v1alpha1.APIVersion + " " + v1beta1 + " hot",
		"trustDomain my.trust.domain unset reissue",
		"issuerRef.name ca unset reissue",
		"issuerRef.kind ClusterIssuer unset reissue",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
