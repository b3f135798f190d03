/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the representor port and of the packet rings: frames of all kinds both ways, several queues, sleep and
 * wake-up, clients that lie. The test is the client. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <rte_ip.h>
#include "dpu/eswitch_ring.h"
#include "operating/net_rig.h"
#include "operating/port_representor.h"

enum { SLOTS = 64, PAIRS = 2, FRAME_MAX = 65536 };

struct client {
	struct rig rig;
	struct port *port;
	struct eswitch_port_region *region;
	uint64_t bytes;
	struct eswitch_ring_end to_host[PAIRS], from_host[PAIRS];
	unsigned ready, gone;
	bool closed;
};

static void queue_ready(void *ctx, struct port *port, unsigned queue)
{
	((struct client *)ctx)->ready++;
}

static void queue_gone(void *ctx, struct port *port, unsigned queue, void (*released)(void *arg), void *arg)
{
	((struct client *)ctx)->gone++;
	released(arg);
}

static void closed(void *arg)
{
	((struct client *)arg)->closed = true;
}

static void client_open(struct client *client, const struct port_representor_options *options)
{
	struct port_callbacks callbacks = { .queue_ready = queue_ready, .queue_gone = queue_gone, .ctx = client };
	struct port_representor_share share;
	struct dpu_error err = { 0 };

	memset(client, 0, sizeof(*client));
	assert_int_equal(loop_new(&client->rig.loop), 0);
	if (port_representor_open(options, "web", client->rig.loop, test_pool(), &callbacks, &client->port, &err) < 0)
		fail_msg("%s", err.message);
	port_representor_share(client->port, &share);
	assert_int_equal(share.wake_fd_count, 2u * options->queue_pairs);
	client->bytes = share.region_bytes;
	client->region = mmap(NULL, share.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, share.region_fd, 0);
	assert_ptr_not_equal(client->region, MAP_FAILED);
	/* Memory cannot be taken from under dpud. */
	assert_int_equal(ftruncate(share.region_fd, 0), -1);
	for (unsigned i = 0; i < options->queue_pairs; i++) {
		eswitch_ring_end_init(&client->to_host[i], client->region, 2u * options->queue_pairs, i, options->slots,
				      false);
		eswitch_ring_end_init(&client->from_host[i], client->region, 2u * options->queue_pairs,
				      options->queue_pairs + i, options->slots, true);
	}
}

static void client_up(struct client *client)
{
	struct port_representor_options options = { .queue_pairs = PAIRS, .slots = SLOTS, .mtu = 1500 };

	client_open(client, &options);
}

static void client_down(struct client *client)
{
	client->port->ops->close(client->port, closed, client);
	WAIT_FOR(&client->rig, client->closed);
	assert_int_equal(client->gone, client->ready);
	munmap(client->region, client->bytes);
	loop_free(client->rig.loop);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
}

/* Bytes that follow from seed, in buffers of at most so many bytes. */
static struct rte_mbuf *frame_of(uint32_t length, uint16_t room, uint32_t seed)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(test_pool()), *last = head;

	assert_non_null(head);
	for (uint32_t i = 0; i < length; i++) {
		if (last->data_len == room) {
			last->next = rte_pktmbuf_alloc(test_pool());
			assert_non_null(last->next);
			last = last->next;
			head->nb_segs++;
		}
		rte_pktmbuf_mtod(last, uint8_t *)[last->data_len++] = (uint8_t)(seed + i * 7 + (i >> 8));
	}
	head->pkt_len = length;
	return head;
}

static void assert_frame(const struct rte_mbuf *m, uint32_t length, uint32_t seed)
{
	static uint8_t bytes[FRAME_MAX];
	const uint8_t *found = rte_pktmbuf_read(m, 0, length, bytes);

	assert_int_equal(m->pkt_len, length);
	assert_non_null(found);
	for (uint32_t i = 0; i < length; i++)
		if (found[i] != (uint8_t)(seed + i * 7 + (i >> 8)))
			fail_msg("byte %u of %u is wrong", i, length);
	rte_mbuf_sanity_check(m, 1);
}

static void client_send(struct client *client, unsigned queue, uint32_t length, uint16_t room, uint32_t seed)
{
	struct rte_mbuf *m = frame_of(length, room, seed);
	struct eswitch_meta meta = { 0 };

	assert_int_equal(eswitch_ring_put(&client->from_host[queue], m, &meta), 0);
	if (eswitch_ring_publish(&client->from_host[queue]))
		assert_int_equal(eventfd_write(client->port->ops->fd(client->port, queue), 1), 0);
	rte_pktmbuf_free(m);
}

static void assert_received(struct client *client, unsigned queue, uint32_t length, uint32_t seed)
{
	struct rte_mbuf *packets[4];

	assert_int_equal(client->port->ops->rx(client->port, queue, packets, 4), 1);
	assert_frame(packets[0], length, seed);
	rte_pktmbuf_free(packets[0]);
}

static void assert_nothing(struct client *client, unsigned queue)
{
	struct rte_mbuf *packets[4];

	assert_int_equal(client->port->ops->rx(client->port, queue, packets, 4), 0);
}

/* Of every length, whole and in pieces, around the ring many times, both queues apart. */
static void frames_from_the_client(void **state)
{
	static const uint32_t lengths[] = { 1, 60, 64, 65, 255, 256, 257, 1514, 2047, 2048, 2049, 4096, 9234, 65536 };
	static const uint16_t rooms[] = { 2048, 100, 1 };
	struct client client;

	client_up(&client);
	assert_int_equal(client.ready, PAIRS);
	for (unsigned round = 0; round < 40; round++)
		for (unsigned i = 0; i < RTE_DIM(lengths); i++) {
			uint16_t room = rooms[round % (lengths[i] > 9234 ? 1 : RTE_DIM(rooms))];
			client_send(&client, round % PAIRS, lengths[i], room, round + i);
			assert_nothing(&client, 1 - round % PAIRS);
			assert_received(&client, round % PAIRS, lengths[i], round + i);
		}
	client_down(&client);
}

static void frames_to_the_client(void **state)
{
	static const uint32_t lengths[] = { 60, 64, 1514, 2048, 2049, 9234, 65536 };
	struct client client;

	client_up(&client);
	for (unsigned round = 0; round < 40; round++)
		for (unsigned i = 0; i < RTE_DIM(lengths); i++) {
			struct port_tx_result result = { 0 };
			struct rte_mbuf *m = frame_of(lengths[i], round % 2 ? 1000 : 2048, round);
			struct eswitch_meta meta[2];
			struct rte_mbuf *packets[2];
			m->hash.rss = 77;
			if (round % 3 == 0) {
				m->ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
				m->hash.fdir.hi = 4711;
			}
			assert_int_equal(client.port->ops->tx(client.port, round % PAIRS, &m, 1, &result), 1);
			assert_int_equal(result.packets, 1);
			assert_int_equal(result.bytes, lengths[i]);
			assert_int_equal(
				eswitch_ring_take(&client.to_host[round % PAIRS], test_pool(), packets, meta, 2), 1);
			eswitch_ring_publish(&client.to_host[round % PAIRS]);
			assert_frame(packets[0], lengths[i], round);
			assert_int_equal(meta[0].slot.hash, 77);
			assert_int_equal(meta[0].slot.flags & ESWITCH_PACKET_MARK, round % 3 ? 0 : ESWITCH_PACKET_MARK);
			assert_int_equal(meta[0].slot.mark, round % 3 ? 0 : 4711);
			rte_pktmbuf_free(packets[0]);
		}
	client_down(&client);
}

/* A full ring takes what fits, in order, and goes on when there is room; what can never fit is counted apart. */
static void full_rings(void **state)
{
	struct rte_mbuf *packets[SLOTS + 4], *taken[SLOTS];
	struct eswitch_meta metas[SLOTS];
	struct port_tx_result result = { 0 };
	struct client client;

	client_up(&client);
	for (unsigned i = 0; i < SLOTS + 4; i++)
		packets[i] = frame_of(60, 2048, i);
	assert_int_equal(client.port->ops->tx(client.port, 0, packets, SLOTS + 4, &result), SLOTS);
	assert_int_equal(client.port->ops->tx(client.port, 0, packets + SLOTS, 4, &result), 0);
	assert_int_equal(eswitch_ring_take(&client.to_host[0], test_pool(), taken, metas, 3), 3);
	eswitch_ring_publish(&client.to_host[0]);
	for (unsigned i = 0; i < 3; i++)
		assert_frame(taken[i], 60, i);
	rte_pktmbuf_free_bulk(taken, 3);
	assert_int_equal(client.port->ops->tx(client.port, 0, packets + SLOTS, 4, &result), 3);
	rte_pktmbuf_free(packets[SLOTS + 3]);
	assert_int_equal(result.packets, SLOTS + 3);
	/* Longer than a frame may be, in buffers that are shared. */
	struct rte_mbuf *big = frame_of(60000, 2048, 1), *more = frame_of(10000, 2048, 1);
	assert_int_equal(rte_pktmbuf_chain(big, more), 0);
	result = (struct port_tx_result){ 0 };
	assert_int_equal(client.port->ops->tx(client.port, 1, &big, 1, &result), 1);
	assert_int_equal(result.too_long, 1);
	assert_int_equal(result.packets, 0);
	client_down(&client);
}

/* An IPv4 TCP frame whose checksum is left to whoever can, perhaps to be cut. */
static struct rte_mbuf *tcp_frame(uint32_t payload, uint16_t segment)
{
	struct rte_mbuf *m = frame_of(54 + payload, 2048, 3);
	uint8_t *bytes = rte_pktmbuf_mtod(m, uint8_t *);

	memset(bytes, 0, 54);
	bytes[12] = 8;
	memcpy(bytes + 14, "\x45\0\0\0\0\0\0\0\x40\x06\0\0\x0a\0\0\x01\x0a\0\0\x02", 20);
	bytes[16] = (uint8_t)((40 + payload) >> 8);
	bytes[17] = (uint8_t)(40 + payload);
	bytes[46] = 0x50;
	m->l2_len = 14;
	m->l3_len = 20;
	m->l4_len = 20;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM | (segment ? RTE_MBUF_F_TX_TCP_SEG : 0);
	m->tso_segsz = segment;
	return m;
}

/* What the client does not take is finished before. */
static void offloads_of_the_client(void **state)
{
	struct port_representor_options options = { .queue_pairs = 1, .slots = SLOTS, .mtu = 1500 };

	for (unsigned takes = 0; takes < 2; takes++) {
		struct client client;
		options.offloads = takes ? ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6 : 0;
		client_open(&client, &options);
		struct rte_mbuf *m = tcp_frame(5000, 1400), *packets[8];
		struct port_tx_result result;
		struct eswitch_meta metas[8];
		port_transmit(client.port, 0, &m, 1, &result);
		assert_int_equal(result.packets, takes ? 1 : 4);
		assert_int_equal(eswitch_ring_take(&client.to_host[0], test_pool(), packets, metas, 8), result.packets);
		assert_int_equal(metas[0].slot.flags & ESWITCH_PACKET_CSUM, takes ? ESWITCH_PACKET_CSUM : 0);
		assert_int_equal(packets[0]->pkt_len, takes ? 5054 : 1454);
		rte_pktmbuf_free_bulk(packets, result.packets);
		client_down(&client);
	}
}

/* Requests survive both ways: what goes up is sent back as it came. */
static void offload_requests(void **state)
{
	struct client client;

	client_up(&client);
	for (unsigned variant = 0; variant < 2; variant++) {
		struct rte_mbuf *m = tcp_frame(variant ? 5000 : 10, variant ? 1400 : 0), *packets[2];
		struct port_tx_result result = { 0 };
		struct eswitch_meta meta;
		assert_int_equal(client.port->ops->tx(client.port, 0, &m, 1, &result), 1);
		assert_int_equal(result.packets, 1);
		assert_int_equal(eswitch_ring_take(&client.to_host[0], test_pool(), packets, &meta, 1), 1);
		eswitch_ring_publish(&client.to_host[0]);
		assert_int_equal(meta.slot.flags & (ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4),
				 ESWITCH_PACKET_CSUM | (variant ? ESWITCH_PACKET_TSO4 : 0));
		assert_int_equal(meta.request.csum_start, 34);
		assert_int_equal(meta.request.csum_offset, 16);
		assert_int_equal(meta.request.gso_bytes, variant ? 1400 : 0);
		assert_int_equal(eswitch_ring_put(&client.from_host[0], packets[0], &meta), 0);
		eswitch_ring_publish(&client.from_host[0]);
		rte_pktmbuf_free(packets[0]);
		assert_int_equal(client.port->ops->rx(client.port, 0, packets, 2), 1);
		assert_int_equal(packets[0]->ol_flags & RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_TCP_CKSUM);
		assert_int_equal(!!(packets[0]->ol_flags & RTE_MBUF_F_TX_TCP_SEG), variant);
		assert_int_equal(packets[0]->tso_segsz, variant ? 1400 : 0);
		rte_pktmbuf_free(packets[0]);
	}
	/* A request that speaks of what is not in the frame. */
	struct rte_mbuf *m = tcp_frame(10, 0), *packets[2];
	struct eswitch_meta lie = { .slot.flags = ESWITCH_PACKET_TSO6 | ESWITCH_PACKET_CSUM,
				    .request = { .csum_start = 60000, .csum_offset = 16, .gso_bytes = 100 } };
	assert_int_equal(eswitch_ring_put(&client.from_host[0], m, &lie), 0);
	eswitch_ring_publish(&client.from_host[0]);
	rte_pktmbuf_free(m);
	assert_int_equal(client.port->ops->rx(client.port, 0, packets, 2), 0);
	assert_int_equal(client.port->rx_drops[PORT_RX_BAD_HEADER], 1);
	client_down(&client);
}

/* Slots that make no sense cost their frame; the next one comes through. */
static void lying_slots(void **state)
{
	static const uint32_t lengths[] = { 0, 2049, UINT32_MAX, 0x80000000 };
	struct client client;
	uint64_t lost = 0;

	client_up(&client);
	for (unsigned i = 0; i < RTE_DIM(lengths); i++) {
		struct eswitch_ring_end *end = &client.from_host[0];
		end->slots[end->own++ & end->mask] = (struct eswitch_slot){ .length = lengths[i] };
		eswitch_ring_publish(end);
		client_send(&client, 0, 100, 2048, i);
		struct rte_mbuf *packets[2];
		assert_int_equal(client.port->ops->rx(client.port, 0, packets, 2), 1);
		assert_frame(packets[0], 100, i);
		rte_pktmbuf_free(packets[0]);
		assert_int_equal(client.port->rx_drops[PORT_RX_TOO_LONG], ++lost);
	}
	client_down(&client);
}

/* Lengths that grow after they were looked at: no more is copied than was measured, and the frame is lost. */
static void lengths_that_change(void **state)
{
	struct port_representor_options options = { .queue_pairs = 1, .slots = 1024, .mtu = 1500 };
	struct rte_mbuf *m;
	struct client client;

	client_open(&client, &options);
	struct eswitch_ring_end *from = &client.from_host[0], to = *from;
	for (unsigned i = 0; i < 1024; i++)
		from->slots[from->own++ & from->mask] = (struct eswitch_slot){
			.length = 1,
			.flags = i < 1023 ? ESWITCH_PACKET_NEXT : 0,
		};
	to.own = 0;
	to.peer = 1024;
	struct eswitch_ring_frame frame = eswitch_ring_measure(&to);
	assert_int_equal(frame.slots, 1024);
	assert_int_equal(frame.bytes, 1024);
	assert_false(frame.bad);
	for (unsigned i = 0; i < 1024; i++)
		from->slots[i].length = ESWITCH_BUFFER_BYTES;
	m = rte_pktmbuf_alloc(test_pool());
	assert_non_null(m);
	assert_int_equal(eswitch_ring_take_chain(&to, test_pool(), m, &frame), -EBADMSG);
	assert_in_range(m->pkt_len, 0, 1024);
	rte_pktmbuf_free(m);
	client_down(&client);
}

/* Chains without an end, and ones that are longer than a frame. */
static void lying_chains(void **state)
{
	struct port_representor_options options = { .queue_pairs = 1, .slots = 128, .mtu = 1500 };
	struct client client;

	client_open(&client, &options);
	for (unsigned slots = 1; slots <= 128; slots += 127)
		for (unsigned end_flag = 0; end_flag < 2; end_flag++) {
			struct eswitch_ring_end *end = &client.from_host[0];
			if (slots == 1 && end_flag)
				continue;
			for (unsigned i = 0; i < slots; i++)
				end->slots[end->own++ & end->mask] = (struct eswitch_slot){
					.length = ESWITCH_BUFFER_BYTES,
					.flags = i + 1 == slots && end_flag ? 0 : ESWITCH_PACKET_NEXT,
				};
			eswitch_ring_publish(end);
			assert_nothing(&client, 0);
			assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
			client_send(&client, 0, 5000, 2048, slots);
			assert_received(&client, 0, 5000, slots);
		}
	assert_int_equal(client.port->rx_drops[PORT_RX_TOO_LONG], 3);
	client_down(&client);
}

/* A counter that jumps stops its ring, in either direction, and no other. */
static void jumping_counters(void **state)
{
	struct port_queue_state description = { 0 };
	struct port_tx_result result = { 0 };
	struct client client;

	client_up(&client);
	client.port->ops->describe_queue(client.port, 0, &description);
	assert_null(description.broken);
	assert_int_equal(description.sizes[0], SLOTS);
	atomic_store(&client.from_host[0].ring->head, SLOTS + 1);
	assert_nothing(&client, 0);
	client.port->ops->describe_queue(client.port, 0, &description);
	assert_non_null(description.broken);
	atomic_store(&client.from_host[0].ring->head, 1);
	assert_nothing(&client, 0);
	client_send(&client, 1, 64, 2048, 9);
	assert_received(&client, 1, 64, 9);
	atomic_store(&client.to_host[1].ring->tail, 1000);
	for (unsigned i = 0; i <= SLOTS; i++) {
		struct rte_mbuf *m = frame_of(60, 2048, i);
		unsigned taken = client.port->ops->tx(client.port, 1, &m, 1, &result);
		assert_int_equal(taken, i < SLOTS);
		if (!taken)
			rte_pktmbuf_free(m);
	}
	client_down(&client);
}

/* Without buffers nothing is lost, whether they are missing for the first one of a frame or for a later one; and what
 * there are buffers for is taken. */
static void no_buffers(void **state)
{
	static struct rte_mbuf *hoard[65536];
	struct client client;
	unsigned hoarded = 0;

	client_up(&client);
	client_send(&client, 0, 64, 2048, 1);
	client_send(&client, 0, 5000, 2048, 2); /* three buffers */
	client_send(&client, 0, 60, 2048, 3);
	while (hoarded < RTE_DIM(hoard) && (hoard[hoarded] = rte_pktmbuf_alloc(test_pool())) != NULL)
		hoarded++;
	assert_nothing(&client, 0);
	rte_pktmbuf_free(hoard[--hoarded]);
	assert_received(&client, 0, 64, 1);
	rte_pktmbuf_free(hoard[--hoarded]); /* two: for the beginnings of both frames, or most of one */
	assert_nothing(&client, 0);
	assert_int_equal(client.port->rx_drops[PORT_RX_NO_BUFFER], 0);
	rte_pktmbuf_free(hoard[--hoarded]);
	assert_received(&client, 0, 5000, 2);
	assert_received(&client, 0, 60, 3);
	rte_pktmbuf_free_bulk(hoard, hoarded);
	assert_int_equal(client.port->rx_drops[PORT_RX_TOO_LONG], 0);
	client_down(&client);
}

/* A frame that the whole pool would not hold does not keep those behind it waiting. */
static void no_buffers_ever(void **state)
{
	struct rte_mempool *few = rte_pktmbuf_pool_create("few", 7, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	struct rte_mbuf *packets[4];
	struct eswitch_meta metas[4];
	struct eswitch_ring_end to;
	struct client client;

	assert_non_null(few);
	client_up(&client);
	eswitch_ring_end_init(&to, client.region, 2 * PAIRS, PAIRS, SLOTS, false);
	client_send(&client, 0, 40000, 2048, 1);
	client_send(&client, 0, 10000, 2048, 2);
	client_send(&client, 0, 64, 2048, 3);
	assert_int_equal(eswitch_ring_take(&to, few, packets, metas, 4), 2);
	assert_frame(packets[0], 10000, 2);
	assert_frame(packets[1], 64, 3);
	assert_int_equal(to.faults, 1);
	assert_int_equal(to.no_buffer, 0);
	rte_pktmbuf_free_bulk(packets, 2);
	assert_int_equal(rte_mempool_in_use_count(few), 0);
	rte_mempool_free(few);
	client_down(&client);
}

static void sleep_and_wake(void **state)
{
	struct client client;
	uint64_t counter;

	client_up(&client);
	int fd = client.port->ops->fd(client.port, 1);
	client_send(&client, 1, 64, 2048, 1);
	assert_int_equal(client.port->ops->arm(client.port, 1), 1); /* there is work */
	assert_received(&client, 1, 64, 1);
	assert_int_equal(client.port->ops->arm(client.port, 1), 0);
	assert_int_equal(read(fd, &counter, sizeof(counter)), -1);
	client_send(&client, 1, 64, 2048, 2);
	assert_int_equal(read(fd, &counter, sizeof(counter)), sizeof(counter));
	client_send(&client, 1, 64, 2048, 3);
	client.port->ops->disarm(client.port, 1);
	assert_int_equal(read(fd, &counter, sizeof(counter)), -1);
	client_send(&client, 1, 64, 2048, 4);
	assert_int_equal(read(fd, &counter, sizeof(counter)), -1); /* awake: nobody is woken */
	struct rte_mbuf *packets[4];
	assert_int_equal(client.port->ops->rx(client.port, 1, packets, 4), 3);
	rte_pktmbuf_free_bulk(packets, 3);
	client_down(&client);
}

static void refused_options(void **state)
{
	static const struct {
		struct port_representor_options options;
		const char *path;
	} cases[] = {
		{ { .queue_pairs = 0, .slots = 64 }, "queues" },  { { .queue_pairs = 17, .slots = 64 }, "queues" },
		{ { .queue_pairs = 1, .slots = 32 }, "slots" },   { { .queue_pairs = 1, .slots = 65536 }, "slots" },
		{ { .queue_pairs = 1, .slots = 1000 }, "slots" },
	};
	static const struct port_callbacks none;

	for (unsigned i = 0; i < RTE_DIM(cases); i++) {
		struct dpu_error err = { 0 };
		struct port *port = NULL;
		assert_true(port_representor_open(&cases[i].options, "x", NULL, test_pool(), &none, &port, &err) < 0);
		assert_string_equal(err.path, cases[i].path);
		assert_null(port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_from_the_client),
		cmocka_unit_test(frames_to_the_client),
		cmocka_unit_test(full_rings),
		cmocka_unit_test(offload_requests),
		cmocka_unit_test(offloads_of_the_client),
		cmocka_unit_test(lying_slots),
		cmocka_unit_test(lying_chains),
		cmocka_unit_test(lengths_that_change),
		cmocka_unit_test(jumping_counters),
		cmocka_unit_test(no_buffers),
		cmocka_unit_test(no_buffers_ever),
		cmocka_unit_test(sleep_and_wake),
		cmocka_unit_test(refused_options),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
