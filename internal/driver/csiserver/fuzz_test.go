// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver_test

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

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// maxText is how much of a text from outside is repeated at most, in bytes.
const maxText = observe.MaxText

// isTarget is what the kubelet's target paths look like.
var isTarget = regexp.MustCompile(`^/var/lib/kubelet/pods/[^/]+/volumes/kubernetes\.io~csi/[^/]+/[^/]+$`)

// FuzzPublish: no request makes it panic, and what is handed on is whole.
func FuzzPublish(f *testing.F) {
	withGroup, inSecrets := csitest.PublishRequest(), withTokens(csitest.PublishRequest(), csitest.Tokens(map[string]string{"": csitest.Token()}), "")
	withGroup.VolumeContext[attributeFSGroup] = "1000"
	elsewhere, outOf, megabyte := csitest.PublishRequest(), csitest.PublishRequest(), csitest.PublishRequest()
	elsewhere.TargetPath, outOf.TargetPath = "/etc", csitest.Target+"/../../../../../../../etc"
	megabyte.VolumeContext[attributePrefix+strings.Repeat("\x00", 1<<16)] = ""
	for _, seed := range []*csi.NodePublishVolumeRequest{
		{}, csitest.PublishRequest(), withGroup, inSecrets, withTokens(csitest.PublishRequest(), "{", "null"), elsewhere, outOf, megabyte,
	} {
		data, err := protojson.Marshal(seed)
		check(f, err)
		f.Add(data)
	}
	s := serve(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		req := &csi.NodePublishVolumeRequest{}
		if protojson.Unmarshal(data, req) != nil && proto.Unmarshal(data, req) != nil {
			return
		}
		if rest, ok := strings.CutPrefix(req.TargetPath, csitest.KubeletRoot); ok { // an input is good on any machine
			req.TargetPath = s.kubeletRoot + rest
		}
		s.volumes.published = nil
		s.log.Reset()
		_, err := s.NodePublishVolume(t.Context(), req)
		if err != nil {
			if len(s.volumes.published) > 0 {
				t.Errorf("a request and an error: %+v, %v", s.volumes.published, err)
			}
			if pod := s.volumes.unusable; len(pod.PodName+pod.PodNamespace+pod.PodUID) > 4*maxText {
				t.Errorf("the pod is told at length: %+v", pod)
			}
			if words := err.Error(); len(words) > 4*maxText || strings.ContainsFunc(words, unicode.IsControl) {
				t.Errorf("an error that cannot be logged: %q", words)
			}
			if s.log.Len() > 20*maxText {
				t.Errorf("a log of %d bytes", s.log.Len())
			}
			if code := status.Code(err); code != codes.InvalidArgument && code != codes.FailedPrecondition {
				t.Errorf("code %s for %v", code, err)
			}
			return
		}
		if len(s.volumes.published) != 1 {
			t.Fatalf("published %+v", s.volumes.published)
		}
		got := s.volumes.published[0]
		target := csitest.KubeletRoot + strings.TrimPrefix(got.TargetPath, s.kubeletRoot)
		if !isTarget.MatchString(target) || filepath.Clean(target) != target ||
			!strings.HasPrefix(target, csitest.KubeletRoot+"/pods/"+got.Token.PodUID+"/") {
			t.Errorf("taken, but not the place of a volume of the pod: %q", got.TargetPath)
		}
		if got.VolumeID == "" || got.Token.Secret.IsZero() || got.Token.ServiceAccount.Name() == "" || got.Token.ServiceAccount.Namespace() == "" ||
			got.Token.PodName == "" || got.Token.PodUID == "" || got.Received.IsZero() {
			t.Errorf("taken, but not whole: %+v", got)
		}
	})
}

// FuzzUnpublish: nothing outside of the kubelet's folder for pods is unpublished, whatever
// it is called, and no error drowns a log.
func FuzzUnpublish(f *testing.F) {
	for _, target := range []string{csitest.Target, "/", "/etc", "/var/lib/kubelet/pods/../x", "/var/lib/kubelet/pods//", "\x00\n", strings.Repeat("/a", 3000)} {
		f.Add(csitest.VolumeID, target)
		f.Add("../x", target)
	}
	s := serveDefault(f)
	f.Fuzz(func(t *testing.T, id, target string) {
		s.volumes.unpublished = nil
		s.log.Reset()
		_, err := s.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
		if err != nil {
			if status.Code(err) != codes.InvalidArgument || len(err.Error()) > 5*maxText || len(s.volumes.unpublished) > 0 {
				t.Errorf("%d bytes: %v", len(err.Error()), err)
			}
			return
		}
		if !isTarget.MatchString(target) || filepath.Clean(target) != target || strings.ContainsAny(id+target, "\x00\n") || strings.Contains(id, "/") {
			t.Errorf("taken: %q, %q", id, target)
		}
	})
}
