// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
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
