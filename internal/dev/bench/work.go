// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// work is the CPU time that the daemons use for publishes.
type work struct {
	bench            *bench
	driver, approver result.Measurement
}

func newWork(b *bench) *work {
	measurement := func(name, floor string) result.Measurement {
		return result.Measurement{Group: "CPU time of a publish", Name: name, Unit: result.Second, Shape: result.Bar, FloorIs: floor}
	}
	return &work{
		bench:    b,
		driver:   measurement("driver", "making a key and signing a request with it"),
		approver: measurement("approver", "checking the request's signature"),
	}
}

// during adds what each daemon uses for each of so many publishes, and the least
// arithmetic that they need.
func (w *work) during(publishes int, f func() error) error {
	driver, err := testkit.ReadUsage(w.bench.driver.PID())
	if err != nil {
		return err
	}
	approver, err := testkit.ReadUsage(w.bench.approver.PID())
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	driverAfter, err := testkit.ReadUsage(w.bench.driver.PID())
	if err != nil {
		return err
	}
	approverAfter, err := testkit.ReadUsage(w.bench.approver.PID())
	if err != nil {
		return err
	}
	w.driver.Product = append(w.driver.Product, (driverAfter.CPU-driver.CPU).Seconds()/float64(publishes))
	w.approver.Product = append(w.approver.Product, (approverAfter.CPU-approver.CPU).Seconds()/float64(publishes))
	return w.arithmetic()
}

// arithmetic measures the floors.
func (w *work) arithmetic() error {
	const times = 10
	request, err := w.bench.floor.request()
	if err != nil {
		return err
	}
	making, err := threadTime(times, func() error { _, err := w.bench.floor.request(); return err })
	if err != nil {
		return err
	}
	checking, err := threadTime(times, func() error { return checkSignature(request.Spec.Request) })
	if err != nil {
		return err
	}
	w.driver.Floor, w.approver.Floor = append(w.driver.Floor, making), append(w.approver.Floor, checking)
	return nil
}

func (w *work) measurements() []result.Measurement {
	return []result.Measurement{w.driver, w.approver}
}

func checkSignature(requestPEM []byte) error {
	block, _ := pem.Decode(requestPEM)
	if block == nil {
		return errors.New("the floor's request is not PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// threadTime is the CPU time of one f, in seconds, by the mean of so many.
func threadTime(times int, f func() error) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
		return 0, err
	}
	for range times {
		if err := f(); err != nil {
			return 0, err
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
		return 0, err
	}
	used := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	return used.Seconds() / float64(times), nil
}
