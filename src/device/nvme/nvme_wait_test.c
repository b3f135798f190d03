// SPDX-License-Identifier: BSD-3-Clause
/* What waits, for what and how long: devices that are away, commands behind one that is alone, hosts that do not read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "device/block/ram.h"
#include "device/nvme/nvme_target_priv.h"
#include "device/nvme/nvme_test_host.h"

enum { MIB = 1 << 20 };

static uint8_t data[MIB];

static void ignore(void *arg)
{
}

static void tick(struct rig *rig, unsigned seconds)
{
	static uint64_t now_ns = 1;

	nvme_subsystem_tick(rig->subsystem, now_ns);
	for (unsigned i = 0; i < seconds; i++)
		nvme_subsystem_tick(rig->subsystem, now_ns += CLOCK_NS_PER_S);
}

static uint16_t send(struct host *host, uint8_t opcode, uint32_t bytes)
{
	struct nvme_sqe sqe = { .opcode = opcode,
				.nsid = 1,
				.cdw12 = bytes ? bytes / 512 - 1 : 0,
				.sgl = { .length = bytes, .type = NVME_SGL_TRANSPORT_DATA } };

	if (opcode != NVME_WRITE)
		return host_capsule(host, &sqe, NULL, 0);
	sqe.sgl.type = NVME_SGL_IN_CAPSULE;
	return host_capsule(host, &sqe, data, bytes);
}

/* Responses that have come; *ret_status of the last. */
static unsigned answers(struct host *host, uint16_t *ret_status)
{
	const struct nvme_tcp_header *pdu;
	unsigned count = 0;

	while ((pdu = host_receive(host)) != NULL) {
		if (pdu->type != NVME_TCP_CAPSULE_RESP)
			continue;
		count++;
		if (ret_status)
			*ret_status = ((const struct nvme_tcp_capsule_resp *)pdu)->cqe.status >> 1;
	}
	return count;
}

/* ---- devices ---- */

/* Commands wait for a device that is away, and fail if it does not come. */
static void test_away(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint16_t status = 0xffff;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned round = 0; round < 2; round++) {
		nvme_namespace_release(rig->ns[0], ignore, NULL);
		send(io, NVME_READ, 4096);
		send(io, NVME_WRITE, 4096);
		send(io, NVME_WRITE_ZEROES, 0);
		send(io, NVME_FLUSH, 0);
		tick(rig, 9);
		rig_poll(rig);
		assert_int_equal(answers(io, NULL), 0);
		if (round == 0) {
			nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
			rig_poll(rig);
			assert_int_equal(answers(io, &status), 4);
			assert_int_equal(status, NVME_OK);
		} else {
			tick(rig, 2);
			assert_int_equal(answers(io, &status), 4);
			assert_int_equal(status, NVME_NAMESPACE_NOT_READY);
			send(io, NVME_READ, 4096);
			assert_int_equal(answers(io, &status), 1);
			assert_int_equal(status, NVME_NAMESPACE_NOT_READY);
		}
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A host that heeds retry delays is told one. */
static void test_retry_delay(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint16_t status = 0xffff;
	struct exchange behavior = {
		.sqe = { .opcode = NVME_ADMIN_SET_FEATURES, .cdw10 = NVME_FEATURE_HOST_BEHAVIOR },
		.out = data,
		.out_bytes = 512,
		.in_capsule = true,
	};
	struct exchange identify = { .sqe = { .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = NVME_CNS_CONTROLLER },
				     .in = data,
				     .in_bytes = 4096 };

	host_pair(rig, &admin, &io, 0, 0);
	data[0] = 1; /* ACRE */
	assert_int_equal(host_command(admin, &behavior), NVME_OK);
	nvme_namespace_release(rig->ns[0], ignore, NULL);
	tick(rig, 11);
	send(io, NVME_FLUSH, 0);
	assert_int_equal(answers(io, &status), 1);
	assert_int_equal(status, NVME_NAMESPACE_NOT_READY | NVME_CRD_1);
	assert_int_equal(host_command(admin, &identify), NVME_OK);
	assert_int_equal(((const struct nvme_identify_controller *)data)->crdt[0], 10);
	data[0] = 0;
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- Abort ---- */

/* Whether it could be aborted. */
static bool abort_command(struct host *admin, uint16_t sqid, uint16_t cid)
{
	struct exchange abort = { .sqe = { .opcode = NVME_ADMIN_ABORT, .cdw10 = (uint32_t)cid << 16 | sqid } };

	assert_int_equal(host_command(admin, &abort), NVME_OK);
	assert_true(abort.cqe.dw0 <= 1);
	return abort.cqe.dw0 == 0;
}

static void aborted_check(struct host *io, uint16_t cid)
{
	const struct nvme_tcp_capsule_resp *pdu = (const struct nvme_tcp_capsule_resp *)host_receive(io);

	assert_true(pdu && pdu->header.type == NVME_TCP_CAPSULE_RESP);
	assert_int_equal(pdu->cqe.cid, cid);
	assert_int_equal(pdu->cqe.status >> 1, NVME_ABORT_REQUESTED);
	assert_null(host_receive(io));
}

/* Commands that wait for a device can be aborted, those beside them and those in the device are not. */
static void test_abort_device(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	uint16_t status = 0xffff, write, flush;

	host_pair(rig, &admin, &io, 0, 0);
	nvme_namespace_release(rig->ns[0], ignore, NULL);
	send(io, NVME_READ, 4096);
	memset(data, 0x77, 4096);
	write = send(io, NVME_WRITE, 4096);
	flush = send(io, NVME_FLUSH, 0);
	assert_false(abort_command(admin, 2, write)); /* no such queue */
	assert_false(abort_command(admin, 1, 0x7777));
	assert_true(abort_command(admin, 1, write));
	aborted_check(io, write);
	assert_false(abort_command(admin, 1, write)); /* it is no more */
	nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
	assert_false(abort_command(admin, 1, flush)); /* it is in the device */
	assert_int_equal(answers(io, &status), 2);
	assert_int_equal(status, NVME_OK);
	assert_int_equal(*(const uint8_t *)block_ram_data(rig->ram[0]), 0);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Those that wait for memory, too. */
static void test_abort_shortage(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 256 << 10 });
	struct host *admin, *io;
	uint16_t cid[6];

	host_pair(rig, &admin, &io, 0, 0);
	io->hold_sends = true;
	for (unsigned i = 0; i < 6; i++)
		cid[i] = send(io, NVME_READ, 64 << 10);
	rig_poll(rig);
	assert_int_equal(rig->account.waits, 4);
	io->output_bytes = 0; /* of the first two, whose buffers are still lent */
	assert_false(abort_command(admin, 1, cid[0]));
	assert_true(abort_command(admin, 1, cid[3]));
	aborted_check(io, cid[3]);
	for (unsigned i = 0; i < 4; i++) {
		host_release_sends(io);
		rig_poll(rig);
	}
	assert_int_equal(answers(io, NULL), 3);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- behind one that is alone ---- */

static struct host *io_connect(struct rig *rig, uint16_t cntlid, uint16_t qid, uint8_t hostid)
{
	struct host_connect connect = { .cntlid = cntlid, .qid = qid, .sqsize = 127, .hostid = hostid };
	struct host *io = host_new(rig);

	assert_int_equal(host_connect(io, &connect), NVME_OK);
	return io;
}

static void reservation_send(struct host *io, uint8_t opcode, uint32_t cdw10, uint64_t current, uint64_t other)
{
	struct nvme_reservation_keys keys = { .current = current, .other = other };
	struct nvme_sqe sqe = { .opcode = opcode,
				.nsid = 1,
				.cdw10 = cdw10,
				.sgl = { .length = sizeof(keys), .type = NVME_SGL_IN_CAPSULE } };

	host_capsule(io, &sqe, &keys, sizeof(keys));
}

static void fused_send(struct host *host)
{
	struct nvme_sqe sqe = { .nsid = 1, .sgl = { .length = 512, .type = NVME_SGL_IN_CAPSULE } };

	sqe.opcode = NVME_COMPARE;
	sqe.flags = NVME_FUSE_FIRST;
	host_capsule(host, &sqe, data, 512);
	sqe.opcode = NVME_WRITE;
	sqe.flags = NVME_FUSE_SECOND;
	host_capsule(host, &sqe, data, 512);
}

/* A write that waits behind another host's Acquire meets the reservation, though there was none when it came. */
static void test_reservation_while_waiting(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io, *other_admin = host_new(rig), *other;
	struct host_connect connect = { .hostid = 9 };
	uint16_t status = 0xffff;

	host_pair(rig, &admin, &io, 0, 0);
	assert_int_equal(host_connect(other_admin, &connect), NVME_OK);
	other = io_connect(rig, (uint16_t)connect.cqe.result, 1, 9);
	reservation_send(io, NVME_RESERVATION_REGISTER, 0, 0, 5);
	assert_int_equal(answers(io, &status), 1);
	assert_int_equal(status, NVME_OK);
	send(io, NVME_READ, 512);
	reservation_send(io, NVME_RESERVATION_ACQUIRE, 1 << 8, 5, 0); /* write exclusive, when the read is done */
	send(other, NVME_WRITE, 512);
	assert_int_equal(answers(other, NULL) + answers(io, NULL), 0);
	rig_poll(rig);
	assert_int_equal(answers(io, &status), 2);
	assert_int_equal(status, NVME_OK);
	assert_int_equal(answers(other, &status), 1);
	assert_int_equal(status, NVME_RESERVATION_CONFLICT | NVME_DNR);
	/* So for the write of a pair, whose compare would be let through. */
	reservation_send(io, NVME_RESERVATION_RELEASE, 1 << 8, 5, 0);
	send(io, NVME_WRITE, 512);
	rig_poll(rig);
	assert_int_equal(answers(io, &status), 2);
	assert_int_equal(status, NVME_OK);
	send(io, NVME_READ, 512);
	reservation_send(io, NVME_RESERVATION_ACQUIRE, 1 << 8, 5, 0);
	fused_send(other);
	rig_poll(rig);
	assert_int_equal(answers(io, &status), 2);
	assert_int_equal(answers(other, &status), 2);
	assert_int_equal(status, NVME_ABORTED_FAILED_FUSED | NVME_DNR);
	host_free(other);
	host_free(other_admin);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Commands that fail at once, a thousand behind one that was alone: none on top of another. */
static void *many_at_once(void *arg)
{
	enum { QUEUES = 8, EACH = 120 };
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .features = DPU_BLOCK_F_READ_ONLY });
	struct host *admin = host_new(rig), *io[QUEUES];
	struct host_connect connect = { .qid = 0 };
	unsigned count = 0;

	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	for (unsigned i = 0; i < QUEUES; i++)
		io[i] = io_connect(rig, (uint16_t)connect.cqe.result, (uint16_t)(i + 1), 0);
	rig->hold_persist = true;
	reservation_send(io[0], NVME_RESERVATION_REGISTER, 3u << 30, 0, 5); /* with power loss persistence */
	for (unsigned i = 0; i < QUEUES * EACH; i++)
		send(io[i % QUEUES], NVME_WRITE_ZEROES, 0);
	rig_persisted(rig);
	for (unsigned i = 0; i < QUEUES; i++) {
		count += answers(io[i], NULL);
		host_free(io[i]);
	}
	assert_int_equal(count, QUEUES * EACH + 1);
	host_free(admin);
	rig_free(rig);
	return arg;
}

static void test_many_at_once(void **state)
{
	pthread_attr_t attributes;
	pthread_t thread;
	void *done = NULL;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 96 << 10);
	assert_int_equal(pthread_create(&thread, &attributes, many_at_once, data), 0);
	assert_int_equal(pthread_join(thread, &done), 0);
	assert_ptr_equal(done, data);
	pthread_attr_destroy(&attributes);
}

/* ---- hosts that do not read ---- */

static void log_send(struct host *admin, uint32_t bytes)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADMIN_GET_LOG_PAGE,
				.cdw10 = NVME_LOG_ERRORS | (bytes / 4 - 1) << 16,
				.cdw11 = (bytes / 4 - 1) >> 16,
				.sgl = { .length = bytes, .type = NVME_SGL_TRANSPORT_DATA } };

	host_capsule(admin, &sqe, NULL, 0);
}

/* One that asks for much by its admin queue and reads nothing neither keeps others out, nor stays. */
static void test_admin_that_does_not_read(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .pool_bytes = 8 * MIB });
	struct host *greedy = host_new(rig), *admin, *io;
	struct host_connect connect = { .hostid = 9 };

	assert_int_equal(host_connect(greedy, &connect), NVME_OK);
	greedy->hold_sends = true;
	for (unsigned i = 0; i < 12; i++) {
		log_send(greedy, MIB);
		greedy->output_bytes = 0;
	}
	for (unsigned i = 0; i < 12; i++)
		log_send(greedy, 4096);
	assert_true(rig->account.waits > 0);
	greedy->output_bytes = 0;
	host_pair(rig, &admin, &io, 0, 0);
	log_send(admin, 16384);
	assert_int_equal(answers(admin, NULL), 1);
	send(io, NVME_READ, 512);
	rig_poll(rig);
	assert_int_equal(answers(io, NULL), 0); /* its tenant's memory is out */
	tick(rig, 19);
	assert_false(greedy->closed);
	tick(rig, 11);
	assert_true(greedy->closed && !admin->closed && !io->closed);
	host_break(greedy);
	assert_int_equal(rig->reason, NVME_REASON_STALLED);
	rig_poll(rig);
	assert_int_equal(answers(io, NULL), 1);
	host_free(greedy);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* One that was not seen before has its time from now on. */
static void test_first_look_at_a_send(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin = host_new(rig);
	struct host_connect connect = { .qid = 0 };

	tick(rig, 30);
	admin->hold_sends = true;
	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	tick(rig, 15);
	assert_false(admin->closed);
	tick(rig, 15);
	assert_true(admin->closed);
	host_free(admin);
	rig_free(rig);
}

/* As long as something is taken now and then it stays. */
static void test_slow_reader(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	admin->hold_sends = true;
	for (unsigned i = 0; i < 5; i++) {
		log_send(admin, 64);
		tick(rig, 15);
		host_release_sends(admin);
	}
	tick(rig, 30);
	assert_false(admin->closed);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* … but not if it takes too little of it: 256 KiB a second, and a minute, are enough for anybody. */
static void test_trickling_reader(void **state)
{
	enum { READS = 32, BYTES = 64 << 10 };

	for (unsigned at_once = 1; at_once <= READS / 2; at_once *= READS / 2) {
		struct rig *rig = rig_new(NULL);
		struct host *admin, *io;
		unsigned seconds = 0;

		host_pair(rig, &admin, &io, 0, 0);
		tick(rig, 6);
		io->hold_sends = true;
		for (unsigned i = 0; i < READS; i++)
			send(io, NVME_READ, BYTES);
		rig_poll(rig);
		for (; seconds < 300 && !io->closed; seconds += 4) {
			for (unsigned i = 0; i < at_once && !io->closed; i++) {
				host_release_send(io);
				io->output_bytes = 0;
				send(io, NVME_READ, BYTES);
				rig_poll(rig);
			}
			tick(rig, 4);
		}
		/* One of 64 KiB in four seconds, and sixteen. */
		assert_in_range(seconds, at_once == 1 ? 60 : 300, at_once == 1 ? 100 : 300);
		assert_false(admin->closed);
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

/* The C2HTermReq is not read either. */
static void test_terminated_and_does_not_read(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;
	static const uint8_t bad[8] = { 0xff };

	host_pair(rig, &admin, &io, 0, 0);
	io->hold_sends = true;
	host_send(io, bad, sizeof(bad), 0);
	assert_false(io->closed);
	tick(rig, 30);
	assert_true(io->closed && !admin->closed);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Discovery is open to everybody: without a timer of its own a host has two minutes. */
static void test_discovery_timer(void **state)
{
	struct rig *rig = rig_new(&(struct rig_options){ .discovery = true });
	struct host *admin = host_new(rig);
	struct host_connect connect = { .qid = 0 };

	assert_int_equal(host_connect(admin, &connect), NVME_OK);
	tick(rig, 110);
	assert_false(admin->closed);
	log_send(admin, 64);
	tick(rig, 110);
	assert_false(admin->closed);
	tick(rig, 70);
	assert_true(admin->closed);
	host_free(admin);
	assert_int_equal(rig->reason, NVME_REASON_KEEP_ALIVE);
	rig_free(rig);
}

/* What many commands at a time needed is given back when nothing has gone on for a while. */
static void test_idle_queue(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *admin, *io;

	host_pair(rig, &admin, &io, 0, 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 30; i++)
			send(io, NVME_READ, 512);
		assert_int_equal(io->queue->chunk_count, 4);
		tick(rig, 20);
		assert_int_equal(io->queue->chunk_count, 4); /* they are under way */
		rig_poll(rig);
		assert_int_equal(answers(io, NULL), 30);
		tick(rig, 20);
		assert_int_equal(io->queue->chunk_count, 1);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* ---- Connect ---- */

/* The connection breaks before anybody has answered. */
static void test_break_in_connect(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct host *host = host_new(rig);
	struct nvme_connect_sqe connect = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_CONNECT, .sqsize = 31 };
	struct nvme_connect_data connect_data = { .cntlid = NVME_CNTLID_DYNAMIC };
	struct nvme_sqe sqe;

	memcpy(&sqe, &connect, sizeof(sqe));
	sqe.sgl = (struct nvme_sgl){ .length = sizeof(connect_data), .type = NVME_SGL_IN_CAPSULE };
	host->answer_connect = false;
	host_handshake(host, 0, 0);
	host_capsule(host, &sqe, &connect_data, sizeof(connect_data));
	assert_false(host->idle);
	host_break(host); /* … and is idle */
	host_free(host);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_retry_delay),
		cmocka_unit_test(test_abort_device),
		cmocka_unit_test(test_abort_shortage),
		cmocka_unit_test(test_reservation_while_waiting),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_admin_that_does_not_read),
		cmocka_unit_test(test_first_look_at_a_send),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_trickling_reader),
		cmocka_unit_test(test_terminated_and_does_not_read),
		cmocka_unit_test(test_discovery_timer),
		cmocka_unit_test(test_idle_queue),
		cmocka_unit_test(test_break_in_connect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
