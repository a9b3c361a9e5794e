// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package part

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/spf13/pflag"
	"golang.org/x/mod/modfile"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func TestRunRefusesUnknownParts(t *testing.T) {
	t.Parallel()
	err := Run("kubelet")
	if want := "no such part: \"kubelet\"; there are cert-manager, cert-manager-webhook, etcd, kube-apiserver"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

// The approver must never slip in by way of an import.
func TestControllersAreTheWantedOnes(t *testing.T) {
	t.Parallel()
	want := []string{
		"certificaterequests-issuer-ca",
		"certificaterequests-issuer-selfsigned",
		"certificaterequests-issuer-vault",
		"certificates-issuing",
		"certificates-key-manager",
		"certificates-readiness",
		"certificates-request-manager",
		"certificates-revision-manager",
		"certificates-trigger",
		"clusterissuers",
		"gateway-shim",
		"ingress-shim",
		"issuers",
	}
	if got := slices.Sorted(maps.Keys(controller.Known())); !slices.Equal(got, want) {
		t.Errorf("controllers are %v, want %v", got, want)
	}
}

func TestAPIServerKnowsItsFlags(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	named := options.NewServerRunOptions().Flags()
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(apiServerFlags()); err != nil {
		t.Error(err)
	}
}

// Without the right version in ldflags, the API server would report another one.
func TestLinkerFlagsStampTheVersionOfGoMod(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := os.ReadFile("../ldflags")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Require {
		if r.Mod.Path == "k8s.io/kubernetes" && !strings.Contains(string(flags), ".gitVersion="+r.Mod.Version+" ") {
			t.Errorf("go.mod has Kubernetes %s, but ldflags say %s", r.Mod.Version, flags)
		}
	}
}
