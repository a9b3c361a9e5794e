// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
)

const (
	// bundleRounds is how many changes of the trust bundle are measured.
	bundleRounds = 10
	// settling is how long the driver leaves a file alone before it reads it: the
	// watch's own delay.
	settling = 100 * time.Millisecond
	// bundleIdle is for how long the driver is watched afterwards.
	bundleIdle = 20 * time.Second
	// everyForm has all files that there are.
	everyForm = "{credentialBundle: both.pem, spiffeBundle: bundle.json, pkcs12: {keystore: key.p12, truststore: trust.p12}, " +
		"jks: {keystore: key.jks, truststore: trust.jks}, storePassword: {file: password}}"
)

// measureBundle publishes so many volumes, changes the trust bundle's file, and
// sees when the last volume has the change; beside that, how long a bare loop takes
// to swap as many folders.
func (b *bench) measureBundle(ctx context.Context, out io.Writer, volumes int) error {
	requests, err := b.requests(ctx, volumes)
	if err != nil {
		return err
	}
	if err := b.publishAll(ctx, requests); err != nil {
		return err
	}
	swaps, err := b.watchSwaps(requests)
	if err != nil {
		return err
	}
	defer swaps.close()
	m := &bundleBench{bench: b, out: out, swaps: swaps, volumes: volumes}
	if err := m.configure(ctx, "{}"); err != nil {
		return err
	}
	if err := m.changes(ctx, "three files", everyThird); err != nil {
		return err
	}
	if err := m.row(ctx); err != nil {
		return err
	}
	if err := m.configure(ctx, everyForm); err != nil {
		return err
	}
	return m.changes(ctx, "all forms", func(int) bool { return false })
}

func everyThird(round int) bool { return round%3 == 0 }

func (b *bench) publishAll(ctx context.Context, requests []*csi.NodePublishVolumeRequest) error {
	var group errgroup.Group
	group.SetLimit(16)
	for _, request := range requests {
		group.Go(func() error {
			_, err := b.kubelet.Node.NodePublishVolume(ctx, request)
			return err
		})
	}
	return group.Wait()
}

type bundleBench struct {
	*bench
	out     io.Writer
	swaps   *swaps
	volumes int
	written int
}

func (m *bundleBench) path() string { return filepath.Join(m.dir, "bundle.pem") }

// write replaces the bundle by another, and returns when it was there.
func (m *bundleBench) write() (time.Time, error) {
	m.written++
	ca, err := testkit.NewCA(fmt.Sprint("root ", m.written))
	if err != nil {
		return time.Time{}, err
	}
	if err := os.WriteFile(m.path()+".new", ca.CertificatePEM, 0o600); err != nil {
		return time.Time{}, err
	}
	return time.Now(), os.Rename(m.path()+".new", m.path())
}

// configure has the driver follow the bundle and write the files that are asked
// for, and waits for both.
func (m *bundleBench) configure(ctx context.Context, files string) error {
	if _, err := m.write(); err != nil {
		return err
	}
	path := filepath.Join(m.dir, "config.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, _ := bytes.Cut(data, []byte("volume:"))
	_, after, _ := bytes.Cut(data, []byte("driver:"))
	after, _, _ = bytes.Cut(after, []byte("trustBundle:"))
	data = fmt.Appendf(nil, "%svolume: {tmpfsPath: %s, files: %s}\ndriver:%strustBundle: {path: %s}\n",
		before, filepath.Join(m.dir, "tmpfs"), files, after, m.path())
	m.swaps.begin()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	if _, err := m.swaps.wait(ctx, m.volumes); err != nil {
		return err
	}
	// Config and bundle may have come one after the other.
	return sleep(ctx, 2*time.Second)
}

// changes measures so many changes, and the floor between them.
func (m *bundleBench) changes(ctx context.Context, what string, withFloor func(round int) bool) error {
	result := row{what: fmt.Sprintf("bundle to %d volumes, %s", m.volumes, what)}
	floor, err := newFolderFloor(m.dir, m.volumes)
	if err != nil {
		return err
	}
	defer func() { _ = floor.close() }()
	for round := range bundleRounds {
		m.swaps.begin()
		began, err := m.write()
		if err != nil {
			return err
		}
		last, err := m.swaps.wait(ctx, m.volumes)
		if err != nil {
			return err
		}
		result.product = append(result.product, last.Sub(began)-settling)
		if round == 0 || withFloor(round) {
			took, err := timed(floor.write)
			if err != nil {
				return err
			}
			result.floor = append(result.floor, took)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	printTable(m.out, []row{result})
	return nil
}

// row writes a hundred bundles in a row, and then none for a while.
func (m *bundleBench) row(ctx context.Context) error {
	const count = 100
	pid := m.driver.PID()
	before, err := readUsage(pid)
	if err != nil {
		return err
	}
	m.swaps.begin()
	began := time.Now()
	var last time.Time
	for range count {
		if last, err = m.write(); err != nil {
			return err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	done, err := m.swaps.waitFor(ctx, m.volumes, last)
	if err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	after, err := readUsage(pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%d changes in a row, in %.0f ms: %.2f writes a volume, the last of them %.1f ms after the last change less the watch's %s; %.1f ms CPU for all\n",
		count, milliseconds(last.Sub(began)), float64(m.swaps.count())/float64(m.volumes),
		milliseconds(done.Sub(last)-settling), settling, milliseconds(after.cpu-before.cpu))
	from, to, err := m.leaveAlone(ctx, bundleIdle)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "afterwards, for %s: %.1f ms CPU, %d reads of any kind\n", bundleIdle, milliseconds(to.cpu-from.cpu), to.reads-from.reads)
	return nil
}
