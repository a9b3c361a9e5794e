// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// historyLimits are those that are compared, in the order in which they are set.
var historyLimits = []int{3, 1, 0}

// simulateHistory looks at what certificateRequests.historyLimit makes of etcd.
func simulateHistory(ctx context.Context, cluster *testkit.Cluster, s sizes, r *report) (err error) {
	m, err := newSimulation(ctx, cluster, s, settings{duration: s.historyDuration, historyLimit: historyLimits[0], watchScope: s.watch})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	const nodes = 10
	progress("history: %d volumes, renewed every %s", s.historyVolumes, m.cycle().Round(time.Second))
	if err := m.publish(ctx, nodes, s.historyVolumes/nodes, 0); err != nil {
		return err
	}
	r.add("volumes", float64(m.volumes()), "")
	before, err := m.look(ctx)
	if err != nil {
		return err
	}
	for i, limit := range historyLimits {
		if err := m.setHistoryLimit(limit); err != nil {
			return err
		}
		period := 2 * m.cycle()
		if i == 0 { // the history is filled first
			period = time.Duration(limit) * m.cycle()
		}
		if err := m.watch(ctx, period); err != nil {
			return err
		}
		if i == 0 {
			after, err := m.look(ctx)
			if err != nil {
				return err
			}
			r.add("growth of etcd per renewal before it is compacted", (after.server.databaseBytes()-before.server.databaseBytes())/float64(after.renewals-before.renewals)/1024, "KiB")
		}
		if err := m.reportStored(ctx, r, limit); err != nil {
			return err
		}
	}
	return nil
}

func (m *simulation) reportStored(ctx context.Context, r *report, limit int) error {
	objects, bytes, err := m.stored(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("historyLimit %d: ", limit)
	r.add(name+"CertificateRequests per volume", objects/float64(m.volumes()), "")
	r.add(name+"their bytes per volume", bytes/float64(m.volumes())/1024, "KiB")
	return nil
}

// stored counts the requests of the simulation's pods, and their bytes as they are
// in etcd, which is JSON for custom resources.
func (m *simulation) stored(ctx context.Context) (objects, bytes float64, err error) {
	for namespace := range m.namespaces {
		data, err := m.cluster.CertManager.CertmanagerV1().RESTClient().Get().Namespace(namespace).Resource(resource).
			VersionedParams(&metav1.ListOptions{ResourceVersion: "0"}, metav1.ParameterCodec).DoRaw(ctx)
		if err != nil {
			return 0, 0, err
		}
		items, err := countItems(data)
		if err != nil {
			return 0, 0, err
		}
		objects += float64(items)
		bytes += float64(len(data))
	}
	return objects, bytes, nil
}
