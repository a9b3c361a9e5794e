// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// The names under which a CertificateRequest says whose it is.
const (
	// LabelNode is the node whose driver made the request.
	LabelNode = policy.LabelNode
	// LabelDriver is the name of the CSI driver that made the request, unless it
	// has the default name.
	LabelDriver = policy.LabelDriver
	// LabelVolume is the CSI volume that the request is for.
	LabelVolume = policy.LabelVolume
	// AnnotationIdentity is the SPIFFE ID that is asked for. It is for people:
	// nothing is approved because of it.
	AnnotationIdentity = policy.AnnotationIdentity
)

// Order is everything that a request is made from.
type Order struct {
	// Policy is what the request must be like.
	Policy policy.Policy
	// Token is the pod's ServiceAccount token, for the API server.
	Token Token
	// Pod is what the token says of the pod.
	Pod spiffe.PodToken
	// Owner is the driver that makes the request.
	Owner Owner
	// VolumeID is the CSI volume ID.
	VolumeID string
}

// certificateRequest makes the object that is created in the API server. It is
// owned by the pod, so that it goes when the pod does.
func (o Order) certificateRequest(pending *Pending) *cmapi.CertificateRequest {
	return &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   pending.Request.Namespace,
			Name:        pending.Request.Name,
			Annotations: o.Policy.RequestAnnotations(pending.ID),
			Labels:      o.labels(),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: corev1.SchemeGroupVersion.String(),
				Kind:       "Pod",
				Name:       o.Pod.PodName,
				UID:        types.UID(o.Pod.PodUID),
			}},
		},
		Spec: o.Policy.CertificateRequestSpec(pending.ID, pending.csrPEM),
	}
}

func (o Order) labels() map[string]string {
	all := o.Owner.labels()
	all[LabelVolume] = labelValue(o.VolumeID)
	return all
}

// create makes a request, and returns its UID. It does so without the retries of
// client-go, of which nobody would hear the reason. What comes back is otherwise what
// was sent, and is not decoded; what becomes of it comes by the watch.
func create(ctx context.Context, client cmclient.CertmanagerV1Interface, request *cmapi.CertificateRequest) (types.UID, error) {
	result := client.RESTClient().Post().Namespace(request.Namespace).Resource("certificaterequests").
		Body(request).MaxRetries(0).Do(ctx)
	if err := result.Error(); err != nil {
		return "", err
	}
	body, err := result.Raw()
	if err != nil {
		return "", err
	}
	var created struct {
		Metadata struct {
			UID types.UID `json:"uid"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &created); err != nil || created.Metadata.UID == "" {
		return "", errNoUID
	}
	return created.Metadata.UID, nil
}

// errNoUID means that a request may have been made, and nobody can tell which.
var errNoUID = errors.New("the API server's answer does not say which object was created")

// requestName is the pod's name, for the people who list requests, and a random
// suffix, since a pod has many requests in its life.
func requestName(pod string) string {
	const suffix, most = 10, 253 // RFC 1123 subdomain, as Kubernetes names are
	pod = pod[:min(len(pod), most-suffix-1)]
	return trimEnd(pod) + "-" + utilrand.String(suffix)
}

// Owner is the driver of one node. It tells its own requests from those of all
// others by their labels.
type Owner struct {
	// Node is the name of the node.
	Node string
	// Driver is the name of the CSI driver; empty for the default one. Drivers of
	// several names may run on a node.
	Driver string
}

func (o Owner) labels() map[string]string {
	own := map[string]string{LabelNode: labelValue(o.Node)}
	if o.Driver != "" {
		own[LabelDriver] = labelValue(o.Driver)
	}
	return own
}

// selector picks the owner's requests of a cluster.
func (o Owner) selector() string {
	selector := labels.SelectorFromSet(o.labels()).String()
	if o.Driver == "" {
		selector += ",!" + LabelDriver
	}
	return selector
}

// VolumeLabel is the value of [LabelVolume] for a volume ID.
func VolumeLabel(volumeID string) string { return labelValue(volumeID) }

// labelValue makes any name a valid label value, one to one: a name that is
// valid already stays as it is, and any other is cut and carries its hash. The
// kubelet's volume IDs are 68 bytes long, and a label value may have 63.
func labelValue(name string) string {
	if len(validation.IsValidLabelValue(name)) == 0 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:16])
	short := name[:min(len(name), validation.LabelValueMaxLength-len(hash)-1)]
	value := trimEnd(short) + "-" + hash
	if len(validation.IsValidLabelValue(value)) != 0 {
		return hash
	}
	return value
}

// trimEnd drops what a name cut at any place may not end with.
func trimEnd(s string) string { return strings.TrimRight(s, "-._") }

// Token is a ServiceAccount token. It is behind a pointer, so that printing
// whatever holds a Token prints an address: it must never reach a log or an
// error. The zero value is no token.
type Token struct{ secret *string }

// NewToken wraps a token.
func NewToken(secret string) Token { return Token{&secret} }

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.secret == nil }

// LogValue keeps the token out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Reveal returns the token, for the API server and nobody else.
func (t Token) Reveal() string {
	if t.secret == nil {
		return ""
	}
	return *t.secret
}

// podClient returns a client that acts as the pod whose token it is given, and
// as nobody else.
//
// It keeps of the base configuration only how the server is reached and
// trusted. Were a client certificate left in it, the API server would take the
// certificate for the caller and never look at the token, and requests would
// be made in the driver's name.
func podClient(base *rest.Config, token string) (cmclient.CertmanagerV1Interface, error) {
	config := rest.AnonymousClientConfig(base)
	config.BearerToken = token
	client, err := cmclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building a client for the pod: %w", err)
	}
	return client, nil
}
