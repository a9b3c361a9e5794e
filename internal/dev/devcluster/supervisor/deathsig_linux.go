// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor

import "syscall"

func setDeathSignal(attr *syscall.SysProcAttr, signal syscall.Signal) { attr.Pdeathsig = signal }
