// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster brings up a whole devcluster: it makes the state folder and
// the keys, starts the parts in the order in which they need each other, and
// sets up what makes them one cluster.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/bootstrap"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/kubeconfig"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/part"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/rbac"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// Options say how to bring up a cluster.
type Options struct {
	// PartCommand is this program's command line to run a part, without the
	// part's name.
	PartCommand []string
	// Dir is where the state folder is made; [os.TempDir] if empty.
	Dir string
	// Progress is told, in a few words, of every step that is done.
	Progress func(string)
	// Logs is a folder that gets the log files in the end, whatever the reason; it
	// must not exist. If empty they are kept only when a part has failed.
	Logs string
	// Addition is what the cluster has beyond API server and cert-manager, or nil.
	Addition Addition
}

// A Cluster is a running devcluster.
type Cluster struct {
	options    Options
	dir        *statedir.Dir
	supervisor *supervisor.Supervisor
	apiServer  socket
	webhook    socket
	caPEM      []byte
}

// Start brings up a cluster and returns when CertificateRequests are admitted and
// signed. If it fails, or ctx ends before, nothing is left but the log files of a
// part that failed; the error names their folder.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	dir, err := statedir.Create(options.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: options, dir: dir, supervisor: supervisor.New()}
	if err := c.start(ctx); err != nil {
		return nil, c.Stop(err)
	}
	return c, nil
}

// Kubeconfig is the path of the administrator's kubeconfig file.
func (c *Cluster) Kubeconfig() string { return c.dir.Path(statedir.Kubeconfig) }

// Environment is what a command is told of the cluster: KUBECONFIG, and what the
// addition has to say.
func (c *Cluster) Environment() []string {
	environment := []string{"KUBECONFIG=" + c.Kubeconfig()}
	if c.options.Addition != nil {
		environment = append(environment, c.options.Addition.Environment()...)
	}
	return environment
}

// Failed delivers an error when a part has ended by itself.
func (c *Cluster) Failed() <-chan error { return c.supervisor.Failed() }

// StartCommand starts a command that gets SIGTERM if this process dies before it.
func (c *Cluster) StartCommand(cmd *exec.Cmd) error {
	return c.supervisor.StartCommand(cmd, syscall.SIGTERM)
}

// Stop kills all parts and removes the state folder. It returns cause, the reason
// for stopping, with what else went wrong. If the cause is a part that failed,
// the log files are kept and the error says where.
func (c *Cluster) Stop(cause error) error {
	c.supervisor.Stop()
	if c.options.Logs != "" {
		if err := os.CopyFS(c.options.Logs, os.DirFS(c.dir.Path(statedir.Logs))); err != nil {
			cause = errors.Join(cause, fmt.Errorf("keeping the log files: %w", err))
		}
	}
	if _, ok := errors.AsType[*supervisor.Failure](cause); ok {
		cause = c.keepLogs(cause)
	}
	if err := c.dir.Remove(); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

func (c *Cluster) keepLogs(cause error) error {
	logs, err := c.dir.KeepLogs()
	if err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w\nlogs of all parts: %s", cause, logs)
}

// start does everything in order. A part that ends meanwhile ends it.
func (c *Cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-c.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	if err := c.prepare(); err != nil {
		return err
	}
	client, err := bootstrap.NewClient(c.Kubeconfig())
	if err != nil {
		return err
	}
	if err := c.startControlPlane(ctx, client); err != nil {
		return err
	}
	if err := c.startCertManager(ctx, client); err != nil {
		return err
	}
	return c.startAddition(ctx)
}

// startControlPlane starts etcd and kube-apiserver. The custom resources are
// created while kube-apiserver is still busy with its own start: they take effect
// two seconds later.
func (c *Cluster) startControlPlane(ctx context.Context, client *bootstrap.Client) error {
	if err := c.startPart(ctx, part.Etcd, nil); err != nil {
		return err
	}
	if _, err := c.launch(part.APIServer, &c.apiServer); err != nil {
		return err
	}
	if err := client.WaitServing(ctx); err != nil {
		return err
	}
	if err := client.InstallCRDs(ctx); err != nil {
		return err
	}
	c.options.Progress("cert-manager's custom resources ready")
	if err := client.WaitReady(ctx); err != nil {
		return err
	}
	c.options.Progress(part.APIServer + " ready")
	return nil
}

// startCertManager starts cert-manager's controllers and webhook, each as the
// ServiceAccount that it has in production.
func (c *Cluster) startCertManager(ctx context.Context, client *bootstrap.Client) error {
	if err := client.CreateNamespace(ctx); err != nil {
		return err
	}
	if err := client.InstallRBAC(ctx); err != nil {
		return err
	}
	for account, file := range map[string]string{
		rbac.Controller:     statedir.CertManagerKubeconfig,
		rbac.WebhookAccount: statedir.WebhookKubeconfig,
	} {
		token, err := client.PodToken(ctx, account)
		if err != nil {
			return err
		}
		if err := kubeconfig.WriteToken(c.dir.Path(file), c.apiServer.url(), c.caPEM, token); err != nil {
			return err
		}
	}
	if err := c.startPart(ctx, part.CertManager, nil); err != nil {
		return err
	}
	if err := c.startPart(ctx, part.Webhook, &c.webhook); err != nil {
		return err
	}
	if err := client.RegisterWebhook(ctx, c.webhook.url(), c.caPEM); err != nil {
		return err
	}
	return client.WaitAdmission(ctx)
}

// launch starts a part and does not wait for it.
func (c *Cluster) launch(name string, s *socket) (*supervisor.Process, error) {
	return c.launchPart(AdditionalPart{Name: name}, s)
}

func (c *Cluster) launchPart(part AdditionalPart, s *socket) (*supervisor.Process, error) {
	p := supervisor.Part{
		Name:       part.Name,
		Command:    append(c.options.PartCommand[:len(c.options.PartCommand):len(c.options.PartCommand)], part.Name),
		Dir:        c.dir.Path("."),
		LogFile:    c.dir.Log(part.Name),
		StopSignal: part.StopSignal,
	}
	if s != nil {
		p.Socket = s.file
		defer s.file.Close()
	}
	return c.supervisor.Start(p)
}

// startPart starts a part and waits until it is ready.
func (c *Cluster) startPart(ctx context.Context, name string, s *socket) error {
	process, err := c.launch(name, s)
	if err != nil {
		return err
	}
	if err := process.WaitReady(ctx); err != nil {
		return err
	}
	c.options.Progress(name + " ready")
	return nil
}
