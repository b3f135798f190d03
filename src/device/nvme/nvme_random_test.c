// SPDX-License-Identifier: BSD-3-Clause
/* By chance: two hosts with commands of all kinds, aborts, resets, lost connections and noise, while namespaces and
 * their devices come and go, in little memory. In the end each command that should be is answered, once, and all memory
 * is back.
 *
 *   nvme_random_test [first seed] [runs] [steps of a run]
 *
 * Each run prints its seed first; without one it is of the clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "device/nvme/nvme_random_peer.h"
#include "device/nvme/nvme_test_device.h"

enum { PEERS = 6, HOST_PEERS = 3, NAMESPACES = 2, BLOCK_BYTES = 512, QUIET_ROUNDS = 4000 };

static uint64_t first_seed;
static unsigned runs = 1200, steps = 1500;

enum namespace_is { ATTACHED, RELEASING, AWAY, REMOVING };

/* HOST_PEERS of each host: its admin queue and its I/O queues. */
static struct {
	struct rig *rig;
	struct peer *peers[PEERS];
	enum namespace_is is[NAMESPACES];
	uint64_t now_ns;
} world;

static struct test_device *device_of(unsigned i)
{
	return (struct test_device *)world.rig->ram[i];
}

static bool is_up(const struct peer *peer)
{
	return peer && peer->connected && !peer->closing;
}

/* ---- I/O commands ---- */

struct io {
	struct nvme_sqe sqe;
	uint8_t data[8192];
	uint32_t bytes;
	bool out, in_capsule;
};

static void transfer_make(struct io *io)
{
	uint32_t blocks = roll(4) ? 1 + roll(16) : 1 + roll(255);

	io->sqe.cdw10 = roll(64);
	io->sqe.cdw12 = (blocks - 1) | (roll(5) ? 0 : (uint32_t)NVME_IO_FUA);
	io->bytes = blocks * BLOCK_BYTES;
	io->out = io->sqe.opcode != NVME_READ;
}

static void fused_make(struct io *io)
{
	io->sqe.flags = roll(2) ? NVME_FUSE_FIRST : NVME_FUSE_SECOND;
	io->sqe.opcode = io->sqe.flags == NVME_FUSE_FIRST ? NVME_COMPARE : NVME_WRITE;
	if (roll(10) == 0)
		io->sqe.opcode = NVME_READ;
	io->sqe.nsid = 1;
	io->sqe.cdw12 = roll(3) ? 0 : roll(10);
	io->bytes = (io->sqe.cdw12 + 1) * BLOCK_BYTES;
	io->out = io->sqe.opcode != NVME_READ;
}

static void deallocate_make(struct io *io)
{
	struct nvme_dsm_range *ranges = (struct nvme_dsm_range *)io->data;

	io->sqe.cdw10 = roll(4);
	io->sqe.cdw11 = NVME_DSM_DEALLOCATE;
	for (unsigned i = 0; i <= io->sqe.cdw10; i++)
		ranges[i] = (struct nvme_dsm_range){ .blocks = roll(20), .lba = roll(100) };
	io->bytes = (io->sqe.cdw10 + 1) * (uint32_t)sizeof(*ranges);
	io->out = io->in_capsule = true;
}

static void copy_make(struct io *io)
{
	struct nvme_copy_range *ranges = (struct nvme_copy_range *)io->data;

	io->sqe.cdw10 = 300 + roll(50);
	io->sqe.cdw12 = roll(3);
	for (unsigned i = 0; i <= io->sqe.cdw12; i++)
		ranges[i] = (struct nvme_copy_range){ .blocks = (uint16_t)roll(100), .lba = roll(100) };
	io->bytes = (io->sqe.cdw12 + 1) * (uint32_t)sizeof(*ranges);
	io->out = io->in_capsule = true;
}

static void reservation_make(struct io *io)
{
	static const struct nvme_reservation_keys keys = { 5, 5 };

	io->sqe.nsid = 1;
	if (io->sqe.opcode == NVME_RESERVATION_REPORT) {
		io->sqe.cdw10 = 1 + roll(100);
		io->sqe.cdw11 = 1;
		io->bytes = (io->sqe.cdw10 + 1) * 4;
		return;
	}
	memcpy(io->data, &keys, sizeof(keys));
	io->out = true;
	io->bytes = io->sqe.opcode == NVME_RESERVATION_RELEASE ? 8 : 16;
	io->sqe.cdw10 =
		io->sqe.opcode == NVME_RESERVATION_REGISTER ? roll(3) | roll(4) << 30 : roll(3) | (1 + roll(6)) << 8;
	if (io->sqe.opcode == NVME_RESERVATION_RELEASE && roll(2))
		io->sqe.cdw10 = NVME_CLEAR;
}

static void io_make(struct io *io)
{
	switch (io->sqe.opcode) {
	case NVME_FLUSH:
		break;
	case NVME_READ:
	case NVME_WRITE:
	case NVME_COMPARE:
		transfer_make(io);
		break;
	case NVME_WRITE_ZEROES:
		io->sqe.cdw12 = roll(600);
		break;
	case NVME_DATASET_MANAGEMENT:
		deallocate_make(io);
		break;
	case NVME_COPY:
		copy_make(io);
		break;
	default:
		reservation_make(io);
	}
}

static void io_ask(struct peer *peer)
{
	static const uint8_t opcodes[] = { NVME_FLUSH,
					   NVME_WRITE,
					   NVME_WRITE,
					   NVME_WRITE,
					   NVME_READ,
					   NVME_READ,
					   NVME_COMPARE,
					   NVME_COMPARE,
					   NVME_WRITE_ZEROES,
					   NVME_DATASET_MANAGEMENT,
					   NVME_COPY,
					   NVME_RESERVATION_REGISTER,
					   NVME_RESERVATION_REPORT,
					   NVME_RESERVATION_ACQUIRE,
					   NVME_RESERVATION_RELEASE };
	struct io io = { .sqe = { .opcode = opcodes[roll(sizeof(opcodes))], .nsid = 1 + roll(roll(20) ? 2 : 3) } };

	if (roll(6) == 0)
		fused_make(&io);
	else
		io_make(&io);
	io.in_capsule |= io.out && io.bytes <= sizeof(io.data) && roll(2);
	io.sqe.sgl.length = io.bytes;
	io.sqe.sgl.type = io.in_capsule ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT_DATA;
	peer_ask(peer, &io.sqe, io.data, io.in_capsule ? io.bytes : 0, PEER_ASKED);
}

/* ---- admin commands ---- */

static void feature_make(struct nvme_sqe *sqe)
{
	static const uint8_t features[] = { NVME_FEATURE_ASYNC_EVENTS, NVME_FEATURE_RESERVATION_PERSISTENCE,
					    NVME_FEATURE_RESERVATION_MASK, NVME_FEATURE_WRITE_CACHE };

	sqe->opcode = roll(4) ? NVME_ADMIN_SET_FEATURES : NVME_ADMIN_GET_FEATURES;
	sqe->cdw10 = features[roll(sizeof(features))];
	sqe->cdw11 = sqe->cdw10 == NVME_FEATURE_ASYNC_EVENTS ? roll(2) * 0x900 : roll(2);
	sqe->nsid = sqe->cdw10 >= NVME_FEATURE_RESERVATION_MASK;
}

static void log_make(struct nvme_sqe *sqe)
{
	static const uint8_t pages[] = { NVME_LOG_SUPPORTED, NVME_LOG_ERRORS,      NVME_LOG_SMART,
					 NVME_LOG_FIRMWARE,  NVME_LOG_EFFECTS,     NVME_LOG_CHANGED_NAMESPACES,
					 NVME_LOG_ANA,       NVME_LOG_RESERVATION, NVME_LOG_FEATURE_EFFECTS };

	sqe->opcode = NVME_ADMIN_GET_LOG_PAGE;
	sqe->cdw10 = pages[roll(sizeof(pages))] | (roll(8) ? 127u : 8191u) << 16; /* 32 KiB is no more its own memory */
	sqe->sgl.length = 32768;
}

static void admin_ask(struct peer *peer)
{
	struct nvme_sqe sqe = { .sgl = { .length = 4096, .type = NVME_SGL_TRANSPORT_DATA } };
	enum peer_command kind = PEER_ASKED;

	switch (roll(8)) {
	case 0:
		sqe.opcode = NVME_ADMIN_ASYNC_EVENT_REQUEST;
		kind = PEER_EVENT;
		break;
	case 1:
	case 2:
	case 3:
		sqe.opcode = NVME_ADMIN_ABORT;
		sqe.cdw10 = roll(HOST_PEERS) | roll(PEER_CIDS) << 16;
		break;
	case 4:
		log_make(&sqe);
		break;
	case 5:
		sqe.opcode = NVME_ADMIN_IDENTIFY;
		sqe.cdw10 = roll(4);
		sqe.nsid = 1;
		break;
	case 6:
		feature_make(&sqe);
		break;
	default:
		sqe.opcode = NVME_ADMIN_KEEP_ALIVE;
	}
	peer_ask(peer, &sqe, NULL, 0, kind);
}

/* ---- namespaces and devices ---- */

static void released(void *arg)
{
	world.is[(uintptr_t)arg] = AWAY;
}

static void removed(void *arg)
{
	world.rig->ns[(uintptr_t)arg] = NULL;
}

static void namespace_add(unsigned i)
{
	struct nvme_namespace_options options = {
		.nsid = i + 1, .uuid = { 1, 2 }, .ana_group = 1, .block_bytes = BLOCK_BYTES
	};

	assert_int_equal(nvme_namespace_add(world.rig->subsystem, &options, &world.rig->ns[i]), 0);
	world.is[i] = AWAY;
}

static void namespace_attach(unsigned i)
{
	nvme_namespace_attach(world.rig->ns[i], world.rig->ram[i], NULL);
	world.is[i] = ATTACHED;
}

static void namespace_change(unsigned i)
{
	struct nvme_namespace *ns = world.rig->ns[i];
	void *arg = (void *)(uintptr_t)i;

	if (!ns) {
		namespace_add(i);
	} else if (world.is[i] == ATTACHED) {
		world.is[i] = RELEASING;
		nvme_namespace_release(ns, released, arg);
	} else if (world.is[i] == AWAY) {
		uint32_t what = roll(4);

		if (what == 0) {
			world.is[i] = REMOVING;
			nvme_namespace_remove(ns, removed, arg);
		} else if (what == 1) {
			nvme_namespace_lost(ns, roll(2) ? 16 << 20 : 0);
		} else {
			namespace_attach(i);
		}
	}
}

static void namespace_mend(unsigned i)
{
	if (!world.rig->ns[i])
		namespace_add(i);
	if (world.is[i] == AWAY)
		namespace_attach(i);
}

static void device_change(void)
{
	struct test_device *device = device_of(roll(NAMESPACES));

	device->hold = roll(2);
	device->deaf = roll(3) == 0;
	device->answer = roll(6) ? DPU_BLOCK_OK : (enum dpu_block_status)roll(DPU_BLOCK_STATUSES);
}

static void device_poll(void)
{
	struct dpu_block_device *device = world.rig->ram[roll(NAMESPACES)];

	device->ops->poll(device);
}

static void persist_end(void)
{
	if (world.rig->hold_persist && world.rig->persist_done) {
		rig_persisted(world.rig);
		world.rig->persist_done = NULL;
	}
}

/* ---- what happens ---- */

static void disconnect(struct peer *peer)
{
	struct nvme_sqe sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_DISCONNECT };

	if (peer->qid > 0)
		peer_ask(peer, &sqe, NULL, 0, PEER_ASKED);
}

static void something_rare(struct peer *peer)
{
	static const uint8_t states[2][NVME_TARGET_ANA_GROUPS] = { { NVME_ANA_OPTIMIZED },
								   { NVME_ANA_STATE_INACCESSIBLE } };

	switch (roll(24)) {
	case 0:
		peer_break(peer);
		break;
	case 1:
		if (peer->qid == 0)
			peer_property(peer, roll(2));
		break;
	case 2:
		nvme_subsystem_hosts(world.rig->subsystem, false, NULL, 0);
		nvme_subsystem_hosts(world.rig->subsystem, true, NULL, 0);
		break;
	case 3:
		world.rig->hold_persist = true;
		break;
	case 4:
	case 5:
		persist_end();
		break;
	case 6:
		nvme_subsystem_port(world.rig->subsystem, 1, states[roll(2)]);
		break;
	case 7:
		disconnect(peer);
		break;
	case 8:
		peer_garbage(peer);
		break;
	}
}

static void tick(void)
{
	world.now_ns += roll(1500) * CLOCK_NS_PER_MS;
	nvme_subsystem_tick(world.rig->subsystem, world.now_ns);
	nvme_pool_tick(world.rig->pool, world.now_ns);
}

static void ask(struct peer *peer)
{
	if (peer->qid == 0)
		admin_ask(peer);
	else
		io_ask(peer);
}

static void something(struct peer *peer)
{
	switch (roll(16)) {
	case 5:
	case 6:
		peer_feed(peer, 1 + roll(roll(2) ? 200 : 20000));
		break;
	case 7:
		peer_feed(peer, SIZE_MAX);
		break;
	case 8:
	case 9:
		for (unsigned i = roll(6); i > 0; i--)
			peer_sent(peer);
		break;
	case 10:
		peer_give_data(peer, roll(2));
		break;
	case 11:
		for (unsigned i = roll(6); i > 0; i--)
			device_poll();
		break;
	case 12:
		device_change();
		break;
	case 13:
		if (roll(3) == 0)
			namespace_change(roll(NAMESPACES));
		break;
	case 14:
		tick();
		break;
	case 15:
		something_rare(peer);
		break;
	default:
		ask(peer);
	}
}

static void dial(unsigned i)
{
	const struct peer *admin = world.peers[i - i % HOST_PEERS];
	uint16_t qid = (uint16_t)(i % HOST_PEERS);

	if (qid > 0 && !is_up(admin))
		return;
	world.peers[i] = peer_dial(world.rig, qid, qid ? admin->cntlid : 0, (uint8_t)(1 + i / HOST_PEERS));
	if (!world.peers[i]->connected)
		peer_break(world.peers[i]);
}

static void peers_follow(bool at_once)
{
	for (unsigned i = 0; i < PEERS; i++) {
		struct peer *peer = world.peers[i];

		if (peer && peer->closing && !peer->broken && (at_once || roll(3) == 0))
			peer_break(peer);
		peer_reap(&world.peers[i]);
	}
}

static void step(void)
{
	unsigned i = roll(PEERS);

	peers_follow(false);
	if (!world.peers[i])
		dial(i);
	else if (world.peers[i]->closing)
		device_poll();
	else
		something(world.peers[i]);
}

/* ---- the end of a run ---- */

static bool all_answered(void)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (world.peers[i] && !world.peers[i]->closing && peer_waits(world.peers[i]))
			return false;
	return true;
}

/* A first of a pair hears of it that its second does not come. */
static void fused_end(void)
{
	struct nvme_sqe flush = { .opcode = NVME_FLUSH, .nsid = 1 };

	for (unsigned i = 0; i < PEERS; i++)
		if (world.peers[i] && world.peers[i]->qid > 0 && is_up(world.peers[i]))
			peer_ask(world.peers[i], &flush, NULL, 0, PEER_ASKED);
}

static void obstacles_end(void)
{
	for (unsigned i = 0; i < NAMESPACES; i++) {
		device_of(i)->hold = device_of(i)->deaf = false;
		device_of(i)->answer = DPU_BLOCK_OK;
	}
	persist_end();
	world.rig->hold_persist = false;
	for (unsigned i = 0; i < PEERS; i++)
		if (world.peers[i] && world.peers[i]->hostile && !world.peers[i]->broken)
			peer_break(world.peers[i]);
}

/* Everybody does his part from now on: all are answered. */
static void quiet(void)
{
	obstacles_end();
	for (unsigned round = 0; round < QUIET_ROUNDS && !all_answered(); round++) {
		rig_poll(world.rig);
		for (unsigned i = 0; i < NAMESPACES; i++)
			namespace_mend(i);
		peers_follow(true);
		for (unsigned i = 0; i < PEERS; i++) {
			if (!world.peers[i] || world.peers[i]->closing)
				continue;
			for (unsigned j = 0; j < 4; j++)
				peer_sent(world.peers[i]);
			peer_give_data(world.peers[i], true);
			peer_feed(world.peers[i], SIZE_MAX);
		}
		nvme_pool_tick(world.rig->pool, world.now_ns);
		if (round == QUIET_ROUNDS / 8)
			fused_end();
	}
	assert_true(all_answered());
}

static void peers_end(void)
{
	for (unsigned i = PEERS; i-- > 0;)
		if (world.peers[i] && !world.peers[i]->broken)
			peer_break(world.peers[i]);
	rig_poll(world.rig);
	for (unsigned i = 0; i < PEERS; i++) {
		peer_reap(&world.peers[i]);
		assert_null(world.peers[i]);
	}
}

static void run(uint64_t seed)
{
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	roll_state = seed * 7919 + 13;
	memset(&world, 0, sizeof(world));
	world.now_ns = 1;
	world.rig = rig_new(&(struct rig_options){ .sector = BLOCK_BYTES,
						   .crcs = true,
						   .pool_bytes = roll(3) ? 400 << 10 : 4 << 20,
						   .queue_bytes = roll(3) ? 0 : 400000 });
	for (unsigned i = 0; i < steps; i++)
		step();
	quiet();
	peers_end();
	assert_int_equal(world.rig->account.used, 0);
	assert_int_equal(world.rig->account.asked, 0);
	for (unsigned i = 0; i < NAMESPACES; i++)
		if (world.rig->ns[i])
			namespace_mend(i);
	rig_free(world.rig);
}

static void test_runs(void **state)
{
	for (unsigned i = 0; i < runs; i++)
		run(first_seed + i);
	printf("%llu commands, %llu answered\n", (unsigned long long)peers_asked, (unsigned long long)peers_answered);
	assert_true(peers_answered > peers_asked / 4);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_runs) };

	first_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : clock_ns() / 1000 % 1000000000;
	runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : runs;
	steps = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : steps;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
