// SPDX-License-Identifier: BSD-3-Clause
/* Commands that wait in their device, for a cap say, when nobody waits for them any more: connections that break or are
 * ended, Abort. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "base/clock.h"
#include "device/nvme/nvme_target_priv.h"
#include "device/nvme/nvme_test_device.h"
#include "device/nvme/nvme_test_host.h"

static uint8_t data[8192];

static struct test_device *device_of(struct rig *rig)
{
	return (struct test_device *)rig->ram[0];
}

static uint16_t send(struct host *io, uint8_t opcode, uint8_t fuse, uint32_t bytes, uint32_t cdw11)
{
	struct nvme_sqe sqe = { .opcode = opcode,
				.flags = fuse,
				.nsid = 1,
				.cdw11 = opcode == NVME_DATASET_MANAGEMENT ? cdw11 : 0,
				.cdw12 = bytes ? bytes / 512 - 1 : 0,
				.sgl = { .length = bytes, .type = NVME_SGL_TRANSPORT_DATA } };

	if (opcode == NVME_READ || opcode == NVME_FLUSH || opcode == NVME_WRITE_ZEROES)
		return host_capsule(io, &sqe, NULL, 0);
	if (opcode == NVME_DATASET_MANAGEMENT || opcode == NVME_COPY)
		sqe.cdw12 = 0;
	sqe.sgl.type = NVME_SGL_IN_CAPSULE;
	return host_capsule(io, &sqe, data, bytes);
}

/* One of each kind; a pair is alone in the namespace, and waits for the others. */
static void send_all(struct host *io)
{
	struct nvme_dsm_range *range = (struct nvme_dsm_range *)data;

	*range = (struct nvme_dsm_range){ .blocks = 8 };
	send(io, NVME_DATASET_MANAGEMENT, 0, sizeof(*range), NVME_DSM_DEALLOCATE);
	*(struct nvme_copy_range *)data = (struct nvme_copy_range){ .lba = 64, .blocks = 7 };
	send(io, NVME_COPY, 0, sizeof(struct nvme_copy_range), 0);
	for (unsigned i = 0; i < 8; i++) {
		send(io, NVME_READ, 0, 4096, 0);
		send(io, NVME_WRITE, 0, 4096, 0);
	}
	send(io, NVME_COMPARE, 0, 512, 0);
	send(io, NVME_WRITE_ZEROES, 0, 4096, 0);
	send(io, NVME_FLUSH, 0, 0, 0);
}

static void send_pair(struct host *io)
{
	send(io, NVME_COMPARE, NVME_FUSE_FIRST, 512, 0);
	send(io, NVME_WRITE, NVME_FUSE_SECOND, 512, 0);
}

static unsigned answers(struct host *io, uint16_t *ret_status)
{
	const struct nvme_tcp_header *pdu;
	unsigned count = 0;

	while ((pdu = host_receive(io)) != NULL) {
		if (pdu->type != NVME_TCP_CAPSULE_RESP)
			continue;
		count++;
		*ret_status = ((const struct nvme_tcp_capsule_resp *)pdu)->cqe.status >> 1;
	}
	return count;
}

static struct rig *rig_begin(struct host **admin, struct host **io)
{
	struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .crcs = true });

	host_pair(rig, admin, io, 0, 0);
	device_of(rig)->hold = true;
	return rig;
}

static void nothing_counts(struct rig *rig)
{
	const struct nvme_namespace_stats *stats = nvme_namespace_stats(rig->ns[0]);

	for (unsigned op = 0; op < DPU_BLOCK_OPS; op++)
		assert_int_equal(stats->requests[op], 0);
	assert_int_equal(stats->statuses[DPU_BLOCK_GONE], 0);
	assert_int_equal(rig->account.used, 0);
}

static void count_up(void *arg)
{
	++*(unsigned *)arg;
}

/* All that a connection had leaves with it (host_break() insists that it is idle); what others have stays. */
static void test_broken(void **state)
{
	struct host *admin, *io, *other = NULL;
	struct rig *rig = rig_begin(&admin, &io);
	uint16_t status = 0xffff;

	for (unsigned pair = 0; pair < 2; pair++) {
		struct host_connect connect = { .cntlid = 1, .qid = (uint16_t)(2 + pair), .sqsize = 127 };

		other = host_new(rig);
		assert_int_equal(host_connect(other, &connect), NVME_OK);
		if (pair)
			send_pair(other);
		else
			send_all(other);
		assert_true(rig->account.used > 0);
		host_free(other);
		nothing_counts(rig);
	}
	send(io, NVME_READ, 0, 4096, 0);
	rig_poll(rig);
	assert_int_equal(answers(io, &status), 0);
	device_of(rig)->hold = false;
	rig_poll(rig);
	assert_int_equal(answers(io, &status), 1);
	assert_int_equal(status, NVME_OK);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A command of several steps takes no further one when its host has gone. */
static void test_next_step(void **state)
{
	struct host *admin, *io;
	struct rig *rig = rig_begin(&admin, &io);
	unsigned submitted;

	for (unsigned pair = 0; pair < 2; pair++) {
		struct host_connect connect = { .cntlid = 1, .qid = (uint16_t)(2 + pair), .sqsize = 127 };
		struct host *other = host_new(rig);

		assert_int_equal(host_connect(other, &connect), NVME_OK);
		*(struct nvme_copy_range *)data = (struct nvme_copy_range){ .lba = 64, .blocks = 7 };
		device_of(rig)->deaf = device_of(rig)->hold = true;
		if (pair) {
			memset(data, 0, 512);
			send_pair(other);
		} else {
			send(other, NVME_COPY, 0, sizeof(struct nvme_copy_range), 0);
		}
		submitted = device_of(rig)->submitted;
		device_of(rig)->hold = false; /* it ends when the connection is gone */
		host_free(other);
		assert_int_equal(device_of(rig)->submitted, submitted);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

enum way { RESET, KEEP_ALIVE, HOST_REMOVED, SUBSYSTEM_ENDED, PORT_REMOVED, WAYS };

/* Whatever ends a connection: its namespace can let go of its device at once. */
static void test_ways(void **state)
{
	for (enum way way = 0; way < WAYS; way++) {
		struct rig *rig = rig_new(&(struct rig_options){ .sector = 512, .crcs = true });
		struct host_connect connect = { .sqsize = 31, .kato = 1000 };
		struct host *admin = host_new(rig), *io = host_new(rig);
		static const uint8_t ana[NVME_TARGET_ANA_GROUPS] = { [0] = 1 };
		unsigned released = 0;

		assert_int_equal(nvme_subsystem_port(rig->subsystem, 1, ana), 0);
		assert_int_equal(host_connect(admin, &connect), NVME_OK);
		connect = (struct host_connect){ .cntlid = (uint16_t)connect.cqe.result, .qid = 1, .sqsize = 127 };
		assert_int_equal(host_connect(io, &connect), NVME_OK);
		device_of(rig)->hold = true;
		nvme_subsystem_tick(rig->subsystem, 1);
		send_all(io);
		if (way == RESET)
			assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK);
		else if (way == KEEP_ALIVE)
			for (uint64_t s = 1; s < 60 && !io->closed; s++)
				nvme_subsystem_tick(rig->subsystem, s * CLOCK_NS_PER_S);
		else if (way == HOST_REMOVED)
			assert_int_equal(nvme_subsystem_hosts(rig->subsystem, false, NULL, 0), 0);
		else if (way == SUBSYSTEM_ENDED)
			nvme_subsystem_end(rig->subsystem, true);
		else
			nvme_subsystem_port_remove(rig->subsystem, 1);
		if (!io->closed)
			fail_msg("way %u: the connection stays", way);
		rig_poll(rig);
		nvme_namespace_release(rig->ns[0], count_up, &released);
		assert_int_equal(released, 1);
		nothing_counts(rig);
		nvme_namespace_attach(rig->ns[0], rig->ram[0], NULL);
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

/* What waits there is aborted as soon as the device lets it go; that is not at once. What it does not let go ends as it
 * would have. */
static void test_abort(void **state)
{
	struct host *admin, *io;
	struct rig *rig = rig_begin(&admin, &io);
	struct exchange abort = { .sqe = { .opcode = NVME_ADMIN_ABORT } };
	uint16_t status = 0xffff, cid;

	for (unsigned deaf = 0; deaf < 2; deaf++) {
		device_of(rig)->deaf = deaf;
		device_of(rig)->hold = true;
		send(io, NVME_READ, 0, 4096, 0);
		cid = send(io, NVME_FLUSH, 0, 0, 0);
		abort.sqe.cdw10 = (uint32_t)cid << 16 | 1;
		assert_int_equal(host_command(admin, &abort), NVME_OK);
		assert_int_equal(abort.cqe.dw0, 1);
		rig_poll(rig);
		assert_int_equal(answers(io, &status), !deaf);
		assert_int_equal(status, deaf ? NVME_OK : NVME_ABORT_REQUESTED);
		device_of(rig)->hold = false;
		rig_poll(rig);
		assert_int_equal(answers(io, &status), 1 + deaf);
		assert_int_equal(status, NVME_OK);
	}
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* Commands that are not in their namespace do not keep it: neither one whose data has not come nor one whose answer is
 * under way. They are looked at nevertheless, by Abort and when their connection is ended. */
static void test_namespace_gone(void **state)
{
	struct host *admin, *io;
	struct rig *rig = rig_new(NULL);
	struct nvme_sqe write = { .opcode = NVME_WRITE,
				  .nsid = 1,
				  .sgl = { .length = 512, .type = NVME_SGL_TRANSPORT_DATA } };
	struct exchange abort = { .sqe = { .opcode = NVME_ADMIN_ABORT } };
	unsigned removed = 0;

	host_pair(rig, &admin, &io, 0, 0);
	io->hold_sends = true;
	uint16_t cids[] = { host_capsule(io, &write, NULL, 0), send(io, NVME_READ, 0, 4096, 0) };
	rig_poll(rig);
	nvme_namespace_remove(rig->ns[0], count_up, &removed);
	assert_int_equal(removed, 1);
	rig->ns[0] = NULL;
	for (unsigned i = 0; i < 2; i++) {
		abort.sqe.cdw10 = (uint32_t)cids[i] << 16 | 1;
		assert_int_equal(host_command(admin, &abort), NVME_OK);
		assert_int_equal(abort.cqe.dw0, 1);
	}
	assert_int_equal(host_property_set(admin, NVME_CC, 0), NVME_OK); /* a reset */
	assert_true(io->closed);
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

struct leaving {
	struct nvme_namespace *ns;
	unsigned removed;
};

static void remove_at_once(void *arg)
{
	struct leaving *leaving = arg;

	nvme_namespace_remove(leaving->ns, count_up, &leaving->removed);
}

/* Who hears that the device is free may remove the namespace: with the last command it is gone. */
static void test_removed_when_released(void **state)
{
	struct host *admin, *io;
	struct rig *rig = rig_begin(&admin, &io);
	struct leaving leaving = { .ns = rig->ns[0] };

	send(io, NVME_FLUSH, 0, 0, 0);
	nvme_namespace_release(rig->ns[0], remove_at_once, &leaving);
	assert_int_equal(leaving.removed, 0);
	device_of(rig)->hold = false;
	rig_poll(rig);
	assert_int_equal(leaving.removed, 1);
	rig->ns[0] = NULL;
	host_free(io);
	host_free(admin);
	rig_free(rig);
}

/* A namespace that is taken away for good lets go of its device as soon as that lets go of what it has, whenever it is
 * told; that of others stays. What its commands would have done next is not begun. */
static void test_given_up(void **state)
{
	for (unsigned before = 0; before < 2; before++) {
		struct host *admin, *io;
		struct rig *rig = rig_begin(&admin, &io);
		unsigned released = 0, removed = 0, submitted;
		uint16_t status = 0xffff;

		send_all(io);
		rig_poll(rig);
		submitted = device_of(rig)->submitted;
		if (before)
			nvme_namespace_cancel(rig->ns[0]);
		nvme_namespace_release(rig->ns[0], count_up, &released);
		assert_int_equal(released, 0);
		if (!before)
			nvme_namespace_cancel(rig->ns[0]);
		rig_poll(rig);
		assert_int_equal(released, 1);
		assert_int_equal(device_of(rig)->submitted, submitted);
		assert_true(answers(io, &status) > 0);
		assert_int_equal(status, NVME_NAMESPACE_NOT_READY);
		nvme_namespace_cancel(rig->ns[0]);
		nvme_namespace_remove(rig->ns[0], count_up, &removed);
		assert_int_equal(removed, 1);
		rig->ns[0] = NULL;
		host_free(io);
		host_free(admin);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken),         cmocka_unit_test(test_next_step),
		cmocka_unit_test(test_ways),           cmocka_unit_test(test_abort),
		cmocka_unit_test(test_namespace_gone), cmocka_unit_test(test_removed_when_released),
		cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
