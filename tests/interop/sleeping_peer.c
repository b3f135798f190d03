/* SPDX-License-Identifier: BSD-3-Clause */
/* An application of DPDK that sleeps: it passes frames between its first two ports, and waits for receive interrupts
 * when there are none. When a link comes or goes it installs a flow and removes it again, within that event's function;
 * that a port was removed or wants to be configured anew it prints, "removed 0" and "reset 0".
 *
 * usage: sleeping_peer EAL-ARGUMENTS; ends with SIGTERM, and then prints frames, wakes, events, flows (that were made),
 * and how many milliseconds of a processor its thread has used. */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_interrupts.h>

enum { PORTS = 2, BURST = 32, WAIT_MS = 1000, EMPTY_POLLS = 16 };

static volatile sig_atomic_t stopping;
static atomic_uint events, flows;

static void fail(const char *what)
{
	fprintf(stderr, "sleeping_peer: %s\n", what);
	exit(1);
}

static void stop(int signal)
{
	stopping = 1;
}

static int on_event(uint16_t port, enum rte_eth_event_type type, void *arg, void *ret)
{
	const struct rte_flow_attr attr = { .transfer = 1 };
	const struct rte_flow_item pattern[] = { { .type = RTE_FLOW_ITEM_TYPE_ETH },
						 { .type = RTE_FLOW_ITEM_TYPE_END } };
	const struct rte_flow_action actions[] = { { .type = RTE_FLOW_ACTION_TYPE_DROP },
						   { .type = RTE_FLOW_ACTION_TYPE_END } };
	struct rte_flow_error error;
	struct rte_flow *flow;

	atomic_fetch_add(&events, 1);
	flow = rte_flow_create(port, &attr, pattern, actions, &error);
	if (flow && rte_flow_destroy(port, flow, &error) == 0)
		atomic_fetch_add(&flows, 1);
	return 0;
}

static int on_change(uint16_t port, enum rte_eth_event_type type, void *arg, void *ret)
{
	printf("%s %u\n", type == RTE_ETH_EVENT_INTR_RESET ? "reset" : "removed", port);
	fflush(stdout);
	return 0;
}

static void port_open(uint16_t port, struct rte_mempool *pool)
{
	const struct rte_eth_conf conf = { .intr_conf.rxq = 1 };

	if (rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_LSC, on_event, NULL) != 0 ||
	    rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RESET, on_change, NULL) != 0 ||
	    rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RMV, on_change, NULL) != 0 ||
	    rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
	    rte_eth_rx_queue_setup(port, 0, 1024, SOCKET_ID_ANY, NULL, pool) != 0 ||
	    rte_eth_tx_queue_setup(port, 0, 1024, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start(port) != 0)
		fail("a port does not start with receive interrupts");
	if (rte_eth_dev_rx_intr_ctl_q(port, 0, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_ADD, NULL) != 0)
		fail("a queue's interrupt cannot be waited for");
}

static unsigned pass(uint16_t from)
{
	struct rte_mbuf *packets[BURST];
	uint16_t count = rte_eth_rx_burst(from, 0, packets, BURST);
	uint16_t sent = rte_eth_tx_burst(1 - from, 0, packets, count);

	if (sent < count)
		rte_pktmbuf_free_bulk(packets + sent, count - sent);
	return count;
}

static void sleep_until_frames(unsigned *wakes)
{
	struct rte_epoll_event woken[PORTS];

	for (uint16_t port = 0; port < PORTS; port++)
		if (rte_eth_dev_rx_intr_enable(port, 0) != 0)
			fail("a queue does not arm");
	*wakes += rte_epoll_wait(RTE_EPOLL_PER_THREAD, woken, PORTS, WAIT_MS) > 0;
	for (uint16_t port = 0; port < PORTS; port++)
		rte_eth_dev_rx_intr_disable(port, 0);
}

int main(int argc, char **argv)
{
	unsigned frames = 0, wakes = 0, empty = 0;
	struct timespec used;

	if (rte_eal_init(argc, argv) < 0 || rte_eth_dev_count_avail() != PORTS)
		fail("two ports are needed");
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create("peer", 8191, 64, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		fail("no buffers");
	signal(SIGTERM, stop);
	for (uint16_t port = 0; port < PORTS; port++)
		port_open(port, pool);
	printf("ready\n");
	fflush(stdout);
	while (!stopping) {
		unsigned count = pass(0) + pass(1);
		frames += count;
		empty = count ? 0 : empty + 1;
		if (empty > EMPTY_POLLS)
			sleep_until_frames(&wakes);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	for (uint16_t port = 0; port < PORTS; port++)
		if (rte_eth_dev_stop(port) != 0 || rte_eth_dev_close(port) != 0)
			fail("a port does not stop");
	printf("frames %u wakes %u events %u flows %u ms %" PRIu64 "\n", frames, wakes, events, flows,
	       (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000);
	return 0;
}
