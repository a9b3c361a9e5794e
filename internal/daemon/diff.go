// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// fetchTimeout is for the whole answer of a daemon to /configz.
const fetchTimeout = 10 * time.Second

// maxFetch is more than a daemon can have for a configuration, in bytes.
const maxFetch = 4 << 20

// printDiff is what --diff does: it writes each field that changes from one
// version of the file to another, a line each, and what comes of them.
func printDiff(before, after string, out io.Writer) error {
	old, errOld := loadAnywhere(before)
	updated, errUpdated := config.Load(after)
	if err := errors.Join(errOld, errUpdated); err != nil {
		return err
	}
	changes := config.Diff(old, updated)
	for _, change := range changes {
		if _, err := fmt.Fprintln(out, change); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, config.Summary(changes))
	return err
}

// loadAnywhere loads a file, or what a running daemon says that it runs with.
func loadAnywhere(source string) (*config.Config, error) {
	if !strings.HasPrefix(source, "http://") && !strings.HasPrefix(source, "https://") {
		return config.Load(source)
	}
	data, err := fetch(source)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration of a running daemon: %w", err)
	}
	return config.Parse(source, data)
}

func fetch(url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: got %s, must be 200 OK", url, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxFetch))
}
