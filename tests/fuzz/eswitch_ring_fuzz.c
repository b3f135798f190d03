/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the packet rings of representors, both ends: the peer writes any slot, any byte of a buffer and any counter at
 * any time, while we take, put, sleep and wake. As dpud, through its port, which also checks requests for checksums and
 * segments; or as the driver, through the ring alone. What is taken is whole, what was asked for lies within it, what
 * is put lies in its slots, and no buffer is lost. */
#include <sys/mman.h>
#include <unistd.h>
#include "base/loop.h"
#include "dpu/eswitch_ring.h"
#include "operating/port_priv.h"
#include "operating/port_representor.h"
#include "packet_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 64, BURST = 8, MAX_OPERATIONS = 300 };

static struct loop *loop;
static struct port *port;
static struct eswitch_port_region *region;
static uint64_t region_bytes;
static bool is_dpud;
/* The driver's; those of dpud are the port's. */
static struct eswitch_ring_end takes, sends;
static bool closed;

static void release_at_once(void *ctx, struct port *of, unsigned queue, void (*released)(void *arg), void *arg)
{
	released(arg);
}

static void start(uint8_t kind)
{
	static const uint64_t all =
		ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6 | ESWITCH_PACKET_USO;
	const struct port_representor_options options = {
		.queue_pairs = 1, .slots = SLOTS, .mtu = 1500, .offloads = kind & 2 ? all : 0
	};
	static const struct port_callbacks callbacks = { .queue_gone = release_at_once };
	struct port_representor_share share;
	struct dpu_error err = { 0 };

	if (!loop)
		input_require(loop_new(&loop) == 0);
	input_require(port_representor_open(&options, "fuzz", loop, test_pool(), &callbacks, &port, &err) == 0);
	port_representor_share(port, &share);
	region_bytes = share.region_bytes;
	region = mmap(NULL, region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, share.region_fd, 0);
	input_require(region != MAP_FAILED && ftruncate(share.region_fd, 0) < 0);
	is_dpud = kind & 1;
	eswitch_ring_end_init(&takes, region, 2, 0, SLOTS, false);
	eswitch_ring_end_init(&sends, region, 2, 1, SLOTS, true);
}

static void on_closed(void *arg)
{
	closed = true;
}

static void stop(void)
{
	munmap(region, region_bytes);
	closed = false;
	port->ops->close(port, on_closed, NULL);
	while (!closed)
		input_require(loop_once(loop, 1000) >= 0);
	input_require(test_pool_used() == 0);
}

/* The end that we take from, or put into, as the peer sees it. */
static struct eswitch_ring_end *peers(bool taken_from)
{
	return taken_from == is_dpud ? &sends : &takes;
}

/* ---- what the peer does ---- */

static void peer_writes_slot(struct input *in)
{
	static const uint32_t lengths[] = { 60, 1514, 0, 2048, 2049, 1, UINT32_MAX, 14 };
	uint8_t where = input_byte(in), what = input_byte(in);
	struct eswitch_ring_end *end = peers(where & 0x80);
	struct eswitch_slot *slot = &end->slots[where % SLOTS];
	uint8_t *buffer = eswitch_ring_buffer(end, where % SLOTS);

	slot->length = what & 8 ? input_long(in) : lengths[what & 7];
	slot->flags = what & 16 ? input_byte(in) : what >> 5 & ESWITCH_PACKET_NEXT;
	if (what & 16) {
		struct eswitch_request *request = &end->requests[where % SLOTS];
		request->csum_start = input_byte(in);
		request->csum_offset = input_byte(in);
		request->gso_bytes = input_word(in);
		request->header_bytes = input_byte(in);
	}
	if (what & 64) {
		struct frame frame;
		input_spec_frame(in, &frame);
		memcpy(buffer, frame.bytes, RTE_MIN(frame.length, (uint32_t)ESWITCH_BUFFER_BYTES));
		if (what & 128)
			slot->length = RTE_MIN(frame.length, (uint32_t)ESWITCH_BUFFER_BYTES);
	}
}

static void peer_moves(struct input *in)
{
	uint8_t where = input_byte(in), by = input_byte(in);
	struct eswitch_ring *ring = peers(where & 1)->ring;
	_Atomic uint32_t *counter = where & 2   ? (where & 4 ? &ring->head : &ring->tail) /* not its own, either */
				    : where & 1 ? &ring->head
						: &ring->tail;

	if (where & 8)
		atomic_store(counter, by * UINT32_C(0x01010101));
	else
		atomic_fetch_add(counter, by % (SLOTS + 2));
	if (where & 16)
		atomic_store(&ring->wanted, by);
	if (where & 32) { /* what must not be looked at again */
		ring->slots = by;
		ring->slots_offset = ring->buffers_offset = by * UINT64_C(0x0101010101010101);
		region->slots = region->to_host_queues = by;
	}
}

/* ---- what we do ---- */

static void check_requests(const struct rte_mbuf *m)
{
	if (!(m->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)))
		return;
	uint32_t l4 = m->l2_len + m->l3_len;
	if (m->ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK)
		l4 += m->outer_l2_len + m->outer_l3_len;
	input_require(l4 + 8 <= m->pkt_len);
	if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))
		input_require(m->tso_segsz > 0 && l4 + m->l4_len <= m->pkt_len);
}

static void receive(struct input *in)
{
	unsigned max = 1 + input_byte(in) % BURST, count;
	struct rte_mbuf *packets[BURST];
	struct eswitch_meta metas[BURST];

	if (is_dpud) {
		count = port->ops->rx(port, 0, packets, max);
	} else {
		count = eswitch_ring_take(&takes, test_pool(), packets, metas, max);
		eswitch_ring_publish(&takes);
	}
	input_require(count <= max);
	for (unsigned i = 0; i < count; i++) {
		const char *why;
		input_require(rte_mbuf_check(packets[i], 1, &why) == 0);
		input_require(packets[i]->pkt_len >= 1 && packets[i]->pkt_len <= ESWITCH_MAX_FRAME_BYTES);
		if (is_dpud)
			check_requests(packets[i]);
	}
	rte_pktmbuf_free_bulk(packets, count);
}

static unsigned put_as_driver(struct rte_mbuf **packets, unsigned count)
{
	struct eswitch_meta metas[BURST];
	struct eswitch_ring_sent sent = { 0 };

	for (unsigned i = 0; i < count; i++)
		metas[i] = (struct eswitch_meta){ .slot.hash = 1 };
	unsigned taken = eswitch_ring_put_burst(&sends, packets, metas, count, &sent);
	input_require(sent.packets + sent.too_long == taken);
	eswitch_ring_free(packets, taken);
	eswitch_ring_publish(&sends);
	return taken;
}

/* What was put is where the peer finds it, unless the peer has moved its counter. */
static void transmit(struct input *in)
{
	struct eswitch_ring_end *end = is_dpud ? &takes : &sends;
	unsigned count = 1 + input_byte(in) % BURST, taken;
	struct rte_mbuf *packets[BURST];
	struct port_tx_result result = { 0 };
	uint32_t before = end->own;

	for (unsigned i = 0; i < count; i++)
		packets[i] =
			input_packet(i == 0 ? 1u + input_word(in) + input_byte(in) * 4u : 1u + input_word(in) % 600);
	uint32_t length = packets[0]->pkt_len;
	taken = is_dpud ? port->ops->tx(port, 0, packets, count, &result) : put_as_driver(packets, count);
	input_require(taken <= count);
	input_require(!is_dpud || result.packets + result.too_long + result.failed == taken);
	if (!is_dpud && taken > 0 && length <= ESWITCH_BUFFER_BYTES) {
		input_require(end->slots[before & end->mask].length == length);
		input_require(eswitch_ring_buffer(end, before)[length - 1] == 0x5a);
	}
	rte_pktmbuf_free_bulk(packets + taken, count - taken);
}

static void sleep_and_wake(void)
{
	if (is_dpud && port->ops->arm(port, 0) == 0)
		port->ops->disarm(port, 0);
	if (!is_dpud && !eswitch_ring_arm(&takes))
		eswitch_ring_disarm(&takes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	test_pool();
	start(input_byte(&in));
	for (unsigned i = 0; i < MAX_OPERATIONS && input_left(&in); i++) {
		uint8_t operation = input_byte(&in) % 8;
		if (operation <= 1)
			peer_writes_slot(&in);
		else if (operation <= 3)
			peer_moves(&in);
		else if (operation <= 5)
			receive(&in);
		else if (operation == 6)
			transmit(&in);
		else
			sleep_and_wake();
	}
	stop();
	return 0;
}
