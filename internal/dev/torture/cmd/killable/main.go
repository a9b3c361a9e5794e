// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command killable is csi-driver-spiffe, but for one thing: it kills itself,
// with SIGKILL, right after the step that the environment names. The shipped
// program has no such thing in it.
//
//	TORTURE_KILL_AT=NAME   the step, as driver.Options.Step is told
//	TORTURE_KILL_NTH=N     at the Nth time, 1 by default
//	TORTURE_STEPS=FILE     where to note each step that is reached
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

func main() {
	var node, socket string
	program := daemon.Program{
		Name:    "killable",
		Purpose: "is csi-driver-spiffe that kills itself.",
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&node, "node-name", "", "`NAME` of the Kubernetes node")
			flags.StringVar(&socket, "csi-socket", "/csi/csi.sock", "`PATH` of the UNIX socket on which the kubelet calls")
		},
		Run: func(ctx context.Context, env daemon.Env) error { return run(ctx, env, node, socket) },
	}
	os.Exit(program.Main(os.Args[1:], daemon.StandardStreams()))
}

func run(ctx context.Context, env daemon.Env, node, socket string) error {
	rest, err := daemon.RESTConfig(env.Kubeconfig, "csi-driver-spiffe", env.Config.Current().Driver.KubeAPI)
	if err != nil {
		return err
	}
	step, err := stepper()
	if err != nil {
		return err
	}
	d, err := driver.New(driver.Options{Node: node, Socket: socket, Config: env.Config, REST: rest, Log: env.Log, Step: step})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// stepper returns what is called after each step.
func stepper() (func(string), error) {
	at, left := os.Getenv("TORTURE_KILL_AT"), 1
	if nth := os.Getenv("TORTURE_KILL_NTH"); nth != "" {
		var err error
		if left, err = strconv.Atoi(nth); err != nil {
			return nil, fmt.Errorf("TORTURE_KILL_NTH: %w", err)
		}
	}
	var notes *os.File
	if path := os.Getenv("TORTURE_STEPS"); path != "" {
		var err error
		if notes, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	return func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if notes != nil {
			fmt.Fprintln(notes, name)
		}
		if name != at {
			return
		}
		left--
		if left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // not one step further
		}
	}, nil
}
