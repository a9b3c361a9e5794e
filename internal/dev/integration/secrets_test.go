// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// secrets are what must not be found, by what they are.
type secrets map[string]string

// addToken adds the parts of each token of a request: one alone would do harm.
func (s secrets) addToken(name string, request *csi.NodePublishVolumeRequest) {
	var tokens map[string]struct{ Token string }
	if json.Unmarshal([]byte(request.GetVolumeContext()[tokensKey]), &tokens) != nil {
		return
	}
	for _, token := range tokens {
		s.addJWT(name, token.Token)
	}
}

func (s secrets) addJWT(name, token string) {
	for i, part := range strings.Split(token, ".") {
		if i > 0 { // what the header says is the same for all, and no secret
			s[fmt.Sprintf("%s, part %d", name, i)] = part
		}
	}
}

// addKey adds each line of a private key.
func (s secrets) addKey(name string, pem []byte) {
	for i, line := range strings.Split(strings.TrimSpace(string(pem)), "\n") {
		// The first line begins with what kind of key it is.
		if !strings.HasPrefix(line, "-----") && i > 1 {
			s[fmt.Sprintf("%s, line %d", name, i)] = line
		}
	}
}

// mustNotBeIn looks for the secrets as they are, and for pieces of them.
func (s secrets) mustNotBeIn(t *testing.T, where, text string) {
	t.Helper()
	for name, secret := range s {
		for _, piece := range []string{secret[:len(secret)/2], secret[len(secret)/2:]} {
			if len(piece) >= 16 && strings.Contains(text, piece) {
				t.Errorf("%s has %s in it", where, name)
			}
		}
	}
}

// Nothing that the driver writes has a token or a key in it: neither what it
// logs at the most verbose level, nor what it answers, its metrics, what it keeps
// beside the files of a pod, or the files of another.
func TestSecretsAreNowhereElse(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 12s}" })
	w.startApprover()
	driver := w.startVerboseDriver()
	known, answers := secrets{}, &bytes.Buffer{}
	known.addJWT("the driver's own token", w.installation.Driver.BearerToken)
	publish := func(name string, change func(*csi.NodePublishVolumeRequest)) (string, codes.Code) {
		request, err := w.kubelet.PublishRequest(t.Context(), w.pod(name), testkit.VolumeName)
		w.check(err)
		known.addToken("a token of "+name, request)
		change(request)
		_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
		answers.WriteString(status.Convert(err).Message() + "\n")
		return request.GetTargetPath(), status.Code(err)
	}
	must := func(got, want codes.Code) {
		t.Helper()
		if got != want {
			t.Fatalf("code %s, want %s:\n%s", got, want, answers)
		}
	}

	first, code := publish("first", func(*csi.NodePublishVolumeRequest) {})
	must(code, codes.OK)
	second, code := publish("second", testkit.MoveTokensToSecrets)
	must(code, codes.OK)
	for name, test := range refusals() {
		_, code := publish("refused-"+strings.ReplaceAll(strings.ToLower(name), " ", "-"), test.change)
		must(code, test.code)
	}
	_, code = publish("cut", func(r *csi.NodePublishVolumeRequest) {
		r.VolumeContext[tokensKey] = r.VolumeContext[tokensKey][:len(r.VolumeContext[tokensKey])-40] // no JSON any more
	})
	must(code, codes.FailedPrecondition)
	_, code = publish("forged", func(r *csi.NodePublishVolumeRequest) {
		r.VolumeContext[tokensKey] = strings.Replace(r.VolumeContext[tokensKey], `","expirationTimestamp`, `AAAA","expirationTimestamp`, 1)
	})
	must(code, codes.Unauthenticated)
	w.check(w.unbindRole())
	_, code = publish("forbidden", func(*csi.NodePublishVolumeRequest) {})
	must(code, codes.PermissionDenied)
	w.check(w.bindRole())

	before := w.generation(first)
	keys := []string{first, second, first}
	for i, target := range keys {
		if i == 2 {
			w.eventually("a renewal", func() bool { return w.generation(first) != before })
		}
		key, err := os.ReadFile(filepath.Join(target, "tls.key"))
		w.check(err)
		known.addKey(fmt.Sprintf("key %d", i), key)
		w.onlyIn(filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(target))))), target, key)
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/configz"} {
		answers.WriteString(driver.get(path))
	}
	list, err := json.Marshal(w.list())
	w.check(err)
	requests, err := json.Marshal(w.requests())
	w.check(err)
	driver.stop()
	log := driver.log()
	for _, line := range []string{"renewed", "publish failed", "level=DEBUG", "[transport]", "verb=POST", "Request Body"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log is not as verbose as it should be: there is no %q in it", line)
		}
	}
	known.mustNotBeIn(t, "the log", log)
	known.mustNotBeIn(t, "an answer", answers.String())
	known.mustNotBeIn(t, "the list of volumes", string(list))
	known.mustNotBeIn(t, "a CertificateRequest", string(requests))
	known.mustNotBeIn(t, "what is kept of volumes", w.keptOf())
	t.Logf("%d secrets, %d bytes of log", len(known), len(log))
}

// onlyIn asserts that of all files in the tmpfs only those of one pod have its
// key in them.
func (w *world) onlyIn(podUID, target string, key []byte) {
	w.t.Helper()
	own, err := os.Stat(target)
	w.check(err)
	w.check(filepath.WalkDir(w.config.Volume.TmpfsPath, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && entry.Name() == "data" {
			if info, err := entry.Info(); err == nil && os.SameFile(info, own) {
				return fs.SkipDir
			}
		}
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // Files come and go.
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, key) {
			w.t.Errorf("the key of pod %s is in %s", podUID, path)
		}
		return nil
	}))
}

// keptOf is what the driver keeps of volumes beside what pods see.
func (w *world) keptOf() string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.config.Volume.TmpfsPath, "*", "*"))
	w.check(err)
	var kept strings.Builder
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			kept.WriteString(file)
			kept.Write(data)
		}
	}
	if !strings.Contains(kept.String(), "spiffe://") {
		w.t.Error("found nothing that is kept of volumes")
	}
	return kept.String()
}

// How the tmpfs and the mounts in pods are mounted.
func TestMountOptions(t *testing.T) {
	w := newWorld(t)
	target := w.publish(w.pod("web-0"))
	find := func(path string) *mountinfo.Info {
		mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
		w.check(err)
		if len(mounts) != 1 {
			t.Fatalf("%d mounts at %s", len(mounts), path)
		}
		return mounts[0]
	}
	for path, want := range map[string][]string{
		w.config.Volume.TmpfsPath: {"rw", "nosuid", "nodev", "noexec"},
		target:                    {"ro", "nosuid", "nodev", "noexec"},
	} {
		options := strings.Split(find(path).Options, ",")
		for _, option := range want {
			if !slices.Contains(options, option) {
				t.Errorf("%s is mounted with %v, want %s among them", path, options, option)
			}
		}
	}
	tmpfs := find(w.config.Volume.TmpfsPath)
	super := strings.Split(tmpfs.VFSOptions, ",")
	if tmpfs.FSType != "tmpfs" || !slices.Contains(super, "mode=700") {
		t.Errorf("%s with %v, want a tmpfs with mode=700", tmpfs.FSType, super)
	}
	info, err := os.Stat(w.config.Volume.TmpfsPath)
	w.check(err)
	if info.Mode().Perm() != 0o700 || !ownedByRoot(info) {
		t.Errorf("the tmpfs is %s of %v, want 0700 of root", info.Mode(), info.Sys())
	}
	if told := strings.Contains(w.log.String(), "keys may be swapped out"); told == slices.Contains(super, "noswap") {
		t.Errorf("mounted with %v; it is told that keys may be swapped out: %v", super, told)
	}
	w.eventually("the kernel has noswap, or the log says so", func() bool {
		return slices.Contains(super, "noswap") || strings.Contains(w.log.String(), "keys may be swapped out")
	})
}

// verboseVariable has TestVerboseDriver be the driver.
const verboseVariable = "CSI_DRIVER_SPIFFE_TEST_VERBOSE"

// verboseDriver is a driver in a process of its own, for what the libraries in it
// log is set for the whole process. They log more than any flag of the real
// program can make them.
type verboseDriver struct {
	w       *world
	address string
	file    string
	stop    func()
}

// get asks the driver's HTTP address.
func (d *verboseDriver) get(path string) string {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get("http://" + d.address + path)
	d.w.check(err)
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	d.w.check(err)
	return body.String()
}

// TestVerboseDriver is that process. It does what cmd/csi-driver-spiffe does.
func TestVerboseDriver(t *testing.T) {
	arguments := os.Getenv(verboseVariable)
	if arguments == "" {
		t.Skip("is run by TestSecretsAreNowhereElse")
	}
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", "10"); err != nil {
		t.Fatal(err)
	}
	var node, socket string
	program := daemon.Program{
		Name: "csi-driver-spiffe",
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&node, "node-name", "", "")
			flags.StringVar(&socket, "csi-socket", "", "")
		},
		Run: func(ctx context.Context, env daemon.Env) error {
			// Even beyond debug, where klog has its levels.
			env.Log = daemon.NewLogger("text", minLevel{}, os.Stderr)
			env.Log.Debug("verbose")
			rest, err := daemon.RESTConfig(env.Kubeconfig, "csi-driver-spiffe", env.Config.Current().Driver.KubeAPI)
			if err != nil {
				return err
			}
			d, err := driver.New(driver.Options{Node: node, Socket: socket, Config: env.Config, REST: rest, Log: env.Log})
			if err != nil {
				return err
			}
			env.Registry.MustRegister(d.Metrics()...)
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return d.Run(ctx) })
			group.Go(func() error {
				return env.ServeHTTP(ctx, env.Config.Current().Driver.HTTPAddress, daemon.Checks{Healthy: d.Probe, Ready: d.Ready})
			})
			return group.Wait()
		},
	}
	signal.Reset(syscall.SIGTERM)
	if code := program.Main(strings.Split(arguments, "\n"), daemon.StandardStreams()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// startVerboseDriver starts a driver that logs all that it and its libraries can
// say.
func (w *world) startVerboseDriver() *verboseDriver {
	w.t.Helper()
	d := &verboseDriver{w: w, address: w.freeAddress(), file: filepath.Join(w.dir, "driver.log")}
	w.socket = w.socketPath()
	w.config = w.changedConfig("driver: {httpAddress: '" + d.address + "', publishTimeout: 20s}")
	w.config = w.changedConfig("observability: {logging: {level: debug}}")
	written, err := w.config.YAML()
	w.check(err)
	file := filepath.Join(w.dir, "config.yaml")
	w.check(os.WriteFile(file, written, 0o600))
	kubeconfig := filepath.Join(w.dir, "driver.kubeconfig")
	w.check(testkit.WriteKubeconfig(kubeconfig, w.installation.Driver))
	log, err := os.Create(d.file)
	w.check(err)
	defer log.Close()
	command := exec.Command(os.Args[0], "-test.run=^TestVerboseDriver$", "-test.v")
	command.Env = append(os.Environ(), "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99", verboseVariable+"="+strings.Join([]string{
		"--config", file, "--kubeconfig", kubeconfig, "--node-name", w.node, "--csi-socket", w.socket,
	}, "\n"))
	command.Stdout, command.Stderr = log, log
	w.check(command.Start())
	w.t.Cleanup(w.unmountAll)
	d.stop = sync.OnceFunc(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			w.t.Errorf("the driver: %v\n%s", err, d.log())
		}
	})
	w.t.Cleanup(d.stop)
	w.kubelet, err = testkit.NewKubelet(w.Cluster, w.kubeletRoot(), w.socket)
	w.check(err)
	w.t.Cleanup(func() { _ = w.kubelet.Close() })
	w.check(w.kubelet.WaitForDriver(w.t.Context()))
	return d
}

// freeAddress is one that nobody listens on at the moment.
func (w *world) freeAddress() string {
	w.t.Helper()
	address, err := testkit.FreeAddress()
	w.check(err)
	return address
}

// log is all that the process has written.
func (d *verboseDriver) log() string {
	data, err := os.ReadFile(d.file)
	d.w.check(err)
	return string(data)
}
