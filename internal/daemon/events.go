// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// The reasons of Events on the daemon's own pod.
const (
	// reasonRefused is of type Warning: the file has changed, and is not taken up.
	reasonRefused = "ConfigurationRefused"
	// reasonReloaded is of type Normal: the file is good again.
	reasonReloaded = "ConfigurationReloaded"
)

const (
	// maxNote is how long the API server lets an Event's note be, in bytes.
	maxNote = 1024
	// eventTimeout is how long it may take to make one.
	eventTimeout = 10 * time.Second
)

// podEvents makes Events on the pod in which the program runs. A nil one makes
// none. No Event is so important that anything waits for it or fails with it.
type podEvents struct {
	program, kubeconfig string
	pod                 corev1.ObjectReference
	log                 *slog.Logger
	queue               chan *eventsv1.Event
}

// newPodEvents returns nil if the environment does not name the pod, by
// POD_NAME, POD_NAMESPACE and, for `kubectl describe pod` to find the Events,
// POD_UID.
func newPodEvents(program, kubeconfig string, log *slog.Logger) *podEvents {
	pod := corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod",
		Name: os.Getenv("POD_NAME"), Namespace: os.Getenv("POD_NAMESPACE"), UID: types.UID(os.Getenv("POD_UID")),
	}
	if pod.Name == "" || pod.Namespace == "" {
		return nil
	}
	return &podEvents{program, kubeconfig, pod, log, make(chan *eventsv1.Event, 16)}
}

func (p *podEvents) refused(err error, running string) {
	p.add(corev1.EventTypeWarning, reasonRefused, fmt.Sprintf("hash %s stays: %s", running, err))
}

func (p *podEvents) reloaded(running string) {
	p.add(corev1.EventTypeNormal, reasonReloaded, fmt.Sprintf("the file is good again, hash %s is running", running))
}

// tell is what programs make Events of their own by.
func (p *podEvents) tell(warning bool, reason, note string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	p.add(kind, reason, note)
}

func (p *podEvents) add(kind, reason, note string) {
	if p == nil {
		return
	}
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: eventName(p.pod.Name), Namespace: p.pod.Namespace},
		EventTime:  metav1.NowMicro(), ReportingController: p.program, ReportingInstance: p.pod.Name,
		Regarding: p.pod, Type: kind, Reason: reason, Action: "Reload", Note: shorten(printable(note)),
	}
	select {
	case p.queue <- event:
	default: // The API server has been away for so long that more would tell nothing new.
	}
}

// eventName is the beginning of the names of a pod's Events: the server adds
// five characters, and takes names of up to 253 (RFC 1123 subdomain).
func eventName(pod string) string {
	return strings.TrimRight(pod[:min(len(pod), 240)], "-.") + "-"
}

// shorten cuts a note to what is allowed, between characters.
func shorten(note string) string {
	if len(note) <= maxNote {
		return note
	}
	const more = " …"
	return strings.ToValidUTF8(note[:maxNote-len(more)], "") + more
}

// run makes the Events that are added, until ctx ends.
func (p *podEvents) run(ctx context.Context) {
	if p == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-p.queue:
			if err := p.create(ctx, event); err != nil && ctx.Err() == nil {
				p.log.Warn("no Event on the own pod could be made", "pod", p.pod.Namespace+"/"+p.pod.Name, "reason", event.Reason, "error", err)
			}
		}
	}
}

// create makes a client each time: this is rare, and the file of a kubeconfig
// changes, too.
func (p *podEvents) create(ctx context.Context, event *eventsv1.Event) error {
	rest, err := RESTConfig(p.kubeconfig, p.program, config.KubeAPI{})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	_, err = client.EventsV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	return err
}
