// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// requireRoot skips a test of which root alone can make the store: on a tmpfs, and with
// files that are replaced in a folder that is read-only.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, or root of a user namespace, to mount: run `make test`")
	}
}

// inBubble runs a test in which time passes when nothing else is left to do. It fails if a
// goroutine is left at the end.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	requireRoot(t) // in a bubble, a test that is skipped counts as passed
	synctest.Test(t, f)
}

// world is a node with a manager: a kubelet's folder, a store, and an API server.
type world struct {
	*manager.Manager

	t *testing.T
	// root is the kubelet's folder.
	root   string
	store  *volume.Store
	api    *api
	config *config.Holder
	bundle *delivery.Bundle
	log    *log
	// room is what is said of room for another volume.
	room error
	// step is called with each thing that was done.
	step func(name string)

	// end ends [manager.Manager.Run], and stop also closes the manager.
	end, stop func()
	// calls are those of the kubelet that have not been answered.
	calls sync.WaitGroup
}

// log is what a manager logs.
type log struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements [io.Writer].
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// lines returns the lines that contain a text.
func (l *log) lines(text string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.out.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// mustSay fails the test unless so many lines contain all the texts.
func (l *log) mustSay(t *testing.T, n int, texts ...string) {
	t.Helper()
	lines := l.lines(texts[0])
	for _, text := range texts[1:] {
		lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, text) })
	}
	if len(lines) != n {
		t.Errorf("%d lines say %q, want %d; the log is\n%s", len(lines), texts, n, strings.Join(l.lines(""), ""))
	}
}

// newWorld returns a node without a manager. The configuration has some lines of YAML
// added.
func newWorld(t *testing.T, lines ...string) *world {
	t.Helper()
	w := newWorldOf(t, openStore(t))
	w.configure(lines...)
	return w
}

// openStore returns a store on a tmpfs of its own.
func openStore(t *testing.T, settings ...volume.Setting) *volume.Store {
	t.Helper()
	requireRoot(t)
	path := filepath.Join(t.TempDir(), "store")
	store, err := volume.Open(path, settings...)
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(path)) })
	return store
}

func newWorldOf(t *testing.T, store *volume.Store) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), store: store, api: newAPI(t), log: &log{}, config: config.NewHolder(&config.Config{})}
	check(t, os.Mkdir(filepath.Join(w.root, "pods"), 0o700))
	t.Cleanup(func() {
		targets, err := store.Targets()
		check(t, err)
		for _, target := range targets {
			check(t, volume.Unmount(target))
		}
	})
	return w
}

// configure puts another configuration in force.
func (w *world) configure(lines ...string) {
	w.t.Helper()
	c := configtest.Parse(w.t, lines...)
	c.Driver.KubeletRootDir = w.root
	w.config.Set(c)
}

// start starts a manager, which takes over what another one has left.
func (w *world) start() {
	w.t.Helper()
	handler := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	event := func(_ bool, reason, note string) { handler.Info("Event", "reason", reason, "note", note) }
	w.bundle = delivery.NewBundle(handler, event, func() { w.BundleChanged() })
	w.Manager = manager.New(manager.Options{
		Owner: issuance.Owner{Node: "worker-1"}, Config: w.config, Log: handler, Requester: w.api, Store: w.store,
		Files: delivery.NewFiles(w.store, w.bundle, handler), Bundle: w.bundle, Event: event,
		Room: func() error { return errors.Join(w.room, w.store.HasRoom()) },
		Step: func(name string) {
			if w.step != nil {
				w.step(name)
			}
		},
		FollowClock: func(ctx context.Context, _ *issuance.Scheduler) error {
			<-ctx.Done()
			return nil
		},
	})
	c := w.config.Current()
	check(w.t, w.bundle.Open(c, func() bool { return true }))
	check(w.t, w.Recover(c))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	m := w.Manager
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	w.end = func() {
		cancel()
		<-ended
	}
	w.stop = sync.OnceFunc(func() {
		w.end()
		w.calls.Wait()
		m.Close()
	})
	w.t.Cleanup(w.stop)
}

// restart has another manager take the place of the one that runs.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// newStarted is newWorld with a manager.
func newStarted(t *testing.T, lines ...string) *world {
	t.Helper()
	w := newWorld(t, lines...)
	w.start()
	return w
}

// pod is a pod with one volume.
type pod struct{ namespace, account, name, uid string }

// web is the pod of tests that need only one.
func web() pod { return pod{"sandbox", "example-app", "web-0", "c2f0f7a1"} }

// podOf is a pod of a namespace.
func podOf(namespace, name string) pod { return pod{namespace, "example-app", name, "uid-" + name} }

func (p pod) volume() string { return "csi-" + p.uid }

func (p pod) token(expiry time.Time) manager.Token {
	account, err := spiffe.NewServiceAccount(p.namespace, p.account)
	if err != nil {
		panic(err)
	}
	return manager.Token{
		Secret:   issuance.NewToken("token of " + p.name + " until " + expiry.String()),
		PodToken: spiffe.PodToken{ServiceAccount: account, PodName: p.name, PodUID: p.uid, Expiry: expiry},
	}
}

// target is where the kubelet wants the volume.
func (w *world) target(p pod) string {
	return filepath.Join(w.root, "pods", p.uid, "volumes/kubernetes.io~csi/spiffe/mount")
}

// request is a call of the kubelet, with a token that lasts for a day.
func (w *world) request(p pod) manager.PublishRequest {
	return manager.PublishRequest{
		VolumeID: p.volume(), TargetPath: w.target(p), Token: p.token(time.Now().Add(24 * time.Hour)), Received: time.Now(),
	}
}

// kubeletTimeout is the deadline of the kubelet's calls.
const kubeletTimeout = 2 * time.Minute

// publish is a call of the kubelet.
func (w *world) publish(p pod) error { return w.publishAs(w.request(p)) }

func (w *world) publishAs(request manager.PublishRequest) error {
	w.calls.Add(1)
	defer w.calls.Done()
	ctx, cancel := context.WithTimeout(context.Background(), kubeletTimeout)
	defer cancel()
	return w.Publish(ctx, w.config.Current(), request)
}

// publishing begins a call of the kubelet, whose answer comes.
func (w *world) publishing(p pod) (answer <-chan error) {
	return calling(func() error { return w.publish(p) })
}

func calling(call func() error) (answer <-chan error) {
	answers := make(chan error, 1)
	go func() { answers <- call() }()
	return answers
}

// unpublish is a call of the kubelet.
func (w *world) unpublish(p pod) error {
	w.calls.Add(1)
	defer w.calls.Done()
	ctx, cancel := context.WithTimeout(context.Background(), kubeletTimeout)
	defer cancel()
	return w.Unpublish(ctx, p.volume(), w.target(p))
}

// mustPublish publishes volumes, and returns the SVID of the last one.
func (w *world) mustPublish(pods ...pod) (svid *x509svid.SVID) {
	w.t.Helper()
	for _, p := range pods {
		check(w.t, w.publish(p))
		svid = w.mustHaveSVID(p)
	}
	return svid
}

// mustHaveSVID returns the SVID that a pod sees, which opens the directory of the pair: key
// and certificate belong together.
func (w *world) mustHaveSVID(p pod) *x509svid.SVID {
	w.t.Helper()
	pair, err := os.OpenRoot(filepath.Join(w.target(p), "..data"))
	check(w.t, err)
	defer pair.Close()
	svid := mustReadSVID(w.t, pair)
	if want := "spiffe://my.trust.domain/ns/" + p.namespace + "/sa/" + p.account; svid.ID.String() != want {
		w.t.Errorf("the pod is %s, want %s", svid.ID, want)
	}
	if mounted, err := w.store.Mounted(p.volume(), w.target(p)); err != nil || !mounted {
		w.t.Errorf("the volume of %s is mounted: %t, %v", p.name, mounted, err)
	}
	return svid
}

// mustReadSVID reads an SVID in an open directory.
func mustReadSVID(t *testing.T, pair *os.Root) *x509svid.SVID {
	t.Helper()
	chain, err := pair.ReadFile("tls.crt")
	check(t, err)
	key, err := pair.ReadFile("tls.key")
	check(t, err)
	svid, err := x509svid.Parse(chain, key)
	check(t, err)
	return svid
}

// read returns what a pod reads in a file.
func (w *world) read(p pod, name string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.target(p), name))
	check(w.t, err)
	return data
}

// mustLeaveNothing fails the test if there is anything of any volume, on the node or in
// memory.
func (w *world) mustLeaveNothing() {
	w.t.Helper()
	if ids, err := w.store.List(); err != nil || len(ids) != 0 {
		w.t.Errorf("the store has %q, %v", ids, err)
	}
	for s := range w.Snapshots() {
		w.t.Errorf("there is a record: %+v", s)
	}
	targets, err := filepath.Glob(filepath.Join(w.root, "pods/*/volumes/kubernetes.io~csi/*/*"))
	if err != nil || len(targets) != 0 {
		w.t.Errorf("in the pods' folders are %q, %v", targets, err)
	}
}

// of returns what is to tell of the volume of a pod.
func (w *world) of(p pod) observe.Snapshot { return w.Snapshot(p.volume()) }

// pass lets time pass in a bubble, and waits until everything has come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// answered returns the answer to a call in a bubble, which must have come by now.
func answered(t *testing.T, answer <-chan error) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-answer:
		return err
	default:
		t.Fatal("the call has not been answered")
		return nil
	}
}

// mustWait fails the test if a call in a bubble has been answered.
func mustWait(t *testing.T, answer <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-answer:
		t.Fatalf("the call has been answered: %v", err)
	default:
	}
}
