// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/docgen/chart"
)

// updateChart writes what is made from the chart's values.yaml and from
// files/removed.yaml, which the chart itself reads.
func updateChart(o options, docs comments) error {
	path := filepath.Join(o.chart, "values.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	values, err := chart.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	path = filepath.Join(o.chart, "files", "removed.yaml")
	if data, err = os.ReadFile(path); err != nil {
		return err
	}
	var removed map[string]string
	if err := yaml.Unmarshal(data, &removed); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	config, err := jsonSchema(docs)
	if err != nil {
		return err
	}
	return errors.Join(
		update(filepath.Join(o.chart, "values.schema.json"), o.check, func([]byte) ([]byte, error) {
			return chart.Schema(values, removed, config)
		}),
		update(filepath.Join(o.chart, "README.md"), o.check, func(old []byte) ([]byte, error) {
			table, err := chart.Table(values, removed, config)
			if err != nil {
				return nil, err
			}
			return replace(old, chartValues, table)
		}),
	)
}
