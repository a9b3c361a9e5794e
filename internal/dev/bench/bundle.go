// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const (
	// settling is how long the driver leaves a file alone before it reads it: the
	// watch's own delay.
	settling = 100 * time.Millisecond
	// rowOfBundles is how many are written one right after another.
	rowOfBundles = 100
	// everyForm has all files that there are.
	everyForm = "{credentialBundle: both.pem, spiffeBundle: bundle.json, pkcs12: {keystore: key.p12, truststore: trust.p12}, " +
		"jks: {keystore: key.jks, truststore: trust.jks}, storePassword: {file: password}}"
)

// measureBundle changes the trust bundle's file, and sees when the last volume has
// the change; beside that, how long a bare loop takes to swap as many folders.
func measureBundle(ctx context.Context, b *bench, into *result.Scenario) error {
	volumes := b.sizes.live
	if err := b.have(ctx, volumes); err != nil {
		return err
	}
	swaps, err := b.watchSwaps(b.live)
	if err != nil {
		return err
	}
	defer swaps.close()
	floor, err := newFolderFloor(b.dir, volumes)
	if err != nil {
		return err
	}
	defer func() { _ = floor.close() }()
	m := &bundles{bench: b, swaps: swaps, volumes: volumes, floor: floor}
	for _, forms := range []struct{ name, files string }{{"three files", "{}"}, {"all forms", everyForm}} {
		progress("%d bundles to %d volumes, %s", b.sizes.bundles, volumes, forms.name)
		if err := m.useFiles(ctx, forms.files); err != nil {
			return err
		}
		changes, err := m.changes(ctx, fmt.Sprintf("%d volumes, %s", volumes, forms.name))
		if err != nil {
			return err
		}
		into.Measurements = append(into.Measurements, changes)
	}
	if err := m.useFiles(ctx, "{}"); err != nil {
		return err
	}
	row, err := m.row(ctx)
	into.Measurements = append(into.Measurements, row...)
	if err != nil {
		return err
	}
	changed := b.settings
	changed.bundle = ""
	return b.configure(changed)
}

type bundles struct {
	*bench
	swaps   *swaps
	floor   *folderFloor
	volumes int
	written int
}

// write replaces the bundle by another, and returns when it was there.
func (m *bundles) write() (time.Time, error) {
	m.written++
	ca, err := testkit.NewCA(fmt.Sprint("root ", m.written))
	if err != nil {
		return time.Time{}, err
	}
	path := m.path("bundle.pem")
	if err := os.WriteFile(path+".new", ca.CertificatePEM, 0o600); err != nil {
		return time.Time{}, err
	}
	return time.Now(), os.Rename(path+".new", path)
}

// useFiles has the driver follow the bundle and write the files that are asked
// for, and waits for both.
func (m *bundles) useFiles(ctx context.Context, files string) error {
	if _, err := m.write(); err != nil {
		return err
	}
	m.swaps.begin()
	changed := m.settings
	changed.files, changed.bundle = files, m.path("bundle.pem")
	if err := m.configure(changed); err != nil {
		return err
	}
	if _, err := m.swaps.wait(ctx, m.volumes); err != nil {
		return err
	}
	// Config and bundle may have come one after the other.
	return testkit.Sleep(ctx, 2*time.Second)
}

// changes measures one change after another, and the floor between them.
func (m *bundles) changes(ctx context.Context, name string) (result.Measurement, error) {
	measured := result.Measurement{Name: name, Unit: result.Second, Shape: result.Distribution}
	for range m.sizes.bundles {
		m.swaps.begin()
		began, err := m.write()
		if err != nil {
			return measured, err
		}
		last, err := m.swaps.wait(ctx, m.volumes)
		if err != nil {
			return measured, err
		}
		took, err := timed(m.floor.write)
		if err != nil {
			return measured, err
		}
		measured.Product = append(measured.Product, (last.Sub(began) - settling).Seconds())
		measured.Floor = append(measured.Floor, took)
		if err := testkit.Sleep(ctx, time.Second); err != nil {
			return measured, err
		}
	}
	return measured, nil
}

// row writes many bundles, one right after another.
func (m *bundles) row(ctx context.Context) ([]result.Measurement, error) {
	before, err := testkit.ReadUsage(m.driver.PID())
	if err != nil {
		return nil, err
	}
	m.swaps.begin()
	var last time.Time
	for range rowOfBundles {
		if last, err = m.write(); err != nil {
			return nil, err
		}
		if err := testkit.Sleep(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
	if _, err := m.swaps.waitFor(ctx, m.volumes, last); err != nil {
		return nil, err
	}
	if err := testkit.Sleep(ctx, time.Second); err != nil {
		return nil, err
	}
	after, err := testkit.ReadUsage(m.driver.PID())
	if err != nil {
		return nil, err
	}
	group := fmt.Sprintf("%d changes in a row", rowOfBundles)
	return []result.Measurement{
		{
			Group: group, Name: "writes of each volume", Unit: result.Count, Shape: result.Bar, FloorIs: "one",
			Product: []float64{float64(m.swaps.count()) / float64(m.volumes)}, Floor: []float64{1},
		},
		{
			Group: group, Name: "CPU time of all", Unit: result.Second, Shape: result.Bar, FloorIs: "none",
			Product: []float64{(after.CPU - before.CPU).Seconds()},
		},
	}, nil
}

// folderFloor is as many folders in a tmpfs as there are volumes, each with three
// small files behind a symbolic link, and nothing else: no SVID is read, no
// rights are set, nothing is kept for readers.
type folderFloor struct {
	root    string
	folders int
	written int
}

func newFolderFloor(dir string, folders int) (*folderFloor, error) {
	f := &folderFloor{root: filepath.Join(dir, "floor"), folders: folders}
	if err := volume.New(f.root).Ensure(); err != nil {
		return nil, err
	}
	for i := range folders {
		if err := os.Mkdir(f.folder(i), 0o700); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, f.write()
}

func (f *folderFloor) folder(i int) string { return filepath.Join(f.root, strconv.Itoa(i)) }

func (f *folderFloor) close() error { return volume.Unmount(f.root) }

// write swaps all folders, as many at a time as there are processors.
func (f *folderFloor) write() error {
	f.written++
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range f.folders {
		group.Go(func() error { return f.swap(f.folder(i), strconv.Itoa(f.written)) })
	}
	return group.Wait()
}

func (f *folderFloor) swap(folder, generation string) error {
	made := filepath.Join(folder, generation)
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.WriteFile(filepath.Join(made, name), make([]byte, 1000), 0o600); err != nil {
			return err
		}
	}
	if err := os.Symlink(generation, filepath.Join(folder, "new")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(folder, "new"), filepath.Join(folder, "data"))
}
