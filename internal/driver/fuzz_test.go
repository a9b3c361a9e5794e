// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxText is how much of a text from outside is repeated at most, in bytes.
const maxText = 300

// isTarget is what the kubelet's target paths look like.
var isTarget = regexp.MustCompile(`^/var/lib/kubelet/pods/[^/]+/volumes/kubernetes\.io~csi/[^/]+/[^/]+$`)

// FuzzParsePublish: no request makes it panic, and what it takes is whole.
func FuzzParsePublish(f *testing.F) {
	withGroup, inSecrets := goodRequest(), withTokens(tokens(map[string]string{"": testToken()}), "")
	withGroup.VolumeContext[attributeFSGroup] = "1000"
	elsewhere, outOf, megabyte := goodRequest(), goodRequest(), goodRequest()
	elsewhere.TargetPath, outOf.TargetPath = "/etc", testTarget+"/../../../../../../../etc"
	megabyte.VolumeContext[attributePrefix+strings.Repeat("\x00", 1<<16)] = ""
	for _, seed := range []*csi.NodePublishVolumeRequest{
		{}, goodRequest(), withGroup, inSecrets, withTokens("{", "null"), elsewhere, outOf, megabyte,
	} {
		data, err := protojson.Marshal(seed)
		check(f, err)
		f.Add(data)
	}
	c := testConfig(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		req := &csi.NodePublishVolumeRequest{}
		if protojson.Unmarshal(data, req) != nil && proto.Unmarshal(data, req) != nil {
			return
		}
		got, err := parsePublish(req, c)
		if pod := podOf(req); len(pod) > 3*maxText {
			t.Errorf("the pod's name is %d bytes long in the log", len(pod))
		}
		if err != nil {
			if got != (publishRequest{}) {
				t.Errorf("a request and an error: %+v, %v", got, err)
			}
			if words := toStatus(err).Error(); len(words) > 4*maxText || strings.ContainsFunc(words, unicode.IsControl) {
				t.Errorf("an error that cannot be logged: %q", words)
			}
			if code := status.Code(toStatus(err)); code != codes.InvalidArgument && code != codes.FailedPrecondition {
				t.Errorf("code %s for %v", code, err)
			}
			return
		}
		if !isTarget.MatchString(got.targetPath) || filepath.Clean(got.targetPath) != got.targetPath ||
			!strings.HasPrefix(got.targetPath, "/var/lib/kubelet/pods/"+got.token.PodUID+"/") {
			t.Errorf("taken, but not the place of a volume of the pod: %q", got.targetPath)
		}
		token := got.token
		if got.volumeID == "" || got.targetPath == "" || token.secret.IsZero() || token.secret.IsZero() ||
			token.ServiceAccount.Name() == "" || token.ServiceAccount.Namespace() == "" || token.PodName == "" || token.PodUID == "" {
			t.Errorf("taken, but not whole: %+v", got)
		}
	})
}
