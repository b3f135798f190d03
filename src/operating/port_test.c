/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of what all ports share, with a port that keeps what it is given: transmission, choice of queue. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "operating/net_rig.h"
#include "operating/port_priv.h"

struct fake {
	struct port port;
	unsigned room;     /* packets that it takes until it is full */
	unsigned per_call; /* at most so many in a call */
	unsigned calls, taken;
	uint32_t lengths[512];
	uint16_t segments[512];
	uint64_t flags[512];
};

static unsigned fake_tx(struct port *port, unsigned queue, struct rte_mbuf **packets, unsigned count,
			struct port_tx_result *ret)
{
	struct fake *fake = (struct fake *)port;
	unsigned taken = 0;

	fake->calls++;
	while (taken < count && taken < fake->per_call && fake->room > 0) {
		struct rte_mbuf *m = packets[taken++];
		fake->room--;
		fake->lengths[fake->taken] = m->pkt_len;
		fake->segments[fake->taken] = m->nb_segs;
		fake->flags[fake->taken++] = m->ol_flags;
		if (m->pkt_len > 9000) {
			ret->too_long++;
		} else {
			ret->packets++;
			ret->bytes += m->pkt_len;
		}
		rte_pktmbuf_free(m);
	}
	return taken;
}

static const struct port_ops fake_ops = { .kind = "fake", .tx = fake_tx };

static void fake_init(struct fake *fake)
{
	static const struct port_callbacks none;

	memset(fake, 0, sizeof(*fake));
	port_init(&fake->port, &fake_ops, "fake", test_pool(), &none);
	fake->port.tx_queues = 4;
	fake->room = fake->per_call = 512;
	atomic_store(&fake->port.up, true);
}

/* An IPv4 TCP frame with so much payload, in buffers of so many bytes. */
static struct rte_mbuf *tcp_frame(uint32_t payload, uint16_t room)
{
	static const uint8_t headers[54] = "\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0"
					   "\x45\0\0\0\0\0\0\0\x40\x06\0\0\x0a\0\0\x01\x0a\0\0\x02"
					   "\x13\x88\x13\x89\0\0\0\x01\0\0\0\x02\x50\x18\xff\xff\0\0\0";
	struct rte_mbuf *head = rte_pktmbuf_alloc(test_pool()), *last = head;
	uint8_t *ip;

	assert_non_null(head);
	memcpy(rte_pktmbuf_append(head, 54), headers, 54);
	ip = rte_pktmbuf_mtod_offset(head, uint8_t *, 14);
	ip[2] = (uint8_t)((40 + payload) >> 8);
	ip[3] = (uint8_t)(40 + payload);
	while (payload > 0) {
		uint16_t part = (uint16_t)(payload < room ? payload : room);
		last->next = rte_pktmbuf_alloc(test_pool());
		assert_non_null(last->next);
		last = last->next;
		last->data_len = part;
		memset(rte_pktmbuf_mtod(last, void *), 0x5a, part);
		head->pkt_len += part;
		head->nb_segs++;
		payload -= part;
	}
	head->l2_len = 14;
	head->l3_len = 20;
	head->l4_len = 20;
	return head;
}

static struct rte_mbuf *tso_frame(uint32_t payload, uint16_t size)
{
	struct rte_mbuf *m = tcp_frame(payload, 2000);

	m->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
	m->tso_segsz = size;
	return m;
}

static void assert_no_leak(void)
{
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
}

static void passes_what_needs_nothing(void **state)
{
	struct fake fake;
	struct rte_mbuf *packets[32];
	struct port_tx_result result;

	fake_init(&fake);
	for (unsigned i = 0; i < 32; i++)
		packets[i] = tcp_frame(i, 2000);
	port_transmit(&fake.port, 0, packets, 32, &result);
	assert_int_equal(result.packets, 32);
	assert_int_equal(result.bytes, 32 * 54 + 31 * 32 / 2);
	assert_int_equal(result.full + result.failed + result.too_long, 0);
	assert_int_equal(fake.calls, 1);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(fake.lengths[i], 54 + i);
	assert_no_leak();
}

/* Order is kept across packets that are cut and packets that are not. */
static void finishes_in_order(void **state)
{
	struct fake fake;
	struct port_tx_result result;
	struct rte_mbuf *packets[5] = {
		tcp_frame(1, 2000),    tso_frame(3000, 1000), tcp_frame(2, 2000),
		tso_frame(2500, 1000), tcp_frame(3, 2000),
	};

	fake_init(&fake);
	packets[2]->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
	port_transmit(&fake.port, 0, packets, 5, &result);
	static const uint32_t expected[] = { 55, 1054, 1054, 1054, 56, 1054, 1054, 554, 57 };
	assert_int_equal(fake.taken, 9);
	assert_int_equal(result.packets, 9);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(fake.lengths[i], expected[i]);
		assert_int_equal(fake.flags[i] & PORT_TX_REQUESTS, 0);
	}
	assert_no_leak();
}

static void leaves_what_the_port_can(void **state)
{
	struct fake fake;
	struct port_tx_result result;
	struct rte_mbuf *packets[2] = { tso_frame(3000, 1000), tso_frame(3000, 1000) };

	fake_init(&fake);
	atomic_store(&fake.port.tx_offloads, RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM);
	packets[1]->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM; /* … but this it cannot: then it is all done here */
	port_transmit(&fake.port, 0, packets, 2, &result);
	assert_int_equal(fake.taken, 4);
	assert_true(fake.flags[0] & RTE_MBUF_F_TX_TCP_SEG);
	assert_int_equal(fake.flags[1] & PORT_TX_REQUESTS, 0);
	assert_no_leak();
}

/* Tunnelled frames go by what the port can do in tunnels. */
static void tunnels_are_told_apart(void **state)
{
	struct fake fake;
	struct port_tx_result result;
	struct rte_mbuf *m = tcp_frame(100, 2000);

	fake_init(&fake);
	atomic_store(&fake.port.tx_offloads, RTE_MBUF_F_TX_TCP_CKSUM);
	m->ol_flags =
		RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TUNNEL_VXLAN | RTE_MBUF_F_TX_OUTER_IPV4;
	m->outer_l2_len = 14;
	m->outer_l3_len = 20;
	m->l2_len = 30;
	port_transmit(&fake.port, 0, &m, 1, &result); /* offsets that lie: refused by what does it in software */
	assert_int_equal(result.failed, 1);
	assert_int_equal(fake.taken, 0);
	m = tcp_frame(100, 2000);
	m->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
	port_transmit(&fake.port, 0, &m, 1, &result);
	assert_int_equal(result.packets, 1);
	assert_true(fake.flags[0] & RTE_MBUF_F_TX_TCP_CKSUM);
	assert_no_leak();
}

static void linear_buffers(void **state)
{
	struct fake fake;
	struct port_tx_result result;
	struct rte_mbuf *packets[4] = {
		tcp_frame(500, 100),
		tcp_frame(8000, 2000),
		tso_frame(4000, 1400),
		tcp_frame(0, 1),
	};

	fake_init(&fake);
	fake.port.tx_max_segments = 1;
	port_transmit(&fake.port, 0, packets, 4, &result);
	assert_int_equal(result.too_long, 1); /* 8,000 bytes fit no buffer */
	assert_int_equal(result.packets, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(fake.segments[i], 1);
	assert_no_leak();
}

/* Part goes, the rest is tried a few times and then freed: never for ever. */
static void full_queue(void **state)
{
	struct fake fake;
	struct rte_mbuf *packets[32];
	struct port_tx_result result;

	fake_init(&fake);
	fake.room = 20;
	fake.per_call = 6;
	for (unsigned i = 0; i < 32; i++)
		packets[i] = tcp_frame(0, 1);
	port_transmit(&fake.port, 0, packets, 32, &result);
	assert_int_equal(result.packets, 20);
	assert_int_equal(result.full, 12);
	assert_in_range(fake.calls, 5, 10);
	assert_no_leak();
}

static void counts_apart(void **state)
{
	struct fake fake;
	struct rte_mbuf *packets[3] = { tcp_frame(10, 2000), tcp_frame(9500, 2000), tso_frame(100, 0) };
	struct port_tx_result result;

	fake_init(&fake);
	port_transmit(&fake.port, 0, packets, 3, &result);
	assert_int_equal(result.packets, 1);
	assert_int_equal(result.bytes, 64);
	assert_int_equal(result.too_long, 1);
	assert_int_equal(result.failed, 1); /* a segment size of zero */
	assert_no_leak();
}

static void choice_of_queue(void **state)
{
	struct fake fake;
	unsigned owner = 99, seen = 0;

	fake_init(&fake);
	assert_int_equal(port_tx_queue(&fake.port, 0, 0, &owner), -2); /* all off */
	for (unsigned i = 0; i < 4; i++)
		atomic_store(&fake.port.tx_worker[i], PORT_WORKER_ANY);
	for (uint32_t hash = 0; hash < 64; hash++)
		seen |= 1u << port_tx_queue(&fake.port, 7, hash, &owner);
	assert_int_equal(seen, 15); /* flows spread */
	assert_int_equal(port_tx_queue(&fake.port, 7, 5, &owner), port_tx_queue(&fake.port, 7, 5, &owner));
	for (unsigned i = 0; i < 4; i++)
		atomic_store(&fake.port.tx_worker[i], i == 2 ? 5 : PORT_WORKER_OFF);
	for (uint32_t hash = 0; hash < 64; hash++)
		assert_int_equal(port_tx_queue(&fake.port, 5, hash * 0x9e3779b1u, &owner), 2);
	assert_int_equal(port_tx_queue(&fake.port, 6, 1, &owner), -1);
	assert_int_equal(owner, 5);
	atomic_store(&fake.port.up, false);
	assert_int_equal(port_tx_queue(&fake.port, 5, 1, &owner), -2);
	atomic_store(&fake.port.up, true);
	fake.port.tx_queues = 0;
	assert_int_equal(port_tx_queue(&fake.port, 5, 1, &owner), -2);
}

struct opening {
	struct port port;
	unsigned ring; /* what a queue is made of: nothing of itself tells when it is there */
};

static void *sender(void *arg)
{
	struct opening *opening = arg;
	unsigned other;

	while (port_tx_queue(&opening->port, 0, 0, &other) < 0)
		;
	return (void *)(uintptr_t)opening->ring;
}

/* Who finds a queue open finds all that it is made of, too. For ThreadSanitizer, and processors that reorder. */
static void queue_opened_for_others(void **state)
{
	static const struct port_callbacks none;
	struct opening opening = { .ring = 0 };
	pthread_t thread;
	void *seen;

	port_init(&opening.port, &fake_ops, "opening", NULL, &none);
	opening.port.tx_queues = 1;
	atomic_store(&opening.port.up, true);
	assert_int_equal(pthread_create(&thread, NULL, sender, &opening), 0);
	usleep(1000);
	opening.ring = 7;
	atomic_store(&opening.port.tx_worker[0], PORT_WORKER_ANY);
	assert_int_equal(pthread_join(thread, &seen), 0);
	assert_int_equal((uintptr_t)seen, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_what_needs_nothing),
		cmocka_unit_test(finishes_in_order),
		cmocka_unit_test(leaves_what_the_port_can),
		cmocka_unit_test(tunnels_are_told_apart),
		cmocka_unit_test(linear_buffers),
		cmocka_unit_test(full_queue),
		cmocka_unit_test(counts_apart),
		cmocka_unit_test(choice_of_queue),
		cmocka_unit_test(queue_opened_for_others),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
