// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
)

// newClient returns a client of a server that answers as told.
func newClient(t *testing.T, code int, body string) *certrequest.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	client, err := cmclient.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return certrequest.New(client.CertmanagerV1().RESTClient(), certrequest.Limits{Certificate: certrequest.MaxCertificate})
}

// name returns the name of a request, and of no other object.
func name(object runtime.Object) string {
	if request, ok := object.(*cmapi.CertificateRequest); ok {
		return request.Name
	}
	return ""
}

func TestListKeepsWhatItIsTold(t *testing.T) {
	t.Parallel()
	client := newClient(t, http.StatusOK, `{"apiVersion":"cert-manager.io/v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}},{"metadata":{"name":"c"}}],
		"kind":"CertificateRequestList","metadata":{"continue":"next","remainingItemCount":7,"resourceVersion":"42"}}`)
	list, err := client.List(t.Context(), "", metav1.ListOptions{Limit: 3}, func(request *cmapi.CertificateRequest) runtime.Object {
		if request.Name == "b" {
			return nil
		}
		return request
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 || name(list.Items[0]) != "a" || name(list.Items[1]) != "c" {
		t.Errorf("items %v", list.Items)
	}
	if list.Continue != "next" || list.RemainingItemCount == nil || *list.RemainingItemCount != 7 || list.ResourceVersion != "42" {
		t.Errorf("metadata %+v", list.ListMeta)
	}
}

func TestErrorsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	client := newClient(t, http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"no","code":403}`)
	none := func(*cmapi.CertificateRequest) runtime.Object { return nil }
	if _, err := client.List(t.Context(), "", metav1.ListOptions{}, none); !apierrors.IsForbidden(err) {
		t.Errorf("List: %v", err)
	}
	if _, err := client.Get(t.Context(), types.NamespacedName{Namespace: "a", Name: "b"}); !apierrors.IsForbidden(err) {
		t.Errorf("Get: %v", err)
	}
	if _, err := client.Watch(t.Context(), "", metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("Watch: %v", err)
	}
	if err := client.UpdateStatus(t.Context(), &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}}); !apierrors.IsForbidden(err) {
		t.Errorf("UpdateStatus: %v", err)
	}
}

// A list that breaks off is an error, not a short list.
func TestListThatBreaksOff(t *testing.T) {
	t.Parallel()
	client := newClient(t, http.StatusOK, `{"items":[{"metadata":{"name":"a"}}`)
	if list, err := client.List(t.Context(), "", metav1.ListOptions{}, func(r *cmapi.CertificateRequest) runtime.Object { return r }); err == nil {
		t.Errorf("got %v", list)
	}
}

func TestWatchTellsEvents(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, body string
		want       []string
	}{
		{
			"requests", `{"type":"ADDED","object":{"metadata":{"name":"a"}}}
{"type":"BOOKMARK","object":{"metadata":{"name":"","resourceVersion":"7"}}}
{"object":{"metadata":{"name":"a"}},"type":"DELETED"}`,
			[]string{"ADDED a", "BOOKMARK ", "DELETED a"},
		},
		{"it breaks off", `{"type":"ADDED","object":{"metadata":{"name":"a"}}}{"type":"ADD`, []string{"ADDED a"}},
		{
			"version too old", `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}`,
			[]string{"ERROR Expired 410 too old"},
		},
		{"no type", `{"object":{}}`, []string{"ERROR InternalError"}},
		{"no object", `{"type":"ADDED"}`, []string{"ERROR InternalError"}},
		{"no JSON", `<html>`, []string{"ERROR InternalError"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, err := newClient(t, http.StatusOK, row.body).Watch(t.Context(), "", metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			var got []string
			for event := range w.ResultChan() {
				text := string(event.Type) + " " + name(event.Object)
				if event.Type == watch.Error {
					text = "ERROR " + string(apierrors.ReasonForError(apierrors.FromObject(event.Object)))
					if status, ok := event.Object.(*metav1.Status); ok && status.Code != http.StatusInternalServerError {
						text = fmt.Sprintf("ERROR %s %d %s", status.Reason, status.Code, status.Message)
					}
				}
				got = append(got, text)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// A watch that is stopped ends, whether anybody reads its events or not.
func TestStoppedWatchEnds(t *testing.T) {
	t.Parallel()
	w, err := newClient(t, http.StatusOK, `{"type":"ADDED","object":{"metadata":{"name":"a"}}}`).Watch(t.Context(), "", metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	for range w.ResultChan() {
		continue // until it is closed
	}
}
