// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmscheme "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func testLimits() Limits { return Limits{Certificate: MaxCertificate} }

// typed decodes as a client of cert-manager does.
func typed(data []byte) (*cmapi.CertificateRequest, error) {
	request := &cmapi.CertificateRequest{}
	return request, kruntime.DecodeInto(cmscheme.Codecs.UniversalDeserializer(), data, request)
}

func lean(data []byte) (*cmapi.CertificateRequest, error) {
	s := newScanner(bytes.NewReader(data))
	request := decode(s, testLimits())
	return request, s.err
}

// reduced is what is kept of a request.
func reduced(request *cmapi.CertificateRequest) *cmapi.CertificateRequest {
	m := request.ObjectMeta
	kept := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels, Annotations: m.Annotations,
		OwnerReferences: m.OwnerReferences, CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}, Spec: *request.Spec.DeepCopy(), Status: request.Status}
	for key := range kept.Spec.Extra {
		if !isExtraKey([]byte(key)) {
			delete(kept.Spec.Extra, key)
		}
	}
	kept.Spec.Request = kept.Spec.Request[:min(len(kept.Spec.Request), csr.MaxSize+1)]
	return kept
}

func difference(want, got *cmapi.CertificateRequest) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// ordinary is a request as the driver makes it, signed.
func ordinary() string {
	pem := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("-----BEGIN CERTIFICATE-----", 30)))
	return `{"apiVersion":"cert-manager.io/v1","kind":"CertificateRequest","metadata":{
	"annotations":{"spiffe.csi.cert-manager.io/identity":"spiffe://my.trust.domain/ns/sandbox/sa/example-app","spiffe.csi.cert-manager.io/policy":"0123456789abcdef"},
	"creationTimestamp":"2026-11-29T23:57:00Z","generation":1,"labels":{"spiffe.csi.cert-manager.io/node":"worker-1","spiffe.csi.cert-manager.io/volume":"csi-5a8a6b"},
	"managedFields":[{"apiVersion":"cert-manager.io/v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:a":{}}},"f:spec":{".":{},"f:usages":{}}},"manager":"csi-driver-spiffe","operation":"Update","time":"2026-11-29T23:57:00Z"}],
	"name":"web-0-abcdefghij","namespace":"sandbox","ownerReferences":[{"apiVersion":"v1","controller":true,"kind":"Pod","name":"web-0","uid":"c2f0f7a1"}],"resourceVersion":"4711","uid":"5f1c"},
	"spec":{"duration":"1h0m0s","extra":{"authentication.kubernetes.io/credential-id":["JTI=1"],"authentication.kubernetes.io/node-name":["worker-1"],"authentication.kubernetes.io/node-uid":["a"],
	"authentication.kubernetes.io/pod-name":["web-0"],"authentication.kubernetes.io/pod-uid":["c2f0f7a1"],"example.com/other":["x"]},"groups":["system:serviceaccounts","system:serviceaccounts:sandbox","system:authenticated"],
	"isCA":false,"issuerRef":{"group":"cert-manager.io","kind":"ClusterIssuer","name":"ca"},"request":"` + pem + `","uid":"sa-uid","usages":["digital signature","key encipherment","server auth","client auth"],
	"username":"system:serviceaccount:sandbox:example-app"},
	"status":{"ca":"` + pem + `","certificate":"` + pem + `","conditions":[{"lastTransitionTime":"2026-11-29T23:57:01Z","message":"f\u00fcr \"sie\"\n\ud83d\ude00","reason":"spiffe.csi.cert-manager.io","status":"True","type":"Approved"},
	{"lastTransitionTime":"2026-11-29T23:57:01Z","message":"Certificate fetched from issuer successfully","reason":"Issued","status":"True","type":"Ready"}],"failureTime":null}}`
}

// An ordinary request comes out as it does from cert-manager's own client, however the
// stream is cut.
func TestOrdinaryRequestIsKept(t *testing.T) {
	t.Parallel()
	want, err := typed([]byte(ordinary()))
	if err != nil {
		t.Fatal(err)
	}
	for name, reader := range map[string]io.Reader{
		"at once":      strings.NewReader(ordinary()),
		"in halves":    iotest.HalfReader(strings.NewReader(ordinary())),
		"byte by byte": iotest.OneByteReader(strings.NewReader(ordinary())),
		"with its end": iotest.DataErrReader(strings.NewReader(ordinary())),
	} {
		s := newScanner(reader)
		got := decode(s, testLimits())
		if s.err != nil {
			t.Fatalf("%s: %v", name, s.err)
		}
		if diff := difference(reduced(want), got); diff != "" {
			t.Errorf("%s: (-client, +here)\n%s", name, diff)
		}
	}
}

// hostile are requests of 1.3 MiB, by the field that has most of it, which is truncated.
func hostile() map[string]string {
	const size = 1300 << 10
	repeat := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			if strings.Contains(format, "%") {
				fmt.Fprintf(&b, format, i)
			} else {
				b.WriteString(format)
			}
		}
		return b.String()
	}
	large := `"` + strings.Repeat("x", size) + `"`
	return map[string]string{
		FieldUsages:                       `"spec":{"usages":[` + repeat(`"any"`) + `]}`,
		FieldUsages + " of one":           `"spec":{"usages":[` + large + `]}`,
		FieldGroups:                       `"spec":{"groups":[` + repeat(`"g%d"`) + `]}`,
		FieldExtra + " of many values":    `"spec":{"extra":{"authentication.kubernetes.io/pod-name":[` + repeat(`"a"`) + `]}}`,
		FieldUsername:                     `"spec":{"username":` + large + `}`,
		FieldIssuerRef:                    `"spec":{"issuerRef":{"name":` + large + `}}`,
		FieldDuration:                     `"spec":{"duration":` + large + `}`,
		FieldLabels:                       `"metadata":{"labels":{` + repeat(`"l%d":"v"`) + `}}`,
		FieldAnnotations:                  `"metadata":{"annotations":{"a":` + large + `}}`,
		FieldAnnotations + " of one key":  `"metadata":{"annotations":{` + large + `:"a"}}`,
		FieldAnnotations + " of our own":  `"metadata":{"annotations":{` + repeat(`"spiffe.csi.cert-manager.io/%d":"v"`) + `}}`,
		FieldOwners:                       `"metadata":{"ownerReferences":[` + repeat(`{"kind":"Pod","name":"web-%d","uid":"u"}`) + `]}`,
		FieldMetadata:                     `"metadata":{"name":` + large + `}`,
		FieldConditions:                   `"status":{"conditions":[` + repeat(`{"type":"t%d","status":"True"}`) + `]}`,
		FieldConditions + " of one text":  `"status":{"conditions":[{"type":"Ready","message":` + large + `}]}`,
		FieldConditions + " of one type":  `"status":{"conditions":[` + repeat(`{"type":"Ready","status":"True"}`) + `]}`,
		FieldCertificate:                  `"status":{"certificate":"` + strings.Repeat("AAAA", size/4) + `"}`,
		FieldCA:                           `"status":{"ca":"` + strings.Repeat("AAAA", size/4) + `"}`,
		FieldRequest + " of line breaks":  `"spec":{"request":"AAAA` + strings.Repeat(`\n`, size/2) + `AAAA"}`,
		"":                                `"spec":{"request":"` + strings.Repeat("AAAA", size/4) + `"}`,
		" managed fields":                 `"metadata":{"managedFields":[` + repeat(`{"fieldsV1":{"f:a%d":{}}}`) + `]}`,
		" extra of other kinds":           `"spec":{"extra":{` + repeat(`"x%d":["y"]`) + `}}`,
		" nested deeply":                  `"metadata":{"x":` + strings.Repeat("[", size/2) + strings.Repeat("]", size/2) + `}`,
		" escapes":                        `"metadata":{"x":"` + strings.Repeat(`\u0041`, size/6) + `"}`,
		FieldUsername + " of half a pair": `"spec":{"username":"` + strings.Repeat(`\ud800`, size/6) + `"}`,
	}
}

// Whatever a request holds, little of it is kept, and a field of which something is
// missing is named.
func TestHostileRequestsAreTruncated(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	for name, member := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, err := lean([]byte("{" + member + "}"))
			if err != nil {
				t.Fatal(err)
			}
			field, _, _ := strings.Cut(name, " ")
			if got := request.Annotations[AnnotationTruncated]; got != field {
				t.Errorf("%s is %.100q, want %q", AnnotationTruncated, got, field)
			}
			if field != "" && (!Truncated(request, field) || StatusTruncated(request) != strings.HasPrefix(field, "status.")) {
				t.Error("it is not reported as truncated")
			}
			if kept, err := json.Marshal(request); err != nil || len(kept) > most {
				t.Errorf("%d bytes are kept, want at most %d; %v", len(kept), most, err)
			}
			if len(request.Spec.Request) > 0 && len(request.Spec.Request) != csr.MaxSize+1 {
				t.Errorf("%d bytes of the CSR are kept, want one more than is allowed", len(request.Spec.Request))
			}
		})
	}
}

// A request with as many annotations as certificate.requestAnnotations may demand, which
// is 12 KiB with 32 bytes for each entry, is kept whole, or all of the driver's requests
// would be denied.
func TestLargestAnnotationsOfTheConfigurationAreKept(t *testing.T) {
	t.Parallel()
	const largest, entry = 12 << 10, 32
	for name, value := range map[string]int{"one large value": largest - entry - 4, "many small ones": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			annotations := map[string]string{}
			for i := range largest / (entry + 4 + value) {
				annotations[fmt.Sprintf("%04d", i)] = strings.Repeat("x", value)
			}
			annotations[policy.AnnotationHash] = "0123456789abcdef"
			annotations[policy.AnnotationIdentity] = "spiffe://" + strings.Repeat("a", 255) + "/ns/" + strings.Repeat("b", 63) + "/sa/" + strings.Repeat("c", 253)
			data, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
			if err != nil {
				t.Fatal(err)
			}
			request, err := lean(data)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(request.Annotations, annotations) {
				t.Errorf("%d of %d annotations are kept, %s is %q", len(request.Annotations), len(annotations), AnnotationTruncated, request.Annotations[AnnotationTruncated])
			}
		})
	}
}

// Reading a request takes little memory, too, also for a moment.
func TestHostileRequestsTakeLittleMemoryToRead(t *testing.T) { //nolint:paralleltest // It counts what the process allocates.
	const most = 2 << 20 // in all, most of it garbage at once; the race detector adds to it
	for name, member := range hostile() {
		data := []byte("{" + member + "}")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := lean(data); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > most {
			t.Errorf("%s: %d bytes were allocated, want at most %d", name, allocated, most)
		}
	}
}

// What becomes of a request depends on four conditions, which are kept however much stands before them.
func TestDecisiveConditionsAreKept(t *testing.T) {
	t.Parallel()
	other := `{"type":"example.com/x","status":"True","message":"` + strings.Repeat("x", 400) + `"},`
	request, err := lean([]byte(`{"status":{"conditions":[` + strings.Repeat(other, 100) + `{"type":"Denied","status":"True"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !apiutil.CertificateRequestIsDenied(request) || !Truncated(request, FieldConditions) {
		t.Errorf("a denied request has %d conditions, and that it is denied is not among them", len(request.Status.Conditions))
	}
}

// A field of a wrong type does not keep the request, or a list, from being read.
func TestWrongTypesAreNoted(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, json, field string }{
		{"labels are a list", `{"metadata":{"labels":["a"]}}`, FieldLabels},
		{"an annotation is a number", `{"metadata":{"annotations":{"a":1}}}`, FieldAnnotations},
		{"the name is an object", `{"metadata":{"name":{}}}`, FieldMetadata},
		{"no time", `{"metadata":{"creationTimestamp":"yesterday"}}`, FieldMetadata},
		{"an owner is a string", `{"metadata":{"ownerReferences":["a"]}}`, FieldOwners},
		{"controller is a string", `{"metadata":{"ownerReferences":[{"controller":"true"}]}}`, FieldOwners},
		{"no duration", `{"spec":{"duration":"an hour"}}`, FieldDuration},
		{"a duration that is a number", `{"spec":{"duration":3600}}`, FieldDuration},
		{"an empty duration", `{"spec":{"duration":""}}`, FieldDuration},
		{"isCA is a string", `{"spec":{"isCA":"false"}}`, FieldIsCA},
		{"usages are a string", `{"spec":{"usages":"any"}}`, FieldUsages},
		{"the request is no base64", `{"spec":{"request":"%"}}`, FieldRequest},
		{"the issuer is a list", `{"spec":{"issuerRef":[]}}`, FieldIssuerRef},
		{"the pod's name is twice there", `{"spec":{"extra":{"authentication.kubernetes.io/pod-name":["a"],"authentication.kubernetes.io/pod-name":["b"]}}}`, FieldExtra},
		{"two specs", `{"spec":{"isCA":true},"spec":{}}`, FieldMetadata},
		{"two user names", `{"spec":{"username":"a","username":"b"}}`, "spec"},
	} {
		request, err := lean([]byte(row.json))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		} else if got := request.Annotations[AnnotationTruncated]; got != row.field {
			t.Errorf("%s: %s is %q, want %q", row.name, AnnotationTruncated, got, row.field)
		}
	}
}

// A requester can neither clear the mark nor say what it names.
func TestMarkOfARequesterIsReplaced(t *testing.T) {
	t.Parallel()
	request, err := lean([]byte(`{"metadata":{"annotations":{"` + AnnotationTruncated + `":"status.certificate"}},"spec":{"duration":7}}`))
	if want := FieldAnnotations + "," + FieldDuration; err != nil || request.Annotations[AnnotationTruncated] != want {
		t.Errorf("%v, %v, want %q", request, err, want)
	}
}

func TestBadJSONIsAnError(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, json string
		want       error
	}{
		{"nothing", "", io.ErrUnexpectedEOF},
		{"it ends in an object", `{"spec":{"username":"a"`, io.ErrUnexpectedEOF},
		{"it ends in a string", `{"spec":{"username":"a`, io.ErrUnexpectedEOF},
		{"it ends in an escape", `{"spec":{"username":"a\\`, io.ErrUnexpectedEOF},
		{"no comma", `{"spec":{"username":"a" "uid":"b"}}`, errSyntax},
		{"no colon", `{"spec" {}}`, errSyntax},
		{"no such escape", `{"spec":{"username":"\\x"}}`, errSyntax},
		{"no hexadecimal digit", `{"spec":{"username":"\\u00g0"}}`, errSyntax},
		{"a bracket that was not opened", `{"x":]}`, errSyntax},
		{"no value", `{"x":,"y":1}`, errSyntax},
	} {
		if _, err := lean([]byte(strings.ReplaceAll(row.json, `\\`, `\`))); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
}

// What cert-manager's client reads comes out the same here, or is marked as truncated.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(ordinary()))
	f.Add([]byte(`{"spec":{"request":[1,2],"username":"\ud800\ud800x\udc00","duration":null},"metadata":null,"status":{"conditions":[null]}}`))
	f.Add([]byte("{\"spec\":{\"username\":\"\xff\xfe\",\"groups\":[null,\"a\\nb\"],\"usages\":null}}"))
	f.Add([]byte(`{"metadata":{"labels":{"a":null,"a":"b"},"annotations":{},"ownerReferences":[{},{"controller":null,"blockOwnerDeletion":false}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if problem := compare(data); problem != "" {
			t.Fatal(problem)
		}
	})
}

// compare says what is wrong with what becomes of an object here, if anything.
func compare(data []byte) string {
	got, err := lean(data)
	if got != nil {
		if kept, jsonErr := json.Marshal(got); jsonErr == nil && len(kept) > 64<<10+2*6*MaxCertificate {
			return fmt.Sprintf("%d bytes are kept", len(kept))
		}
	}
	// The client asks for an object, and the API server sends valid JSON.
	var members map[string]json.RawMessage
	want := &cmapi.CertificateRequest{}
	if json.Unmarshal(data, &members) != nil || kjson.UnmarshalCaseSensitivePreserveInts(data, want) != nil {
		return ""
	}
	if err != nil {
		return fmt.Sprintf("the client can read it, and here it is %v", err)
	}
	if want = reduced(want); got.Annotations[AnnotationTruncated] != "" || equality.Semantic.DeepEqual(want, got) {
		return ""
	}
	return "(-client, +here)\n" + difference(want, got)
}

func BenchmarkDecode(b *testing.B) {
	data := []byte(ordinary())
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		s := newScanner(&endless{data: data})
		for b.Loop() {
			if decode(s, testLimits()) == nil {
				b.Fatal(s.err)
			}
		}
	})
	b.Run("client-go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := typed(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// endless is a stream of the same data.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(into []byte) (int, error) {
	n := copy(into, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}
