/* SPDX-License-Identifier: BSD-3-Clause */
/* The path's way out: packets are gathered per interface over a burst, then handed to the service; and the end of those
 * that go nowhere. */
#include "device/packet/path_priv.h"

static void output(struct path *path, uint16_t iface, struct rte_mbuf **packets, unsigned count)
{
	if (unlikely(path->capture))
		for (unsigned i = 0; i < count; i++)
			path_tap(path, CAPTURE_TX, DROP_NONE, iface, packets[i]);
	path->service.output(path->service.ctx, path, iface, packets, count);
}

void path_flush(struct path *path)
{
	struct rte_mbuf *batch[PATH_TX_QUEUE];

	while (path->tx_count > 0) {
		uint16_t iface = path->tx_iface[0];
		unsigned count = path->tx_count, taken = 0, left = 0;
		for (unsigned i = 0; i < count; i++) {
			if (likely(path->tx_iface[i] == iface)) {
				batch[taken++] = path->tx[i];
			} else {
				path->tx_iface[left] = path->tx_iface[i];
				path->tx[left++] = path->tx[i];
			}
		}
		path->tx_count = left;
		output(path, iface, batch, taken);
	}
}

void path_count_drops(struct path *path, enum drop_reason reason, uint16_t iface, uint16_t vpc, unsigned packets)
{
	struct path_iface_counters *counters = &path->iface_counters[iface];

	counter_add(&path->drops[reason], packets);
	counter_add(&path->iface_drops[iface * (size_t)DROP_REASON_COUNT + reason], packets);
	counter_add(reason >= DROP_TX_FULL ? &counters->tx_drops : &counters->rx_drops, packets);
	counter_add(&path->vpc_counters[vpc].drops, packets);
}

void path_count_sent(struct path *path, uint16_t iface, unsigned packets, uint64_t bytes)
{
	struct path_iface_counters *counters = &path->iface_counters[iface];

	counter_add(&counters->tx_packets, packets);
	counter_add(&counters->tx_bytes, bytes);
}

void path_drop(struct path *path, struct rte_mbuf *m, enum drop_reason reason, uint16_t iface, uint16_t vpc)
{
	path_tap(path, CAPTURE_DROP, reason, iface, m);
	path_count_drops(path, reason, iface, vpc, 1);
	rte_pktmbuf_free(m);
}

void path_count_session(struct path *path, uint16_t vpc)
{
	counter_add(&path->vpc_counters[vpc].sessions_created, 1);
}

void path_count_miss(struct path *path, uint16_t iface, const struct rte_mbuf *m)
{
	path_tap(path, CAPTURE_MISS, DROP_NONE, iface, m);
	counter_add(&path->iface_counters[iface].misses, 1);
}
