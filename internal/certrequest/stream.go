// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
)

// decodeList reads a list, and calls keep with each request of it.
func decodeList(s *scanner, limits Limits, into *List, keep func(*cmapi.CertificateRequest) runtime.Object) {
	d := decoder{scanner: s}
	d.structure(FieldMetadata, []string{"items", "metadata"}, func(key string) {
		switch key {
		case "items":
			d.elements(FieldMetadata, func() {
				request := decode(s, limits)
				if request == nil {
					return
				}
				if kept := keep(request); kept != nil {
					into.Items = append(into.Items, kept)
				}
			}, nil)
		case "metadata":
			d.listMetadata(&into.ListMeta)
		}
	})
	if s.err == nil && len(d.truncated) > 0 {
		s.fail(errors.New("the API server has sent something that is not a list of CertificateRequests"))
	}
}

func (d *decoder) listMetadata(into *metav1.ListMeta) {
	// What says where the next page begins is the name of a request, and more.
	const maxContinue = 16 << 10
	d.structure(FieldMetadata, []string{"continue", "remainingItemCount", "resourceVersion"}, func(key string) {
		switch key {
		case "continue":
			into.Continue = d.text(FieldMetadata, maxContinue)
		case "remainingItemCount":
			if count, ok := d.number(FieldMetadata); ok {
				into.RemainingItemCount = &count
			}
		case "resourceVersion":
			into.ResourceVersion = d.text(FieldMetadata, maxName)
		}
	})
}

// stream is a watch.Interface that reads events one at a time.
type stream struct {
	body   io.ReadCloser
	limits Limits
	events chan watch.Event
	done   <-chan struct{}
	cancel context.CancelFunc
}

// newStream reads events from body until Stop is called, or it ends.
func newStream(body io.ReadCloser, limits Limits, cancel context.CancelFunc) *stream {
	ctx, stop := context.WithCancel(context.Background())
	w := &stream{body: body, limits: limits, events: make(chan watch.Event), done: ctx.Done()}
	w.cancel = func() { stop(); cancel() }
	go w.run()
	return w
}

// ResultChan returns the channel of the events, which is closed when there will be no more.
func (w *stream) ResultChan() <-chan watch.Event { return w.events }

// Stop ends the watch.
func (w *stream) Stop() { w.cancel() }

func (w *stream) run() {
	defer close(w.events)
	defer w.body.Close()
	defer w.cancel()
	s := newScanner(w.body)
	for s.more() {
		event, err := decodeEvent(s, w.limits)
		if err != nil {
			s.fail(err)
			break
		}
		if !w.send(event) {
			return
		}
	}
	if !errors.Is(s.err, io.EOF) && !errors.Is(s.err, io.ErrUnexpectedEOF) && !utilnet.IsProbableEOF(s.err) && !utilnet.IsTimeout(s.err) {
		// As client-go does.
		w.send(watch.Event{Type: watch.Error, Object: apierrors.NewClientErrorReporter(http.StatusInternalServerError, http.MethodGet, "ClientWatchDecoding").
			AsObject(fmt.Errorf("unable to decode an event from the watch stream: %w", s.err))})
	}
}

func (w *stream) send(event watch.Event) bool {
	select {
	case w.events <- event:
		return true
	case <-w.done:
		return false
	}
}

// decodeEvent reads the next event.
func decodeEvent(s *scanner, limits Limits) (event watch.Event, err error) {
	var request *cmapi.CertificateRequest
	var status *metav1.Status
	d := decoder{scanner: s}
	d.structure(FieldMetadata, []string{"type", "object"}, func(key string) {
		switch key {
		case "type":
			event.Type = watch.EventType(d.text(FieldMetadata, maxName))
		case "object":
			request, status = decodeObject(s, limits)
		}
	})
	switch event.Type {
	case watch.Added, watch.Modified, watch.Deleted, watch.Bookmark:
		event.Object = request
	case watch.Error:
		event.Object = status
	}
	switch {
	case s.err != nil:
		return watch.Event{}, s.err
	case request == nil || event.Object == nil || len(d.truncated) > 0:
		return watch.Event{}, fmt.Errorf("the API server has sent a watch event of type %.32q, which is unknown, or without an object", event.Type)
	}
	return event, nil
}

// decodeObject reads the object of an event, which is a request or a metav1.Status: as both,
// for the type of the event may come after it. Of a Status it leaves out what nobody asks for.
func decodeObject(s *scanner, limits Limits) (*cmapi.CertificateRequest, *metav1.Status) {
	const maxText = 4 << 10
	d := decoder{scanner: s, limits: limits, into: &cmapi.CertificateRequest{}}
	other := decoder{scanner: s}
	status := &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure}
	d.structure(FieldMetadata, []string{"metadata", "spec", "status", "code", "message", "reason", "details"}, func(key string) {
		switch key {
		case "code":
			code, _ := other.number(FieldMetadata)
			status.Code = int32(code) //nolint:gosec // What does not fit is no code of HTTP's.
		case "message":
			status.Message = other.beginning(FieldMetadata, maxText)
		case "reason":
			status.Reason = metav1.StatusReason(other.text(FieldMetadata, maxName))
		case "details":
			status.Details = other.statusDetails()
		default:
			d.member(key)
		}
	})
	return d.request(), status
}

// statusDetails takes what client-go goes by: when to ask again, and which cause there is.
func (d *decoder) statusDetails() *metav1.StatusDetails {
	details := &metav1.StatusDetails{}
	left := maxOwners
	d.structure(FieldMetadata, []string{"causes", "retryAfterSeconds"}, func(key string) {
		if key == "retryAfterSeconds" {
			seconds, _ := d.number(FieldMetadata)
			details.RetryAfterSeconds = int32(seconds) //nolint:gosec // It does not fit for years that nobody means.
			return
		}
		d.elements(FieldMetadata, func() {
			var cause metav1.StatusCause
			d.structure(FieldMetadata, []string{"reason", "message"}, func(key string) {
				if text := d.beginning(FieldMetadata, maxName); key == "reason" {
					cause.Type = metav1.CauseType(text)
				} else {
					cause.Message = text
				}
			})
			if left -= ownerSize; left >= 0 {
				details.Causes = append(details.Causes, cause)
			}
		}, &left)
	})
	return details
}
