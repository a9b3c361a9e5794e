// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package supervisor

import "syscall"

func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
