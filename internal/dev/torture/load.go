// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// slot is a place on the node in which pods come and go, one after another.
type slot struct {
	number int
	// mu is held by the reader while it reads, and by whoever changes what
	// follows.
	mu  sync.RWMutex
	pod *corev1.Pod
	// request is what the kubelet sends for the pod.
	request *csi.NodePublishVolumeRequest
	// published is set from the end of the first publish to the beginning of
	// unpublish.
	published bool
	// seen is the pair that was read last.
	seen []byte
}

// startLoad has pods come and go, and a reader read their files, until the
// function is called.
func (t *torture) startLoad(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for number := range t.Volumes {
		s := &slot{number: number}
		t.volumes = append(t.volumes, s)
	}
	for _, s := range t.volumes {
		running.Go(func() { t.live(ctx, s) })
	}
	running.Go(func() { t.read(ctx) })
	return func() { cancel(); running.Wait() }
}

// live is the life of a slot.
func (t *torture) live(ctx context.Context, s *slot) {
	for ctx.Err() == nil {
		// Every fourth pod is published again after it was unpublished, with the
		// same ID.
		if s.pod == nil || rand.IntN(4) > 0 { //nolint:gosec // Moments are no secrets, here and below.
			if err := t.newPod(ctx, s); err != nil {
				if ctx.Err() == nil {
					t.fault("making a pod: %v", err)
				}
				return
			}
		}
		t.publishUntilDone(ctx, s)
		stays := time.Now().Add(3*time.Second + rand.N(2*t.Lifetime)) //nolint:gosec // see above
		for time.Now().Before(stays) && ctx.Err() == nil {
			t.call(ctx, s, t.publish)
			t.sleep(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond)) //nolint:gosec // see above
		}
		if ctx.Err() == nil {
			t.unpublishUntilDone(ctx, s)
		}
	}
}

func (t *torture) newPod(ctx context.Context, s *slot) error {
	pod, err := t.Cluster.CreatePod(ctx, t.workload, fmt.Sprintf("pod-%d", t.pods.Add(1)), t.name)
	if err != nil {
		return err
	}
	request, err := t.kubelet.Load().PublishRequest(ctx, pod, testkit.VolumeName)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pod, s.request = pod, request
	return nil
}

func (t *torture) publishUntilDone(ctx context.Context, s *slot) {
	for ctx.Err() == nil {
		if t.call(ctx, s, func(ctx context.Context, s *slot) error {
			err := t.publish(ctx, s)
			if err == nil {
				s.mu.Lock()
				s.published = true
				s.mu.Unlock()
			}
			return err
		}) {
			t.count(&t.report.Published)
			return
		}
		t.sleep(ctx, 50*time.Millisecond)
	}
}

func (t *torture) unpublishUntilDone(ctx context.Context, s *slot) {
	s.mu.Lock()
	s.published, s.seen = false, nil
	s.mu.Unlock()
	for ctx.Err() == nil {
		if t.call(ctx, s, t.unpublish) {
			t.requests.forget(string(s.pod.UID))
			t.count(&t.report.Unpublished)
			return
		}
		t.sleep(ctx, 50*time.Millisecond)
	}
}

func (t *torture) publish(ctx context.Context, s *slot) error {
	_, err := t.kubelet.Load().Node.NodePublishVolume(ctx, s.request)
	return err
}

func (t *torture) unpublish(ctx context.Context, s *slot) error {
	_, err := t.kubelet.Load().Node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{
		VolumeId: s.request.GetVolumeId(), TargetPath: s.request.GetTargetPath(),
	})
	return err
}

// call calls the driver, and reports whether that succeeded. It may fail because
// the driver is not there, and for no other reason.
func (t *torture) call(ctx context.Context, s *slot, do func(context.Context, *slot) error) bool {
	t.checking.RLock()
	defer t.checking.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := do(ctx, s)
	switch status.Code(err) {
	case codes.OK:
		return true
	case codes.Unavailable, codes.Canceled:
		return false
	default:
		t.fault("slot %d, pod %s: %v", s.number, s.pod.Name, err)
		return false
	}
}

// read reads the files of every published volume, over and over.
func (t *torture) read(ctx context.Context) {
	for ctx.Err() == nil {
		for _, s := range t.volumes {
			t.readSlot(s)
		}
		// Two cores are shared with everything that is to be watched.
		t.sleep(ctx, time.Millisecond)
	}
}

func (t *torture) readSlot(s *slot) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.published {
		return
	}
	pair, err := readPair(s.request.GetTargetPath())
	if err == nil && !bytes.Equal(pair, s.seen) {
		err = checkPair(pair)
		if err == nil && s.seen != nil {
			t.count(&t.report.Renewed)
		}
		s.seen = pair // one reader, and nobody else while a slot is published
	}
	if err != nil {
		t.fault("reader: pod %s: %v", s.pod.Name, err)
	}
	t.count(&t.report.Reads)
}

// boundary parts the certificate from the key.
const boundary = "\n----boundary----\n"

// readPair reads a pair as a careful program does, by opening ..data once, and
// as a careless one does, each file by its name.
func readPair(target string) ([]byte, error) {
	dir, err := os.OpenRoot(filepath.Join(target, "..data"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	certificate, err := dir.ReadFile("tls.crt")
	if err != nil {
		return nil, err
	}
	key, err := dir.ReadFile("tls.key")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		content, err := os.ReadFile(filepath.Join(target, name))
		if err != nil {
			return nil, err
		}
		if len(content) == 0 {
			return nil, fmt.Errorf("%s is empty", name)
		}
	}
	return slices.Concat(certificate, []byte(boundary), key), nil
}

var errExpired = errors.New("the SVID has expired")

// checkPair checks that key and certificate are whole, match, and are valid.
func checkPair(pair []byte) error {
	certificate, key, _ := bytes.Cut(pair, []byte(boundary))
	svid, err := x509svid.Parse(certificate, key)
	if err != nil {
		return err
	}
	if time.Now().After(svid.Certificates[0].NotAfter) {
		return fmt.Errorf("%w at %s", errExpired, svid.Certificates[0].NotAfter.Format(time.TimeOnly))
	}
	return nil
}
