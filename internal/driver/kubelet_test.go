// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

const (
	testVolume = csitest.VolumeID
	testTarget = csitest.Target
	testPodUID = csitest.PodUID
)

// testConfig returns a good configuration with some lines of YAML added.
func testConfig(t testing.TB, lines ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(strings.Join(append([]string{
		"apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1",
		"kind: SPIFFEConfiguration",
		"trustDomain: my.trust.domain",
		"issuerRef: {name: ca}",
	}, lines...), "\n")+"\n"))
	check(t, err)
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// goodRequest is what the kubelet sends for a good pod, and goodPublish what the server
// makes of it.
func goodRequest() *csi.NodePublishVolumeRequest { return csitest.PublishRequest() }

func goodPublish(t *testing.T) manager.PublishRequest {
	t.Helper()
	claims, err := spiffe.ParsePodToken(csitest.Token())
	check(t, err)
	return manager.PublishRequest{
		VolumeID: testVolume, TargetPath: testTarget, Token: manager.Token{Secret: issuance.NewToken(csitest.Token()), PodToken: claims},
	}
}

func TestPrintingAVolumeDoesNotTellItsToken(t *testing.T) {
	t.Parallel()
	state := &volumeState{id: testVolume, token: goodPublish(t).Token}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		csitest.MustNotTell(t, fmt.Sprintf(verb, state), "a volume printed with "+verb)
	}
}
