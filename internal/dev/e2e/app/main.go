// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command app is every program in the pods of the end-to-end test, for there is
// no image but what is built here:
//
//	app                       wait for a signal to end, as the pause container does
//	sleep SECONDS             also by that name, as cat and stat
//	cat FILE...
//	stat FILE...              mode, owner, group and name of each
//	allocate MEBIBYTES        use memory, and wait
//	serve DIR ADDRESS         HTTPS for holders of an SVID of the own trust domain
//	call DIR URL              ask such a server again and again; see [caller]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func main() {
	args := os.Args
	if filepath.Base(args[0]) == "app" {
		args = args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		<-ctx.Done()
		return nil
	}
	name, args := filepath.Base(args[0]), args[1:]
	switch {
	case name == "sleep" && len(args) == 1:
		return sleep(ctx, args[0])
	case name == "cat":
		return cat(args)
	case name == "stat":
		return stat(args)
	case name == "allocate" && len(args) == 1:
		return allocate(ctx, args[0])
	case name == "serve" && len(args) == 2:
		return serve(ctx, args[0], args[1])
	case name == "call" && len(args) == 2:
		return call(ctx, args[0], args[1])
	}
	return fmt.Errorf("%s with %d arguments: not known", name, len(args))
}

func sleep(ctx context.Context, seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	select {
	case <-time.After(time.Duration(n) * time.Second):
	case <-ctx.Done():
	}
	return nil
}

func cat(files []string) error {
	var errs []error
	for _, file := range files {
		f, err := os.Open(file)
		if err == nil {
			_, err = io.Copy(os.Stdout, f)
			_ = f.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func stat(files []string) error {
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		fmt.Printf("%04o %d %d %s\n", info.Mode().Perm(), owner.Uid, owner.Gid, file)
	}
	return nil
}

func allocate(ctx context.Context, mebibytes string) error {
	n, err := strconv.Atoi(mebibytes)
	if err != nil {
		return err
	}
	memory := make([]byte, n<<20)
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	<-ctx.Done()
	fmt.Println(memory[0])
	return nil
}
