// SPDX-License-Identifier: BSD-3-Clause
/* Too little memory: who waits, who goes first, and that all are served in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "device/block/ram.h"
#include "device/nvme/nvme_test_host.h"

enum { BIG = 1 << 20 };

static uint8_t big_out[BIG], big_in[4096];

/* Two buffers for thirty commands: all are served in the end, and the admin queue meanwhile. */
static void test_shortage(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 256 << 10 });
	struct host *admin, *io;
	unsigned answered = 0;
	const struct nvme_tcp_header *pdu;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 30; i++) {
		struct nvme_sqe read = { .opcode = NVME_READ,
					 .nsid = 1,
					 .cdw10 = i,
					 .cdw12 = 127,
					 .sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &read, NULL, 0);
	}
	struct exchange identify = { .sqe = { .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = NVME_CNS_CONTROLLER },
				     .in = big_in,
				     .in_bytes = 4096 };
	io->hold_sends = true; /* buffers stay lent */
	assert_true(rig->account.waits > 20);
	assert_int_equal(nvme_pool_used(rig->pool), 128 << 10);
	/* In the capsule, too: the connection waits, no command fails. */
	struct nvme_sqe write = { .opcode = NVME_WRITE,
				  .nsid = 1,
				  .sgl = { .length = 512, .type = NVME_SGL_IN_CAPSULE } };
	struct nvme_tcp_capsule_cmd capsule = {
		.header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .pdo = 72, .plen = 72 + 512 }, .sqe = write
	};
	capsule.sqe.cid = io->next_cid++;
	capsule.sqe.flags = NVME_PSDT_SGL;
	assert_int_equal(nvme_queue_input(io->queue, (const uint8_t *)&capsule, sizeof(capsule)), sizeof(capsule));
	assert_int_equal(nvme_queue_input(io->queue, big_out, 512), 0);
	assert_int_equal(host_command(admin, &identify), NVME_OK);
	for (unsigned round = 0; round < 40; round++) {
		rig_poll(rig);
		host_release_sends(io);
		assert_true(nvme_pool_used(rig->pool) <= (128 << 10) + 4096);
	}
	assert_true(io->resumed);
	assert_int_equal(nvme_queue_input(io->queue, big_out, 512), 512);
	rig_poll(rig);
	host_release_sends(io);
	while ((pdu = host_receive(io)) != NULL)
		answered += pdu->type == NVME_TCP_CAPSULE_RESP;
	assert_int_equal(answered, 31);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Writes that were asked for their data, and behind them, on the same connection, one with its data in the capsule:
 * that one must be read before the data of the others can be. */
static void test_asked_and_in_capsule(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 512 << 10 });
	struct host *admin, *io;
	struct exchange write = { .sqe = { .opcode = NVME_WRITE, .nsid = 1, .cdw10 = 4096, .cdw12 = 7 },
				  .out = big_out,
				  .out_bytes = 4096,
				  .in_capsule = true };
	uint16_t cids[6], tags[6];
	unsigned asked = 0, answered = 0;
	const struct nvme_tcp_header *pdu;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 6; i++) {
		struct nvme_sqe sqe = { .opcode = NVME_WRITE,
					.nsid = 1,
					.cdw10 = i * 128,
					.cdw12 = 127,
					.sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &sqe, NULL, 0);
	}
	while ((pdu = host_receive(io)) != NULL) {
		cids[asked] = ((const struct nvme_tcp_r2t *)pdu)->cccid;
		tags[asked++] = ((const struct nvme_tcp_r2t *)pdu)->ttag;
	}
	assert_int_equal(asked, 3); /* of four that the account could hold */
	assert_int_equal(host_command(io, &write), NVME_OK);
	for (unsigned i = 0; i < asked; i++) {
		host_h2c_data(io, cids[i], tags[i], big_out, 0, 64 << 10, true);
		rig_poll(rig);
		while ((pdu = host_receive(io)) != NULL) {
			if (pdu->type == NVME_TCP_R2T) {
				cids[asked] = ((const struct nvme_tcp_r2t *)pdu)->cccid;
				tags[asked++] = ((const struct nvme_tcp_r2t *)pdu)->ttag;
			} else {
				answered++;
			}
		}
	}
	assert_int_equal(answered, 6);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- Copy: one buffer for its ranges and for what it copies ---- */

enum { WIRED = 6, ASKED = 12 };

static const struct nvme_copy_range ranges[2] = { { .lba = 0, .blocks = 499 }, { .lba = 700, .blocks = 499 } };

static struct nvme_sqe copy_sqe(unsigned i, uint8_t sgl)
{
	return (struct nvme_sqe){ .opcode = NVME_COPY,
				  .flags = NVME_PSDT_SGL,
				  .nsid = 1,
				  .cdw10 = 2048 + 1000 * i,
				  .cdw12 = 1,
				  .sgl = { .length = sizeof(ranges), .type = sgl } };
}

/* With its ranges in the capsule. False: they are not taken yet, and nothing behind them is read. */
static bool copy_in_capsule(struct host *io, unsigned i)
{
	struct nvme_tcp_capsule_cmd capsule = {
		.header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .pdo = 72, .plen = 72 + sizeof(ranges) },
		.sqe = copy_sqe(i, NVME_SGL_IN_CAPSULE),
	};

	assert_int_equal(nvme_queue_input(io->queue, (const uint8_t *)&capsule, sizeof(capsule)), sizeof(capsule));
	return nvme_queue_input(io->queue, (const uint8_t *)ranges, sizeof(ranges)) == sizeof(ranges);
}

/* All that the host has to answer; returns how many commands are done. */
static unsigned copies_serve(struct host *io)
{
	const struct nvme_tcp_header *pdu;
	unsigned done = 0;

	while ((pdu = host_receive(io)) != NULL) {
		if (pdu->type == NVME_TCP_R2T) {
			const struct nvme_tcp_r2t r2t = *(const struct nvme_tcp_r2t *)pdu;

			assert_int_equal(r2t.r2tl, sizeof(ranges));
			host_h2c_data(io, r2t.cccid, r2t.ttag, (const uint8_t *)ranges, 0, sizeof(ranges), true);
			continue;
		}
		assert_int_equal(((const struct nvme_tcp_capsule_resp *)pdu)->cqe.status >> 1, NVME_OK);
		done++;
	}
	return done;
}

/* Many on many connections, with memory for two: nobody holds one buffer and waits for another, so all come to their
 * end; and every byte that is lent is paid for. */
static void test_copies_in_shortage(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 512 << 10 });
	struct host *admin, *io, *wired[WIRED];
	struct host_connect connect = { .cntlid = 1 };
	unsigned done = 0;
	bool taken[WIRED];

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < WIRED; i++) {
		connect.qid = (uint16_t)(2 + i);
		wired[i] = host_new(rig);
		assert_int_equal(host_connect(wired[i], &connect), NVME_OK);
	}
	uint8_t *all = block_ram_data(rig->ram[0]);
	for (unsigned i = 0; i < 1200 * 512; i++)
		all[i] = (uint8_t)(i * 7 + i / 251);
	for (unsigned i = 0; i < ASKED; i++) {
		struct nvme_sqe sqe = copy_sqe(i, NVME_SGL_TRANSPORT_DATA);

		host_capsule(io, &sqe, NULL, 0);
	}
	for (unsigned i = 0; i < WIRED; i++)
		taken[i] = copy_in_capsule(wired[i], ASKED + i);
	assert_true(rig->account.waits >= WIRED + ASKED - 2);
	for (unsigned round = 0; round < 100 && done < WIRED + ASKED; round++) {
		assert_true(rig->account.used <= 256 << 10);
		assert_int_equal(nvme_pool_used(rig->pool), rig->account.used);
		done += copies_serve(io);
		for (unsigned i = 0; i < WIRED; i++) {
			if (!taken[i] && wired[i]->resumed)
				taken[i] =
					nvme_queue_input(wired[i]->queue, (const uint8_t *)ranges, sizeof(ranges)) > 0;
			done += copies_serve(wired[i]);
		}
		rig_poll(rig);
	}
	assert_int_equal(done, WIRED + ASKED);
	for (unsigned i = 0; i < WIRED + ASKED; i++) {
		const uint8_t *copy = all + (2048 + 1000 * i) * 512;

		assert_memory_equal(copy, all, 500 * 512);
		assert_memory_equal(copy + 500 * 512, all + 700 * 512, 500 * 512);
	}
	for (unsigned i = 0; i < WIRED; i++)
		host_free(wired[i]);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- pairs ---- */

static void first_send(struct host *io, uint8_t opcode)
{
	struct nvme_sqe sqe = { .opcode = opcode,
				.flags = NVME_FUSE_FIRST,
				.nsid = 1,
				.sgl = { .length = 512, .type = NVME_SGL_IN_CAPSULE } };

	host_capsule(io, &sqe, big_in, 512);
}

static uint16_t second_send(struct host *io, uint16_t *ret_first)
{
	struct nvme_sqe sqe = { .opcode = NVME_WRITE,
				.flags = NVME_FUSE_SECOND,
				.nsid = 1,
				.sgl = { .length = 512, .type = NVME_SGL_IN_CAPSULE } };

	host_capsule(io, &sqe, big_in, 512);
	rig_poll(io->rig);
	*ret_first = ((const struct nvme_tcp_capsule_resp *)host_receive(io))->cqe.status >> 1;
	return ((const struct nvme_tcp_capsule_resp *)host_receive(io))->cqe.status >> 1;
}

/* Firsts that wait for their seconds hold what nobody pays for: there is an end to that, and to be tried again. What
 * cannot be a first holds nothing. */
static void test_firsts(void **state)
{
	enum { QUEUES = 8 };
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 224 << 10 });
	struct host *admin, *io[QUEUES];
	struct host_connect connect = { .cntlid = 1 };
	uint16_t first = 0xffff;

	host_pair(rig, &admin, &io[0], 0, 0);
	for (unsigned i = 1; i < QUEUES; i++) {
		connect.qid = (uint16_t)(1 + i);
		io[i] = host_new(rig);
		assert_int_equal(host_connect(io[i], &connect), NVME_OK);
	}
	memset(big_in, 0, 512);
	first_send(io[0], NVME_COPY);
	assert_int_equal(nvme_pool_used(rig->pool), 0);
	assert_int_equal(second_send(io[0], &first), NVME_INVALID_FIELD | NVME_DNR);
	assert_int_equal(first, NVME_INVALID_FIELD | NVME_DNR);
	for (unsigned i = 0; i < QUEUES; i++)
		first_send(io[i], NVME_COMPARE);
	assert_int_equal(rig->account.exempt, (QUEUES - 1) * 4096); /* a quarter of 112 KiB */
	assert_int_equal(nvme_pool_used(rig->pool), (QUEUES - 1) * 4096);
	for (unsigned i = QUEUES; i-- > 0;) {
		bool many = i == QUEUES - 1;

		assert_int_equal(second_send(io[i], &first), many ? NVME_ABORTED_FAILED_FUSED : NVME_OK);
		assert_int_equal(first, many ? NVME_INTERRUPTED : NVME_OK);
	}
	for (unsigned i = 0; i < QUEUES; i++)
		host_free(io[i]);
	host_free(admin);
	rig_free(rig);
}

/* ---- hosts that owe something ---- */

static void tick(struct rig *rig, unsigned seconds)
{
	static uint64_t now_ns = 1;

	for (unsigned i = 0; i < seconds; i++)
		nvme_subsystem_tick(rig->subsystem, now_ns += UINT64_C(1000000000));
}

static void write_send(struct host *io)
{
	struct nvme_sqe sqe = { .opcode = NVME_WRITE,
				.nsid = 1,
				.cdw12 = 127,
				.sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

	host_capsule(io, &sqe, NULL, 0);
}

/* The rest of a capsule, data that was asked for, the second of a pair: memory is held for it, and not for ever. Who
 * sends of it now and then (for a while: test_trickle), who is not read, who owes nothing stays; other commands are no
 * instalment. */
static void test_owing(void **state)
{
	enum { HALF, ASKED_FOR, LONE, BUSY, SLOW, UNREAD, IDLE, ALL };
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 1 << 20 });
	struct host *admin, *io[ALL];
	struct host_connect connect = { .cntlid = 1 };
	struct nvme_tcp_capsule_cmd capsule = {
		.header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .pdo = 72, .plen = 72 + sizeof(ranges) },
		.sqe = copy_sqe(0, NVME_SGL_IN_CAPSULE),
	};

	host_pair(rig, &admin, &io[0], 0, 0);
	for (unsigned i = 1; i < ALL; i++) {
		connect.qid = (uint16_t)(1 + i);
		io[i] = host_new(rig);
		assert_int_equal(host_connect(io[i], &connect), NVME_OK);
	}
	tick(rig, 10);
	host_send(io[HALF], &capsule, sizeof(capsule), 0);
	host_send(io[HALF], ranges, 7, 0);
	write_send(io[ASKED_FOR]);
	first_send(io[LONE], NVME_COMPARE);
	write_send(io[BUSY]);
	write_send(io[SLOW]);
	const struct nvme_tcp_r2t r2t = *(const struct nvme_tcp_r2t *)host_receive(io[SLOW]);
	write_send(io[UNREAD]);
	for (unsigned i = 0; i < 2; i++) { /* they stay in the device, and with them what is left of the memory */
		struct nvme_sqe read = { .opcode = NVME_READ,
					 .nsid = 1,
					 .cdw12 = 127,
					 .sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io[IDLE], &read, NULL, 0);
	}
	assert_false(copy_in_capsule(io[UNREAD], 1));
	for (unsigned i = 0; i < 4; i++) {
		host_h2c_data(io[SLOW], r2t.cccid, r2t.ttag, big_out, i * 512, 512, false);
		if (!io[BUSY]->closed)
			host_capsule(io[BUSY], &(struct nvme_sqe){ .opcode = NVME_FLUSH, .nsid = 1 }, NULL, 0);
		tick(rig, 8);
		for (unsigned k = 0; i == 1 && k <= BUSY; k++)
			assert_false(io[k]->closed);
	}
	for (unsigned i = 0; i < ALL; i++)
		assert_int_equal(io[i]->closed, i <= BUSY);
	assert_false(admin->closed);
	for (unsigned i = 0; i < ALL; i++)
		host_free(io[i]);
	host_free(admin);
	rig_free(rig);
}

/* What it is asked for. */
static struct nvme_tcp_r2t write_begin(struct host *io)
{
	const struct nvme_tcp_header *pdu;

	write_send(io);
	rig_poll(io->rig);
	while ((pdu = host_receive(io)) != NULL && pdu->type != NVME_TCP_R2T)
		;
	assert_non_null(pdu);
	return *(const struct nvme_tcp_r2t *)pdu;
}

/* Who sends a little of it again and again has a minute, and as long as it takes at 256 KiB a second: then the
 * connection ends. Who is faster stays, however much more he is asked for. */
static void test_trickle(void **state)
{
	enum { LITTLE, ENOUGH, AT_FIRST, ALL };
	static const unsigned ends_after[ALL] = { [LITTLE] = 60, [ENOUGH] = 0, [AT_FIRST] = 180 };
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512 });
	struct host_connect connect = { .cntlid = 1 };
	struct host *admin, *io[ALL];
	struct nvme_tcp_r2t r2t[ALL];
	uint32_t sent[ALL] = { 0 };

	host_pair(rig, &admin, &io[0], 0, 0);
	for (unsigned i = 0; i < ALL; i++) {
		connect.qid = (uint16_t)(1 + i);
		if (i > 0)
			io[i] = host_new(rig);
		if (i > 0)
			assert_int_equal(host_connect(io[i], &connect), NVME_OK);
	}
	tick(rig, 6);
	for (unsigned i = 0; i < ALL; i++)
		r2t[i] = write_begin(io[i]);
	for (unsigned seconds = 0; seconds < 300; seconds += 4) {
		for (unsigned i = 0; i < ALL; i++) {
			bool fast = i == ENOUGH || (i == AT_FIRST && seconds < 120);
			/* 1.5 MiB in four seconds: all of one, and a bit of the next, which is asked for meanwhile. */
			for (unsigned k = fast ? 24 : 1; k > 0 && !io[i]->closed; k--) {
				uint32_t bytes = fast ? (64 << 10) - sent[i] : 512;
				host_h2c_data(io[i], r2t[i].cccid, r2t[i].ttag, big_out, sent[i], bytes, fast);
				sent[i] += bytes;
				if (!fast)
					continue;
				sent[i] = 0;
				r2t[i] = write_begin(io[i]);
			}
		}
		tick(rig, 4);
		for (unsigned i = 0; i < ALL; i++) {
			if (seconds + 8 <= ends_after[i] || ends_after[i] == 0)
				assert_false(io[i]->closed);
			if (seconds >= ends_after[i] + 12 && ends_after[i] > 0)
				assert_true(io[i]->closed);
		}
	}
	for (unsigned i = 0; i < ALL; i++)
		host_free(io[i]);
	host_free(admin);
	rig_free(rig);
}

/* ---- queues ---- */

/* A tenant's memory for queues is used up: I/O queues are refused, to be tried again; hosts come in all the same. */
static void test_queue_memory(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .queue_bytes = 448 << 10 });
	const struct nvme_subsystem_stats *stats = nvme_subsystem_stats(rig->subsystem);
	struct host *admin = host_new(rig), *second = host_new(rig), *io[8] = { 0 }, *refused;
	struct host_connect connect = { .hostid = 1 };
	unsigned count = 0;

	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	connect.cntlid = (uint16_t)connect.cqe.result;
	connect.sqsize = 127;
	for (;; count++) {
		connect.qid = (uint16_t)(count + 1);
		io[count] = host_new(rig);
		if (host_connect(io[count], &connect) != NVME_OK)
			break;
	}
	assert_int_equal(count, 3); /* of 128 entries, 96 KiB of commands each */
	assert_int_equal(connect.cqe.status >> 1, NVME_CONNECT_BUSY);
	assert_int_equal(stats->memory_refusals, 1);
	assert_true(rig->account.queues > 300 << 10 && rig->account.queues <= 392 << 10);
	connect = (struct host_connect){ .hostid = 2 };
	assert_int_equal(host_connect(second, &connect), NVME_OK);
	assert_int_equal(host_transfer(io[0], NVME_READ, 0, 1, big_in, 512, false), NVME_OK);
	/* Another goes, and there is room. */
	host_break(io[1]);
	refused = host_new(rig);
	connect = (struct host_connect){ .hostid = 1, .cntlid = 1, .qid = 2, .sqsize = 127 };
	assert_int_equal(host_connect(refused, &connect), NVME_OK);
	host_free(refused);
	for (unsigned i = 0; i <= count; i++)
		host_free(io[i]);
	host_free(second);
	host_free(admin);
	rig_free(rig);
}

/* Answers that the host does not read occupy commands beside the entries: as far as there is memory, then the next
 * commands wait, and none is lost. */
static void test_answers_unread(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .queue_bytes = 80 << 10 });
	struct host *admin, *io;
	struct nvme_tcp_capsule_cmd flush = {
		.header = { .type = NVME_TCP_CAPSULE_CMD, .hlen = 72, .plen = 72 },
		.sqe = { .opcode = NVME_FLUSH, .flags = NVME_PSDT_SGL, .nsid = 1 },
	};
	unsigned sent = 0, answered = 0;

	host_pair(rig, &admin, &io, 0, 0);
	io->hold_sends = true;
	io->resumed = false;
	while (nvme_queue_input(io->queue, (const uint8_t *)&flush, sizeof(flush)) == sizeof(flush)) {
		sent++;
		rig_poll(rig);
		assert_true(sent < 64);
	}
	/* The last one was read as far as its header, and waits. */
	assert_true(sent > 32 && !io->resumed);
	for (unsigned i = 0; i < 3; i++) {
		host_release_sends(io);
		rig_poll(rig);
	}
	assert_true(io->resumed);
	while (host_receive(io))
		answered++;
	assert_int_equal(answered, sent);
	assert_true(rig->account.queues <= 80 << 10);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* What the first writes give back goes to none that waited beside them. */
static void test_break_in_shortage(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 256 << 10 });
	struct host *admin, *io;
	unsigned asked = 0;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_sqe write = { .opcode = NVME_WRITE,
					  .nsid = 1,
					  .cdw12 = 127,
					  .sgl = { .length = 64 << 10, .type = NVME_SGL_TRANSPORT_DATA } };

		host_capsule(io, &write, NULL, 0);
	}
	while (host_receive(io))
		asked++;
	assert_int_equal(asked, 1); /* a quarter is for those who need nothing from the host */
	assert_int_equal(rig->account.waits, 7);
	host_break(io);
	assert_int_equal(nvme_pool_used(rig->pool), 0);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shortage),
		cmocka_unit_test(test_break_in_shortage),
		cmocka_unit_test(test_asked_and_in_capsule),
		cmocka_unit_test(test_copies_in_shortage),
		cmocka_unit_test(test_firsts),
		cmocka_unit_test(test_owing),
		cmocka_unit_test(test_trickle),
		cmocka_unit_test(test_queue_memory),
		cmocka_unit_test(test_answers_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
