// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// earlyRenewals is how many renewals of a volume come early that may have got its
// document together with many others, all over the cluster: on nodes that start,
// in a re-issue, or when an issuer is back that was away. Two make a crowd a steady
// stream; see [config.Config.EarlyRenewalTime].
const earlyRenewals = 2

// renewalTime is when the document of a live volume is to be renewed.
func renewalTime(c *config.Config, id string, live *volume.Metadata) time.Time {
	l := lifetimeOf(live)
	due := c.RenewalTime(l.from(), l.until(), id)
	if live.EarlyRenewals > 0 {
		due = c.EarlyRenewalTime(l.from(), l.until(), id)
	}
	if earliest := l.from().Add(l.leastInterval()); due.Before(earliest) {
		return earliest
	}
	return due
}

// earlyAfter is how many renewals come early after the one that replaces a
// document now. One that is late waited for what many others have waited for, too.
func earlyAfter(c *config.Config, id string, live *volume.Metadata, now time.Time) int {
	late := now.Sub(renewalTime(c, id, live)) > lifetimeOf(live).length()/10
	if late || isOutdated(c, live, now) {
		return earlyRenewals
	}
	return max(0, live.EarlyRenewals-1)
}
