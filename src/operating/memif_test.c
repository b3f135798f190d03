/* SPDX-License-Identifier: BSD-3-Clause */
/* memif against other ends that do it right, and against those that do not: at each step of the greeting, in the rings
 * and in the memory that they share. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "operating/memif_ring.h"
#include "operating/memif_socket.h"
#include "operating/net_rig.h"
#include "operating/port_kinds.h"

enum {
	LOG2_RING = 4,
	RING = 1 << LOG2_RING,
	BUFFER = 256, /* small: whatever is longer is chained */
	RING_BYTES = sizeof(struct memif_shared_ring) + RING * sizeof(struct memif_desc),
	BUFFERS_AT = 2 * RING_BYTES,
	MEMORY = BUFFERS_AT + 2 * RING * BUFFER,
	STEPS = 6, /* of a client's greeting: hears HELLO, says INIT, region, ring to and from the server, CONNECT */
	EVENTS = 2,
};

struct bench {
	struct rig rig;
	struct wire wire;
	struct port *port;
	char dir[40], path[60];
};

/* A client that we are, byte by byte. */
struct peer {
	struct bench *bench;
	int fd, memory_fd, event_fd[2];
	uint8_t *memory;
	struct memif_shared_ring *rings[2];
	struct memif_message heard;
};

static void bench_up(struct bench *bench, bool server)
{
	struct port_callbacks callbacks;
	struct dpu_error err = { 0 };

	memset(bench, 0, sizeof(*bench));
	snprintf(bench->dir, sizeof(bench->dir), "/tmp/softdpu-memif-%d", (int)getpid());
	snprintf(bench->path, sizeof(bench->path), "%s/socket", bench->dir);
	mkdir(bench->dir, 0700);
	rig_up(&bench->rig, 1, WORKER_BALANCED);
	wire_callbacks(&bench->wire, &bench->rig, 0, &callbacks);
	bench->wire.sink = true;
	struct port_memif_options options = { .path = bench->path, .server = server, .queues = 2 };
	if (port_memif_open(&options, "left", bench->rig.loop, test_pool(), &callbacks, &bench->port, &err) < 0)
		fail_msg("%s", err.message);
	bench->wire.ports[0] = bench->port; /* before its queues are announced */
}

static void bench_down(struct bench *bench)
{
	wire_close(&bench->wire);
	rig_down(&bench->rig);
	assert_int_equal(rte_mempool_in_use_count(test_pool()), 0);
	assert_int_equal(access(bench->path, F_OK), -1);
	rmdir(bench->dir);
}

/* ---- the peer as client ---- */

static void peer_init(struct peer *peer, struct bench *bench)
{
	*peer = (struct peer){ .bench = bench, .fd = -1 };
	peer->memory_fd = memfd_create("peer", MFD_CLOEXEC);
	assert_int_equal(ftruncate(peer->memory_fd, MEMORY), 0);
	peer->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, peer->memory_fd, 0);
	assert_ptr_not_equal(peer->memory, MAP_FAILED);
	for (unsigned i = 0; i < 2; i++) {
		struct memif_shared_ring *ring = (struct memif_shared_ring *)(peer->memory + i * RING_BYTES);
		peer->rings[i] = ring;
		peer->event_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ring->cookie = MEMIF_COOKIE;
		for (unsigned slot = 0; slot < RING; slot++)
			ring->descs[slot] = (struct memif_desc){ .length = BUFFER,
								 .offset = BUFFERS_AT + (i * RING + slot) * BUFFER };
	}
}

static void peer_fini(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	for (unsigned i = 0; i < 2; i++)
		close(peer->event_fd[i]);
	close(peer->memory_fd);
	munmap(peer->memory, MEMORY);
}

static void peer_connect(struct peer *peer)
{
	peer->fd = memif_connect(peer->bench->path);
	assert_true(peer->fd >= 0);
}

static void peer_hear(struct peer *peer, uint16_t type)
{
	int status = 0, fd = -1;

	WAIT_FOR(&peer->bench->rig, (status = memif_receive(peer->fd, &peer->heard, &fd)) != 0);
	assert_int_equal(status, 1);
	assert_int_equal(fd, -1);
	if (peer->heard.type != type)
		fail_msg("heard %u, not %u: %.96s", peer->heard.type, type, peer->heard.disconnect.why);
}

static int fd_of_step(const struct peer *peer, unsigned step)
{
	return step == 2 ? peer->memory_fd : step == 3 || step == 4 ? peer->event_fd[step - 3] : -1;
}

/* What is said at a step, and how it should be answered. */
static struct memif_message message_of(unsigned step, uint16_t *ret_answer)
{
	static const uint16_t types[STEPS] = {
		0, MEMIF_INIT, MEMIF_ADD_REGION, MEMIF_ADD_RING, MEMIF_ADD_RING, MEMIF_CONNECT
	};
	struct memif_message message = { .type = types[step] };

	*ret_answer = step == 0 ? MEMIF_HELLO : step == STEPS - 1 ? MEMIF_CONNECTED : MEMIF_ACK;
	if (step == 1)
		message.init = (struct memif_init){ .version = MEMIF_VERSION, .name = "peer \"\n" };
	else if (step == 2)
		message.add_region.bytes = MEMORY;
	else if (step == 3 || step == 4)
		message.add_ring = (struct memif_add_ring){
			.flags = step == 3 ? MEMIF_ADD_RING_TO_SERVER : 0,
			.offset = step == 3 ? 0 : RING_BYTES,
			.log2_ring = LOG2_RING,
		};
	return message;
}

static void peer_steps(struct peer *peer, unsigned from, unsigned to)
{
	for (unsigned step = from; step < to; step++) {
		uint16_t answer;
		struct memif_message message = message_of(step, &answer);
		if (step > 0)
			assert_int_equal(memif_send(peer->fd, &message, fd_of_step(peer, step)), 0);
		peer_hear(peer, answer);
	}
}

/* Connected, and its empty buffers offered. */
static void peer_up(struct peer *peer)
{
	peer_connect(peer);
	peer_steps(peer, 0, STEPS);
	WAIT_FOR(&peer->bench->rig, atomic_load(&peer->bench->port->up) && peer->bench->wire.attached[0] == 1);
	atomic_store(&peer->rings[1]->head, RING);
}

static void expect_down(struct peer *peer)
{
	WAIT_FOR(&peer->bench->rig, !atomic_load(&peer->bench->port->up));
}

/* ---- greetings ---- */

/* A client that leaves after each step; the next one is served. */
static void client_leaves(void **state)
{
	struct bench bench;
	struct peer peer;

	bench_up(&bench, true);
	for (unsigned steps = 0; steps <= STEPS; steps++) {
		peer_init(&peer, &bench);
		peer_connect(&peer);
		peer_steps(&peer, 0, steps);
		if (steps == STEPS)
			WAIT_FOR(&bench.rig, atomic_load(&bench.port->up));
		peer_fini(&peer);
	}
	WAIT_FOR(&bench.rig, !atomic_load(&bench.port->up));
	/* Two at once: the second has its turn when the first has gone. */
	struct peer second;
	peer_init(&peer, &bench);
	peer_init(&second, &bench);
	peer_up(&peer);
	peer_connect(&second);
	run_for(&bench.rig, 50 * CLOCK_NS_PER_MS);
	int fd;
	assert_int_equal(memif_receive(second.fd, &second.heard, &fd), 0);
	peer_fini(&peer);
	peer_steps(&second, 0, STEPS);
	WAIT_FOR(&bench.rig, atomic_load(&bench.port->up));
	peer_fini(&second);
	bench_down(&bench);
}

/* Something wrong at a step: it is said what, the connection ends, and the next is served. */
struct fault {
	unsigned step;
	void (*spoil)(struct peer *peer, struct memif_message *message, int *fd);
	const char *says;
};

#define SPOIL(name_, ...)                                                                                              \
	static void name_(struct peer *peer, struct memif_message *message, int *fd)                                   \
	{                                                                                                              \
		__VA_ARGS__;                                                                                           \
	}
SPOIL(old_version, message->init.version = 0x0100)
SPOIL(new_version, message->init.version = 0x0201)
SPOIL(other_id, message->init.id = 7)
SPOIL(ip_mode, message->init.mode = 1)
SPOIL(early_region, message->type = MEMIF_ADD_REGION)
SPOIL(second_init, message->type = MEMIF_INIT)
SPOIL(a_hello, message->type = MEMIF_HELLO)
SPOIL(no_type, message->type = 99)
SPOIL(no_memory, *fd = -1)
SPOIL(a_pipe, *fd = peer->event_fd[0])
SPOIL(too_large, message->add_region.bytes = UINT64_C(1) << 40)
SPOIL(all_large, message->add_region.bytes = UINT64_MAX)
SPOIL(empty_region, message->add_region.bytes = 0)
SPOIL(region_index, message->add_region.index = 1)
SPOIL(ring_index, message->add_ring.index = 1)
SPOIL(ring_region, message->add_ring.region = 1)
SPOIL(ring_offset, message->add_ring.offset = MEMORY - RING_BYTES + 16)
SPOIL(ring_far, message->add_ring.offset = UINT32_MAX - 15)
SPOIL(ring_odd, message->add_ring.offset = 8)
SPOIL(ring_size, message->add_ring.log2_ring = 15)
SPOIL(ring_huge, message->add_ring.log2_ring = 255)
SPOIL(ring_header, message->add_ring.private_header = 16)
SPOIL(ring_no_event, *fd = -1)
SPOIL(ring_no_eventfd, *fd = peer->memory_fd)
SPOIL(one_way, message->type = MEMIF_CONNECT)
SPOIL(no_cookie, peer->rings[1]->cookie = 1)

static const struct fault faults[] = {
	{ 1, old_version, "version 1.0 is not 2.0" },
	{ 1, new_version, "version 2.1 is not 2.0" },
	{ 1, other_id, "no interface with id 7" },
	{ 1, ip_mode, "mode 1 is not Ethernet" },
	{ 1, early_region, "comes before INIT" },
	{ 2, second_init, "INIT comes twice" },
	{ 2, a_hello, "not a client's" },
	{ 2, no_type, "message 99" },
	{ 2, no_memory, "without a descriptor" },
	{ 2, a_pipe, "no memfd" },
	{ 2, too_large, "larger than its file" },
	{ 2, all_large, "refused" },
	{ 2, empty_region, "empty" },
	{ 2, region_index, "does not come in turn" },
	{ 3, ring_index, "does not come in turn" },
	{ 3, ring_region, "region 1, which is not there" },
	{ 3, ring_offset, "ends outside its region" },
	{ 3, ring_far, "ends outside its region" },
	{ 3, ring_odd, "not aligned" },
	{ 3, ring_size, "2^15" },
	{ 3, ring_huge, "2^255" },
	{ 3, ring_header, "private headers" },
	{ 3, ring_no_event, "without an eventfd" },
	{ 4, ring_no_eventfd, "without an eventfd" },
	{ 4, one_way, "no ring in one" },
	{ 5, no_cookie, "has not been made" },
};

static void client_errs(void **state)
{
	struct bench bench;
	struct peer peer;
	uint16_t answer;

	bench_up(&bench, true);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *fault = &faults[i];
		peer_init(&peer, &bench);
		peer_connect(&peer);
		peer_steps(&peer, 0, fault->step);
		struct memif_message message = message_of(fault->step, &answer);
		int fd = fd_of_step(&peer, fault->step);
		fault->spoil(&peer, &message, &fd);
		assert_int_equal(memif_send(peer.fd, &message, fd), 0);
		peer_hear(&peer, MEMIF_DISCONNECT);
		if (!strstr(peer.heard.disconnect.why, fault->says))
			fail_msg("case %zu: \"%.96s\"", i, peer.heard.disconnect.why);
		peer_fini(&peer);
	}
	/* No message at all: too short, empty, silence. */
	peer_init(&peer, &bench);
	peer_connect(&peer);
	peer_steps(&peer, 0, 1);
	assert_int_equal(write(peer.fd, "hello", 5), 5);
	peer_hear(&peer, MEMIF_DISCONNECT);
	assert_non_null(strstr(peer.heard.disconnect.why, "no message of memif's"));
	peer_fini(&peer);
	peer_init(&peer, &bench);
	peer_connect(&peer);
	peer_steps(&peer, 0, 2);
	peer_hear(&peer, MEMIF_DISCONNECT);
	assert_non_null(strstr(peer.heard.disconnect.why, "takes too long"));
	peer_fini(&peer);
	peer_init(&peer, &bench);
	peer_up(&peer);
	peer_fini(&peer);
	expect_down(&peer);
	assert_non_null(strstr(bench.wire.notices, "memif-disconnected"));
	bench_down(&bench);
}

/* A server of ours that is a script: what it says, one after the other, until it leaves. */
static void server_script(struct bench *bench, struct memif_listener *listener, unsigned answers,
			  const struct memif_hello *hello)
{
	struct memif_message message;
	int fd = -1, passed = -1, status = 0;

	WAIT_FOR(&bench->rig, (fd = memif_accept(listener)) >= 0);
	for (unsigned i = 0; i <= answers; i++) {
		struct memif_message answer = { .type = MEMIF_ACK };
		if (i == 0)
			answer = (struct memif_message){ .type = MEMIF_HELLO, .hello = *hello };
		memif_send(fd, &answer, -1);
		WAIT_FOR(&bench->rig, (status = memif_receive(fd, &message, &passed)) != 0);
		if (passed >= 0)
			close(passed);
		passed = -1;
		if (status < 0 || message.type == MEMIF_DISCONNECT)
			break;
	}
	close(fd);
}

/* Servers that leave at each step, speak another version, or never stop acknowledging; then a real one. */
static void server_errs(void **state)
{
	struct memif_hello good = { .min_version = MEMIF_VERSION, .max_version = MEMIF_VERSION, .max_log2_ring = 14 };
	struct memif_hello old = { .min_version = 0x0100, .max_version = 0x01ff };
	struct memif_listener listener;
	struct dpu_error err;
	struct bench bench;

	bench_up(&bench, false);
	assert_int_equal(memif_listen(bench.path, &listener, &err), 0);
	for (unsigned answers = 0; answers < 4; answers++)
		server_script(&bench, &listener, answers, &good);
	server_script(&bench, &listener, 3, &old);
	assert_non_null(strstr(bench.wire.notices, "memif-disconnected"));
	server_script(&bench, &listener, 100, &good);
	assert_false(atomic_load(&bench.port->up));
	memif_listener_close(&listener, bench.path);
	bench_down(&bench);
}

/* ---- rings ---- */

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
	expect_down(&peer);
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
	expect_down(&peer);
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
		expect_down(&peer);
		peer_fini(&peer);
	}
	assert_int_equal(atomic_load(&bench.wire.kept_count), 0);
	bench_down(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_leaves), cmocka_unit_test(client_errs), cmocka_unit_test(server_errs),
		cmocka_unit_test(receives),      cmocka_unit_test(transmits),   cmocka_unit_test(peer_is_hostile),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
