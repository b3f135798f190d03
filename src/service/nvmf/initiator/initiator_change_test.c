// SPDX-License-Identifier: BSD-3-Clause
/* What changes under a remote namespace: its size, its being there, ANA. */
#include "operating/uring_needed.h"
#include "service/nvmf/initiator/initiator_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static void test_resize_and_gone(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	run_ms(20); /* until it has got our requests for events */
	target.blocks /= 2;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
	wait_for(changes == 1);
	assert_int_equal(device->bytes, BYTES / 2);
	/* While it is away it may change, too. */
	target.blocks *= 2;
	fake_drop(&target, 0);
	fake_drop(&target, 1);
	wait_for(changes == 2);
	assert_int_equal(device->bytes, BYTES);
	wait_for(live_paths() == 2);
	run_ms(20);
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	target.nsid = 0;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
	wait_for(gones == 1 && !slot.busy);
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_GONE);
	assert_int_equal(gones, 1);
	free(slot.memory);
	unstage();
}

/* It is protected against writes, and not any more. */
static void test_write_protection(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	for (unsigned i = 1; i <= 2; i++) {
		run_ms(20); /* until it has got our requests for events */
		target.write_protected = i == 1;
		fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
		wait_for(changes == i);
		assert_int_equal(!!(device->features & DPU_BLOCK_F_READ_ONLY), i == 1);
	}
	assert_int_equal(run(&slot, DPU_BLOCK_WRITE, 0, 4096, 0), DPU_BLOCK_OK);
	free(slot.memory);
	unstage();
}

/* A target that starts again and has no namespaces yet has not deleted them. */
static void test_restarting_target(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	target.nsid = 0;
	fake_drop(&target, 0);
	fake_drop(&target, 1);
	wait_for(losses >= 3);
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	run_ms(50);
	assert_true(slot.busy && gones == 0);
	target.nsid = 3;
	wait_for(!slot.busy);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	free(slot.memory);
	unstage();
}

static uint16_t descriptors_status;
static unsigned descriptors_refused;

static bool on_descriptors(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode != NVME_ADMIN_IDENTIFY || (sqe->cdw10 & 0xff) != NVME_CNS_DESCRIPTORS || fake_queue(connection))
		return false;
	fake->command = NULL;
	descriptors_refused++;
	fake_respond(connection, sqe->cid, 0, descriptors_status);
	return true;
}

/* A controller that cannot say just now what the namespace is has not deleted it, whatever keeps it from that. */
static void test_identifiers_not_to_be_had(void **state)
{
	static const uint16_t statuses[] = { NVME_INTERNAL_ERROR, NVME_TRANSIENT_TRANSPORT, NVME_ABORT_REQUESTED,
					     NVME_NAMESPACE_NOT_READY, NVME_INTERNAL_ERROR | NVME_DNR };
	struct slot slot = { 0 };

	for (unsigned i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		stage(12);
		remote_open();
		wait_for(live_paths() == 2);
		run_ms(20); /* until it has got our requests for events */
		descriptors_refused = 0;
		descriptors_status = statuses[i];
		target.command = on_descriptors;
		fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
		wait_for(descriptors_refused == 1);
		run_ms(50);
		wait_for(live_paths() == 2);
		assert_int_equal(gones, 0);
		assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
		/* So it is when it is being connected. */
		target.command = on_descriptors;
		fake_drop(&target, 0);
		wait_for(descriptors_refused == 2 && live_paths() == 2);
		assert_int_equal(gones, 0);
		unstage();
	}
	free(slot.memory);
}

/* One that Linux's target has switched off: it has a path error, and is not listed. */
static void test_switched_off(void **state)
{
	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	run_ms(20); /* until it has got our requests for events */
	descriptors_status = NVME_PATH_INTERNAL | NVME_DNR;
	target.command = on_descriptors;
	target.nsid = 0;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
	wait_for(gones == 1);
	unstage();
}

/* One of more than a list of namespaces has, found by what it is or by its number. */
static void test_many_namespaces(void **state)
{
	struct remote_status status;

	for (unsigned i = 0; i < 2; i++) {
		stage(12);
		target.strangers = 2300;
		target.nsid = 5000;
		if (i == 0)
			memcpy(options.uuid, target.uuid, sizeof(options.uuid));
		else
			options.nsid = target.nsid;
		options.path_count = 1;
		remote_open();
		wait_for(ups == 1);
		remote_status(remote, &status);
		assert_int_equal(status.nsid, 5000);
		unstage();
	}
}

/* Of more than 16 formats. */
static void test_lba_format(void **state)
{
	static const uint8_t formats[] = { 15, 16, 37, 63 };

	for (unsigned i = 0; i < sizeof(formats); i++) {
		stage(12);
		target.lba_format = formats[i];
		options.path_count = 1;
		remote_open();
		wait_for(ups == 1);
		assert_int_equal(device->sector, 4096);
		unstage();
	}
}

static void ana_set(unsigned port, enum nvme_ana_state state)
{
	run_ms(20);
	target.ports[port].ana = state;
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_ANA, NVME_LOG_ANA));
	run_ms(30);
	memset(target.reads_by_port, 0, sizeof(target.reads_by_port));
}

static void reads(unsigned count)
{
	struct slot slot = { 0 };

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_OK);
	free(slot.memory);
}

static void test_ana(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	remote_open();
	wait_for(live_paths() == 2);
	reads(10);
	assert_int_equal(target.reads_by_port[0], 5);
	ana_set(0, NVME_ANA_NON_OPTIMIZED);
	reads(10);
	assert_int_equal(target.reads_by_port[1], 10);
	ana_set(1, NVME_ANA_STATE_INACCESSIBLE);
	reads(10);
	assert_int_equal(target.reads_by_port[0], 10);
	/* None can be used: requests wait. */
	ana_set(0, NVME_ANA_STATE_CHANGE);
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	run_ms(100);
	assert_true(slot.busy);
	/* Without an event, too, the end of a transition is noticed. */
	target.ports[0].ana = NVME_ANA_OPTIMIZED;
	wait_for(!slot.busy);
	/* The status of a command tells before any event. */
	target.ports[1].ana = NVME_ANA_OPTIMIZED;
	target.fail_status = NVME_ANA_INACCESSIBLE;
	target.fail_count = 1;
	reads(1);
	free(slot.memory);
	unstage();
}

/* Its log allows what it refuses: requests go round for no longer than without a path, and not fast; then it works
 * again. */
static void test_ana_contradiction(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	options.loss_ms = 600;
	remote_open();
	wait_for(live_paths() == 2);
	target.fail_status = NVME_ANA_INACCESSIBLE;
	target.fail_count = 1 << 30;
	assert_int_equal(run(&slot, DPU_BLOCK_READ, 0, 4096, 0), DPU_BLOCK_IO_ERROR);
	assert_in_range((1 << 30) - target.fail_count, 4, 16);
	target.fail_count = 0;
	for (uint64_t end = clock_ns() + 5 * CLOCK_NS_PER_S;
	     run(&slot, DPU_BLOCK_READ, 0, 4096, 0) != DPU_BLOCK_OK && clock_ns() < end;)
		run_ms(20);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	assert_int_equal(losses, 0);
	free(slot.memory);
	unstage();
}

/* The namespace appears just before the host asks for the list. */
static bool on_appearing(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode == NVME_ADMIN_IDENTIFY && (sqe->cdw10 & 0xff) == NVME_CNS_ACTIVE_NAMESPACES)
		fake->nsid = 3;
	return false;
}

/* What the ANA log says is of the namespace that was found, not from before it. */
static void test_ana_of_new_namespace(void **state)
{
	struct remote_status status;

	stage(12);
	target.nsid = 0;
	target.command = on_appearing;
	options.path_count = 1;
	remote_open();
	wait_for(ups == 1);
	run_ms(20);                                   /* until it has got our requests for events */
	target.ports[0].ana = NVME_ANA_NON_OPTIMIZED; /* by its new group, perhaps */
	fake_event(&target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
	wait_for((remote_status(remote, &status), status.paths[0].ana == NVME_ANA_NON_OPTIMIZED));
	reads(1);
	unstage();
}

static uint32_t writes_through;

static bool on_write(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	writes_through += fake_queue(connection) > 0 && sqe->opcode == NVME_WRITE && (sqe->cdw12 & NVME_IO_FUA);
	return false;
}

/* The first controller says that nothing of it is volatile, one that comes later has a cache: it is flushed. */
static void test_cache_of_later_path(void **state)
{
	struct slot slot = { 0 };

	stage(12);
	target.ports[0].no_cache = target.ports[1].refuses = true;
	target.command = on_write;
	remote_open();
	wait_for(live_paths() == 1);
	assert_false(device->features & DPU_BLOCK_F_FLUSH);
	assert_int_equal(run(&slot, DPU_BLOCK_WRITE, 0, 4096, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	assert_int_equal(run(&slot, DPU_BLOCK_FLUSH, 0, 0, 0), DPU_BLOCK_OK);
	assert_int_equal(writes_through + target.commands[NVME_FLUSH], 0);
	target.ports[1].refuses = false;
	wait_for(live_paths() == 2);
	assert_int_equal(changes, 1);
	assert_true(device->features & DPU_BLOCK_F_FLUSH);
	assert_int_equal(run(&slot, DPU_BLOCK_WRITE, 0, 4096, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	assert_int_equal(run(&slot, DPU_BLOCK_FLUSH, 0, 0, 0), DPU_BLOCK_OK);
	assert_int_equal(writes_through, 1);
	assert_int_equal(target.commands[NVME_FLUSH], 1);
	free(slot.memory);
	unstage();
}

static uint32_t nsid_of_read;

/* The namespace is replaced by another one while the first path, which has found it, cannot have its I/O queues. */
static bool on_replaced(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (sqe->opcode == NVME_FABRICS && sqe->fctype == NVME_FABRICS_CONNECT &&
	    ((const struct nvme_connect_sqe *)sqe)->qid > 0 && fake->nsid == 3) {
		fake->nsid = 4;
		fake->uuid[0]++;
		fake->ports[1].refuses = false;
		fake_respond(connection, sqe->cid, 0, NVME_CONNECT_BUSY);
		return true;
	}
	if (fake_queue(connection) > 0 && sqe->opcode == NVME_READ)
		nsid_of_read = sqe->nsid;
	return false;
}

static void test_replaced_before_up(void **state)
{
	struct remote_status status;

	stage(12);
	assert_int_equal(target.nsid, 3);
	target.ports[1].refuses = true;
	target.command = on_replaced;
	remote_open();
	wait_for(live_paths() == 2);
	reads(1);
	remote_status(remote, &status);
	assert_int_equal(status.nsid, 4);
	assert_int_equal(nsid_of_read, 4);
	unstage();
}

/* Paths come and go under load: none is lost, nothing fails or is sent twice. */
static void other_paths(unsigned at)
{
	static unsigned next;

	next = at < next ? 0 : next;
	if (at / 30 <= next)
		return;
	next = at / 30;
	remote_set_paths(remote, &options.paths[next % 3 == 1], next % 3 == 0 ? 2 : 1);
}

static void test_set_paths(void **state)
{
	struct remote_status status;

	stage(9);
	remote_open();
	wait_for(live_paths() == 2);
	load(900, other_paths);
	assert_int_equal(failures, 0);
	remote_set_paths(remote, &options.paths[1], 1);
	remote_status(remote, &status);
	wait_for((remote_status(remote, &status), status.path_count == 1) && live_paths() == 1);
	assert_true(remote_address_is(&status.paths[0].address, &options.paths[1]));
	assert_int_equal(status.losses, 0);
	assert_int_equal(status.repeated, 0);
	assert_true(target.shutdowns > 5);
	remote_set_paths(remote, NULL, 0); /* none: requests wait */
	struct slot slot = { 0 };
	submit(&slot, DPU_BLOCK_READ, 0, 4096, 0);
	wait_for((remote_status(remote, &status), status.path_count == 0));
	assert_true(slot.busy);
	remote_set_paths(remote, options.paths, 2);
	wait_for(!slot.busy && live_paths() == 2);
	assert_int_equal(slot.request.status, DPU_BLOCK_OK);
	assert_int_equal(losses, 0);
	free(slot.memory);
	unstage();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resize_and_gone),     cmocka_unit_test(test_write_protection),
		cmocka_unit_test(test_restarting_target),   cmocka_unit_test(test_identifiers_not_to_be_had),
		cmocka_unit_test(test_switched_off),        cmocka_unit_test(test_many_namespaces),
		cmocka_unit_test(test_lba_format),          cmocka_unit_test(test_ana),
		cmocka_unit_test(test_ana_contradiction),   cmocka_unit_test(test_ana_of_new_namespace),
		cmocka_unit_test(test_cache_of_later_path), cmocka_unit_test(test_replaced_before_up),
		cmocka_unit_test(test_set_paths),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
