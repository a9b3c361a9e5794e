// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Step-ca runs Smallstep's certificate authority with the configuration file that is
// its argument, until it is killed. It is github.com/smallstep/certificates/cmd/step-ca
// without the clients of all clouds' key management services, which would take longer to
// compile than everything else.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "step-ca:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: step-ca CONFIG")
	}
	loaded, err := config.LoadConfiguration(args[0])
	if err != nil {
		return err
	}
	authority, err := ca.New(loaded)
	if err != nil {
		return err
	}
	return authority.Run()
}
