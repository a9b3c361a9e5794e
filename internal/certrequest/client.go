// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/metrics"
)

const resource = "certificaterequests"

// Client reads CertificateRequests. It is safe for use by many goroutines.
type Client struct {
	rest   rest.Interface
	limits Limits
}

// New returns a client on top of the REST client of cert-manager's API group, such as
// CertmanagerV1().RESTClient() of a clientset.
func New(client rest.Interface, limits Limits) *Client { return &Client{client, limits} }

// List is what [Client.List] returns. Its items are what the caller has made of the requests.
type List struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject returns a copy of the list with the same items.
func (l *List) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = append([]runtime.Object(nil), l.Items...)
	return &c
}

// List lists the requests of a namespace, or of all if that is empty. It calls keep with each
// as it arrives; only what keep returns is in the list, and nothing where that is
// nil. So a page of any number of requests takes no more memory than what is kept of them.
//
// Errors of the API server are of type [k8s.io/apimachinery/pkg/api/errors.APIStatus].
func (c *Client) List(ctx context.Context, namespace string, options metav1.ListOptions, keep func(*cmapi.CertificateRequest) runtime.Object) (*List, error) {
	list := &List{}
	err := c.read(ctx, c.get(namespace, &options), func(s *scanner) {
		decodeList(s, c.limits, list, keep)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Get returns one request.
func (c *Client) Get(ctx context.Context, name types.NamespacedName) (request *cmapi.CertificateRequest, err error) {
	err = c.read(ctx, c.rest.Get().Namespace(name.Namespace).Resource(resource).Name(name.Name), func(s *scanner) {
		request = decode(s, c.limits)
	})
	if err != nil {
		return nil, err
	}
	return request, nil
}

// Watch watches the requests of a namespace, or of all if that is empty. The events are those of
// client-go's Watch: requests, with the type of the event, or a *metav1.Status of type
// watch.Error. As there, a connection that ends before there is an answer is a watch that has ended, [watch.NewEmptyWatch].
func (c *Client) Watch(ctx context.Context, namespace string, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	request := c.get(namespace, &options)
	if options.TimeoutSeconds != nil {
		request = request.Timeout(time.Duration(*options.TimeoutSeconds) * time.Second)
	}
	ctx, cancel := context.WithCancel(ctx)
	body, err := request.SetHeader("Accept", runtime.ContentTypeJSON).Stream(ctx)
	if err != nil {
		cancel()
		if utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err) {
			return watch.NewEmptyWatch(), nil
		}
		return nil, err
	}
	return newStream(body, c.limits, cancel), nil
}

// get asks for a collection.
func (c *Client) get(namespace string, options *metav1.ListOptions) *rest.Request {
	return c.rest.Get().Namespace(namespace).Resource(resource).VersionedParams(options, scheme.ParameterCodec)
}

// read makes a request, and has decode read the answer.
func (c *Client) read(ctx context.Context, request *rest.Request, decode func(*scanner)) error {
	defer observe(ctx, http.MethodGet, request, time.Now())
	body, err := request.SetHeader("Accept", runtime.ContentTypeJSON).Stream(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	s := newScanner(body)
	decode(s)
	if s.err != nil {
		return fmt.Errorf("reading the API server's answer about CertificateRequests: %w", s.err)
	}
	_, _ = io.Copy(io.Discard, body) // a line break, after which the connection can be used again
	return nil
}

// UpdateStatus writes the status of a request, in the very version that is given: the
// API server takes nothing else from it. What comes back is the whole object, which is not read.
func (c *Client) UpdateStatus(ctx context.Context, request *cmapi.CertificateRequest) error {
	put := c.rest.Put().Namespace(request.Namespace).Resource(resource).Name(request.Name).SubResource("status").Body(request)
	defer observe(ctx, http.MethodPut, put, time.Now())
	body, err := put.Stream(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	// It is written whatever becomes of the answer.
	_, _ = io.Copy(io.Discard, body)
	return nil
}

// observe counts the duration of a call, which client-go does not do for those whose
// answer is read as a stream.
func observe(ctx context.Context, verb string, request *rest.Request, began time.Time) {
	metrics.RequestLatency.Observe(ctx, verb, *request.URL(), time.Since(began))
}

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
