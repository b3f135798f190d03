/* SPDX-License-Identifier: BSD-3-Clause */
/* memif's greeting with other ends that do it right, and with those that do not, at each step. */
#include "operating/memif_rig.h"

#include <string.h>
#include <unistd.h>

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
		struct memif_message message = peer_message(fault->step, &answer);
		int fd = peer_fd(&peer, fault->step);
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
	peer_expect_down(&peer);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_leaves),
		cmocka_unit_test(client_errs),
		cmocka_unit_test(server_errs),
	};

	net_rig_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
