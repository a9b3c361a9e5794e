// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// apiServer keeps what is created in it, answering with code.
func apiServer(t *testing.T, code int) (kubeconfig string, created <-chan eventsv1.Event) {
	t.Helper()
	events := make(chan eventsv1.Event, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/apis/events.k8s.io/v1/namespaces/security/events" {
			t.Errorf("got %s %s", r.Method, r.URL)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		event, isEvent := decoded.(*eventsv1.Event)
		if !isEvent {
			t.Errorf("got %T: %v", decoded, err)
			event = new(eventsv1.Event)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, "{}")
		events <- *event
	}))
	t.Cleanup(server.Close)
	return write(t, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+server.URL+`"}}]
contexts: [{name: x, context: {cluster: c}}]
current-context: x
`), events
}

func next(t *testing.T, events <-chan eventsv1.Event) eventsv1.Event {
	t.Helper()
	select {
	case event := <-events:
		return event
	case <-time.After(patience):
		t.Fatal("no Event")
		return eventsv1.Event{}
	}
}

func inPod(t *testing.T, name string) {
	t.Setenv("POD_NAME", name)
	t.Setenv("POD_NAMESPACE", "security")
	t.Setenv("POD_UID", "0000-1111")
}

func TestEventsOnTheOwnPod(t *testing.T) {
	inPod(t, "driver-x7x2p")
	kubeconfig, events := apiServer(t, http.StatusCreated)
	p := start(t, minimal+serving, "--kubeconfig", kubeconfig)
	hash := p.env.Config.Current().Hash()
	p.edit("# A comment is no event.\n" + minimal + serving)
	p.edit(minimal + serving + "typo: 1\n")
	refused := next(t, events)
	pod := refused.Regarding
	if pod.Kind != "Pod" || pod.APIVersion != "v1" || pod.Name != "driver-x7x2p" || pod.Namespace != "security" || pod.UID != "0000-1111" {
		t.Errorf("regarding %+v", pod)
	}
	if refused.Type != "Warning" || refused.Reason != "ConfigurationRefused" || refused.Action == "" || refused.EventTime.IsZero() ||
		refused.ReportingController != "prog" || refused.ReportingInstance != "driver-x7x2p" ||
		!strings.HasPrefix(refused.Note, "hash "+hash+" stays: "+p.file+":6:1: typo: is not a field") {
		t.Errorf("got %+v", refused)
	}
	p.edit(minimal + serving)
	if healed := next(t, events); healed.Type != "Normal" || healed.Reason != "ConfigurationReloaded" || !strings.Contains(healed.Note, hash) {
		t.Errorf("got %+v", healed)
	}
	many := new(strings.Builder)
	for i := range 20 {
		fmt.Fprintf(many, "é%d: 1\n", i)
	}
	p.edit(minimal + serving + many.String())
	long := next(t, events).Note
	if len(long) > 1024 || !utf8.ValidString(long) || !strings.HasSuffix(long, " …") {
		t.Errorf("a note of %d bytes: %s", len(long), long)
	}
}

// A program makes Events of its own in the same way.
func TestEventsOfTheProgram(t *testing.T) {
	inPod(t, "driver-x7x2p")
	kubeconfig, events := apiServer(t, http.StatusCreated)
	p := start(t, minimal+serving, "--kubeconfig", kubeconfig)
	for kind, warning := range map[string]bool{"Warning": true, "Normal": false} {
		p.env.Event(warning, "TrustBundle", "the note")
		if got := next(t, events); got.Type != kind || got.Reason != "TrustBundle" || got.Note != "the note" || got.Regarding.Name != "driver-x7x2p" {
			t.Errorf("got %+v", got)
		}
	}
}

func TestEventsThatCannotBeMadeDoNoHarm(t *testing.T) {
	inPod(t, "driver-x7x2p")
	forbidding, events := apiServer(t, http.StatusForbidden)
	for name, kubeconfig := range map[string]string{
		"forbidden":     forbidding,
		"no kubeconfig": "/nowhere/kubeconfig",
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, minimal+serving, "--kubeconfig", kubeconfig)
			p.edit(minimal + serving + "typo: 1\n")
			line := p.logged("no Event on the own pod could be made")
			if line["level"] != "WARN" || line["pod"] != "security/driver-x7x2p" || line["reason"] != "ConfigurationRefused" || line["error"] == "" {
				t.Errorf("logged %v", line)
			}
			p.mustRun(minimal+serving, false)
		})
	}
	next(t, events)
}

func TestNoEventsWithoutAPod(t *testing.T) {
	inPod(t, "")
	kubeconfig, events := apiServer(t, http.StatusCreated)
	p := start(t, minimal+serving, "--kubeconfig", kubeconfig)
	p.edit(minimal + serving + "typo: 1\n")
	p.refused()
	p.edit(minimal + serving)
	p.reloaded()
	p.env.Event(true, "TrustBundle", "nobody hears of it")
	if len(events) != 0 {
		t.Errorf("got %+v", <-events)
	}
}
