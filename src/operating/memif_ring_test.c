/* SPDX-License-Identifier: BSD-3-Clause */
/* memif's rings: frames to and from another end that does it right; one that writes into the rings and the memory that
 * they share what it may not. */
#include "operating/memif_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Puts a frame into the ring to the server, in parts of so many bytes. */
static void peer_put(struct peer *peer, uint32_t length, uint32_t part)
{
	struct memif_shared_ring *ring = peer->rings[0];
	uint16_t head = atomic_load(&ring->head);

	for (uint32_t at = 0; at < length; at += part) {
		struct memif_desc *desc = &ring->descs[head++ % RING];
		desc->length = length - at < part ? length - at : part;
		desc->flags = at + part < length ? MEMIF_DESC_NEXT : 0;
		for (uint32_t i = 0; i < desc->length; i++)
			peer->memory[desc->offset + i] = (uint8_t)((at + i) * 13);
	}
	atomic_store(&ring->head, head);
}

static void peer_signal(struct peer *peer)
{
	assert_int_equal(eventfd_write(peer->event_fd[0], 1), 0);
}

static void expect_frame(struct bench *bench, uint32_t length)
{
	uint8_t copy[4096];

	WAIT_FOR(&bench->rig, atomic_load(&bench->wire.kept_count) == 1);
	struct rte_mbuf *m = atomic_load(&bench->wire.kept[0]);
	assert_int_equal(m->pkt_len, length);
	const uint8_t *bytes = rte_pktmbuf_read(m, 0, length, copy);
	for (uint32_t at = 0; at < length; at++)
		assert_int_equal(bytes[at], (uint8_t)(at * 13));
	rte_pktmbuf_free(m);
	atomic_store(&bench->wire.kept_count, 0);
}

/* Frames in one buffer and in many; the worker sleeps in between. Also when the sender forgets to wake it. */
static void receives(void **state)
{
	static const uint32_t lengths[] = { 14, 31, 32, 33, 60, 64, 65, 128, 129, 200, 256, 1000, 3000 };
	struct bench bench;
	struct peer peer;

	bench_up(&bench, true);
	peer_init(&peer, &bench);
	peer_up(&peer);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		WAIT_FOR(&bench.rig, !(atomic_load(&peer.rings[0]->flags) & MEMIF_RING_MASK_INT));
		peer_put(&peer, lengths[i], i % 2 ? BUFFER : 200);
		if (i % 3)
			peer_signal(&peer);
		expect_frame(&bench, lengths[i]);
	}
	uint64_t rounds = stats_of(&bench.rig, 0).rounds;
	run_for(&bench.rig, 300 * CLOCK_NS_PER_MS);
	assert_in_range(stats_of(&bench.rig, 0).rounds - rounds, 0, 100); /* it sleeps: no timer polls */
	peer_put(&peer, 5, BUFFER);
	peer_signal(&peer);
	WAIT_FOR(&bench.rig, atomic_load(&bench.port->rx_drops[PORT_RX_TOO_SHORT]) == 1);
	WAIT_FOR(&bench.rig, atomic_load(&peer.rings[0]->tail) == atomic_load(&peer.rings[0]->head));
	peer_fini(&peer);
	peer_expect_down(&peer);
	bench_down(&bench);
}

struct sending {
	struct port *port;
	uint32_t length;
	bool done;
	struct port_tx_result result;
};

static void sent(void *arg)
{
	((struct sending *)arg)->done = true;
}

static void send_frame(void *arg, struct worker *worker)
{
	struct sending *sending = arg;
	struct rte_mbuf *m = rte_pktmbuf_alloc(test_pool());

	uint8_t *bytes = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)sending->length);
	for (uint32_t i = 0; i < sending->length; i++)
		bytes[i] = (uint8_t)(i * 7);
	port_transmit(sending->port, 0, &m, 1, &sending->result);
}

static struct port_tx_result send_one(struct bench *bench, uint32_t length)
{
	struct sending sending = { .port = bench->port, .length = length };

	assert_int_equal(worker_call(workers_get(bench->rig.workers, 0), send_frame, &sending, sent), 0);
	WAIT_FOR(&bench->rig, sending.done);
	return sending.result;
}

/* Into one buffer and into many; a full ring; an interrupt when the peer asks for it; nothing behind the frame is
 * written. */
static void transmits(void **state)
{
	static const uint32_t lengths[] = { 14, 60, 114, 200, 256, 257, 1000 };
	struct bench bench;
	struct peer peer;
	uint64_t counter;

	bench_up(&bench, true);
	peer_init(&peer, &bench);
	peer_up(&peer);
	memset(peer.memory + BUFFERS_AT, 0xee, MEMORY - BUFFERS_AT);
	atomic_store(&peer.rings[1]->flags, MEMIF_RING_MASK_INT);
	uint16_t tail = 0;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct port_tx_result result = send_one(&bench, lengths[i]);
		assert_int_equal(result.packets, 1);
		assert_int_equal(result.bytes, lengths[i]);
		for (uint32_t at = 0; at < lengths[i]; tail++) {
			struct memif_desc *desc = &peer.rings[1]->descs[tail % RING];
			for (uint32_t j = 0; j < desc->length; j++)
				assert_int_equal(peer.memory[desc->offset + j], (uint8_t)((at + j) * 7));
			if (desc->length < BUFFER)
				assert_int_equal(peer.memory[desc->offset + desc->length], 0xee);
			at += desc->length;
			assert_int_equal(desc->flags, at < lengths[i] ? MEMIF_DESC_NEXT : 0);
			desc->length = BUFFER;
		}
		assert_int_equal(atomic_load(&peer.rings[1]->tail), tail);
	}
	assert_int_equal(read(peer.event_fd[1], &counter, sizeof(counter)), -1); /* masked */
	assert_int_equal(send_one(&bench, 1500).full, 1);
	atomic_store(&peer.rings[1]->flags, 0);
	atomic_store(&peer.rings[1]->head, (uint16_t)(tail + RING));
	assert_int_equal(send_one(&bench, 1500).packets, 1);
	WAIT_FOR(&bench.rig, read(peer.event_fd[1], &counter, sizeof(counter)) == sizeof(counter));
	/* A ring of 16 small buffers never takes this one. */
	for (unsigned slot = 0; slot < RING; slot++)
		peer.rings[1]->descs[slot].length = 16;
	atomic_store(&peer.rings[1]->head, (uint16_t)(atomic_load(&peer.rings[1]->tail) + RING));
	assert_int_equal(send_one(&bench, 1500).too_long, 1);
	peer_fini(&peer);
	peer_expect_down(&peer);
	bench_down(&bench);
}

/* ---- what a hostile peer writes there ---- */

static void head_jumps(struct peer *peer)
{
	atomic_store(&peer->rings[0]->head, RING + 1);
}
static void head_goes_back(struct peer *peer)
{
	atomic_store(&peer->rings[0]->head, UINT16_MAX);
}
static void no_region(struct peer *peer)
{
	peer->rings[0]->descs[0].region = 1;
	peer_put(peer, 60, BUFFER);
}
static void behind_region(struct peer *peer)
{
	peer->rings[0]->descs[0].offset = MEMORY - 59;
	peer->rings[0]->descs[0].length = 60;
	atomic_store(&peer->rings[0]->head, 1);
}
static void huge_length(struct peer *peer)
{
	peer->rings[0]->descs[0].length = UINT32_MAX;
	atomic_store(&peer->rings[0]->head, 1);
}
static void far_offset(struct peer *peer)
{
	peer->rings[0]->descs[0].offset = UINT32_MAX;
	atomic_store(&peer->rings[0]->head, 1);
}
static void no_end(struct peer *peer)
{
	for (unsigned slot = 0; slot < RING; slot++)
		peer->rings[0]->descs[slot].flags = MEMIF_DESC_NEXT;
	atomic_store(&peer->rings[0]->head, RING);
}
static void truncates(struct peer *peer)
{
	assert_int_equal(ftruncate(peer->memory_fd, 0), 0);
}
static void speaks_again(struct peer *peer)
{
	struct memif_message message = { .type = MEMIF_ACK };
	memif_send(peer->fd, &message, -1);
}
static void tail_room_jumps(struct peer *peer)
{
	atomic_store(&peer->rings[1]->head, 3 * RING);
	send_one(peer->bench, 60);
}
static void buffer_nowhere(struct peer *peer)
{
	peer->rings[1]->descs[0].offset = MEMORY - 59;
	peer->rings[1]->descs[0].length = BUFFER;
	send_one(peer->bench, 60);
}

static void peer_is_hostile(void **state)
{
	static const struct {
		void (*act)(struct peer *peer);
		const char *says; /* NULL: there is no more memory to tell it by */
	} acts[] = {
		{ head_jumps, "index jumps" },
		{ head_goes_back, "index jumps" },
		{ no_region, "outside the shared" },
		{ behind_region, "outside the shared" },
		{ huge_length, "outside the shared" },
		{ far_offset, "outside the shared" },
		{ no_end, "no end" },
		{ truncates, "taken memory away" },
		{ speaks_again, "after the greeting" },
		{ tail_room_jumps, "index jumps" },
		{ buffer_nowhere, "outside the shared" },
	};
	struct bench bench;
	struct peer peer;

	bench_up(&bench, true);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		peer_init(&peer, &bench);
		peer_up(&peer);
		acts[i].act(&peer);
		peer_signal(&peer);
		peer_hear(&peer, MEMIF_DISCONNECT);
		if (!strstr(peer.heard.disconnect.why, acts[i].says))
			fail_msg("case %zu: \"%.96s\"", i, peer.heard.disconnect.why);
		peer_expect_down(&peer);
		peer_fini(&peer);
	}
	assert_int_equal(atomic_load(&bench.wire.kept_count), 0);
	bench_down(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(receives),
		cmocka_unit_test(transmits),
		cmocka_unit_test(peer_is_hostile),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
