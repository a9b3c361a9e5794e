// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
)

// A tracker is the store of its reflector (cache.TransformingStore), which is the
// only one to call what follows.

// Transformer keeps a reflector from collecting whole requests while it lists them.
func (t *tracker) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if request, ok := obj.(*cmapi.CertificateRequest); ok {
			return t.reduce(request), nil
		}
		return obj, nil
	}
}

// summary is as much of a request as its short form is made of.
type summary struct{ *cmapi.CertificateRequest }

// reduce returns the summary of a request, unless somebody waits for the whole. Who
// begins to wait after that is told that there is news, and asks for it.
func (t *tracker) reduce(request *cmapi.CertificateRequest) runtime.Object {
	t.mu.Lock()
	_, awaited := t.waiters[nameOf(request)]
	t.mu.Unlock()
	if awaited {
		return request
	}
	return summarize(request)
}

func summarize(request *cmapi.CertificateRequest) summary {
	short := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: request.Namespace, Name: request.Name, UID: request.UID, ResourceVersion: request.ResourceVersion,
			CreationTimestamp: request.CreationTimestamp, DeletionTimestamp: request.DeletionTimestamp,
			Labels: map[string]string{LabelVolume: request.Labels[LabelVolume]}, OwnerReferences: request.OwnerReferences,
		},
		// Who made it.
		Spec: cmapi.CertificateRequestSpec{Username: request.Spec.Username, Extra: request.Spec.Extra},
	}
	if fields, ok := request.Annotations[certrequest.AnnotationTruncated]; ok {
		short.Annotations = map[string]string{certrequest.AnnotationTruncated: fields}
	}
	for _, c := range request.Status.Conditions {
		short.Status.Conditions = append(short.Status.Conditions, cmapi.CertificateRequestCondition{Type: c.Type, Status: c.Status, Reason: c.Reason})
	}
	if len(request.Status.Certificate) > 0 {
		short.Status.Certificate = []byte("(there is one)")
	}
	return summary{short}
}

// Add takes a request that has appeared.
func (t *tracker) Add(obj any) error {
	return t.take(obj, false)
}

// Update takes a request as it is now.
func (t *tracker) Update(obj any) error { return t.take(obj, false) }

// Delete takes the last state of a request that is gone.
func (t *tracker) Delete(obj any) error { return t.take(obj, true) }

// Resync has nothing to do: nobody waits for what is told already.
func (t *tracker) Resync() error { return nil }

// Replace takes all requests that there are. The reflector calls it at the start,
// and when the watch has missed something.
func (t *tracker) Replace(objects []any, _ string) error {
	there := map[types.NamespacedName]bool{}
	for _, obj := range objects {
		if object, ok := obj.(metav1.Object); ok {
			there[nameOf(object)] = true
		}
		if err := t.take(obj, false); err != nil {
			return err
		}
	}
	for _, obj := range t.known.List() {
		if !there[nameOf(obj.(metav1.Object))] {
			if err := t.take(obj, true); err != nil {
				return err
			}
		}
	}
	select {
	case <-t.synced:
	default:
		close(t.synced)
	}
	return nil
}

// take keeps a state of a request, and then hands it to whoever waits for the
// request: in this order, so that one who begins to wait and then asks what is
// known misses nothing.
//
// A request without proof that it is the driver's (see originOf) is not kept, and
// nobody is told that it is there. Whoever waits for a request of its name gets it
// all the same, and compares the UID.
func (t *tracker) take(obj any, deleted bool) error {
	object, ok := obj.(metav1.Object)
	if !ok {
		return fmt.Errorf("the watch brought a %T", obj)
	}
	name := nameOf(object)
	request, _ := obj.(*cmapi.CertificateRequest) // else it is the short form
	before := t.get(name)
	if before != nil && before.UID != object.GetUID() {
		if deleted { // another of this name is there already
			return nil
		}
		if err := t.take(before, true); err != nil {
			return err
		}
		before = nil
	}
	content := request
	if s, ok := obj.(summary); ok {
		content = s.CertificateRequest
	}
	short := before
	if content != nil {
		short = shorten(content, before)
	}
	var err error
	switch {
	case deleted:
		err = t.known.Delete(obj)
	case short != nil:
		err = t.known.Update(short)
	default:
		t.log.Debug("ignoring a CertificateRequest with the labels of this driver that was not made with a pod's token", "request", name)
	}
	if err != nil {
		return err
	}
	if short != nil {
		t.unobserved.dropUID(name, object.GetUID())
	}
	t.deliver(name, event{request, object.GetUID(), deleted})
	if before == nil && !deleted && short != nil && t.onNew != nil {
		t.onNew(short.asKnown(), short.Labels[LabelVolume])
	}
	return nil
}

// knownRequest is what is kept of a request. A node has some for each volume, and
// whoever may create requests can have the driver know of any number, of any size.
type knownRequest struct {
	metav1.PartialObjectMetadata
	// open is whether it may still bring a certificate, issued whether it has.
	open, issued bool
	// pod is the one in whose name it was made, of which there is proof.
	pod Pod
}

// shorten returns nil for a request without proof that it is the driver's. Once
// proven, a request stays proven, even if its owner references change.
func shorten(request *cmapi.CertificateRequest, before *knownRequest) *knownRequest {
	pod, proven := originOf(request)
	switch {
	case before != nil:
		pod = before.pod
	case !proven:
		return nil
	}
	_, done, failure := outcome(request)
	return &knownRequest{
		pod: pod,
		PartialObjectMetadata: metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: request.Namespace, Name: request.Name, UID: request.UID, CreationTimestamp: request.CreationTimestamp,
			Labels: map[string]string{LabelVolume: request.Labels[LabelVolume]}, DeletionTimestamp: request.DeletionTimestamp,
		}},
		open:   !done,
		issued: done && failure == nil,
	}
}
