// SPDX-License-Identifier: BSD-3-Clause
/* Tests of the hand-over between workers: every request comes back once with its data, whoever sleeps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/block/block_queue.h"
#include "device/block/ram.h"
#include "service/block/block_rig.h"
#include "service/block/crc_keeper.h"
#include "service/block/handoff/block_handoff.h"

enum { BLOCKS = 1024, BLOCK = DPU_BLOCK_BYTES };

/* The device there, polled by a source of its own. */
struct there {
	struct worker_source source;
	struct dpu_block_device *device;
};

static unsigned there_poll(struct worker_source *source, struct worker *worker)
{
	struct dpu_block_device *device = ((struct there *)source)->device;

	(void)worker;
	return device->ops->poll(device);
}

/* A load here: `depth` requests under way until `left` are used up; each writes its number and reads it back. */
struct load {
	struct dpu_block_device *device;
	atomic_uint left, finished, wrong;
	unsigned depth;
	uint64_t number;
	struct job {
		struct dpu_block_request request;
		struct iovec iov;
		struct load *load;
		uint64_t number;
		uint64_t data[BLOCK / 8];
	} * jobs;
};

static void job_next(struct job *job);

static void job_done(struct dpu_block_request *request)
{
	struct job *job = (struct job *)request;
	struct load *load = job->load;

	if (request->status != DPU_BLOCK_OK)
		atomic_fetch_add(&load->wrong, 1);
	if (request->op == DPU_BLOCK_WRITE && request->status == DPU_BLOCK_OK) {
		memset(job->data, 0, BLOCK);
		request->op = DPU_BLOCK_READ;
		load->device->ops->submit(load->device, request);
		return;
	}
	if (request->op == DPU_BLOCK_READ && job->data[17] != job->number)
		atomic_fetch_add(&load->wrong, 1);
	job_next(job);
}

static void job_next(struct job *job)
{
	struct load *load = job->load;

	if (atomic_load(&load->left) == 0) {
		atomic_fetch_add(&load->finished, 1);
		return;
	}
	atomic_fetch_sub(&load->left, 1);
	job->number = ++load->number;
	job->data[17] = job->number;
	job->iov = (struct iovec){ job->data, BLOCK };
	job->request = (struct dpu_block_request){ .op = DPU_BLOCK_WRITE,
						   .segments = 1,
						   .offset = (uint64_t)(job - load->jobs) % BLOCKS * BLOCK,
						   .length = BLOCK,
						   .iov = &job->iov,
						   .done = job_done };
	load->device->ops->submit(load->device, &job->request);
}

static void load_begin(void *arg, struct worker *worker)
{
	struct load *load = arg;

	(void)worker;
	for (unsigned i = 0; i < load->depth; i++)
		job_next(&load->jobs[i]);
}

static void load_run(struct rig *rig, struct worker *worker, struct load *load, unsigned depth, unsigned count)
{
	load->jobs = calloc(depth, sizeof(*load->jobs));
	load->depth = depth;
	atomic_store(&load->left, count);
	atomic_store(&load->finished, 0);
	for (unsigned i = 0; i < depth; i++)
		load->jobs[i].load = load;
	assert_int_equal(worker_call(worker, load_begin, load, NULL), 0);
	WAIT_FOR(rig, atomic_load(&load->finished) == depth);
	assert_int_equal(atomic_load(&load->wrong), 0);
	free(load->jobs);
}

struct binding {
	struct block_handoff *handoff;
	struct dpu_block_device *below;
	atomic_bool bound;
};

static void bind_there(void *arg, struct worker *worker)
{
	struct binding *binding = arg;

	(void)worker;
	block_handoff_bind(binding->handoff, binding->below);
	atomic_store(&binding->bound, true);
}

/* The device in worker 0, its users in worker 1. */
static void join(struct rig *rig, enum worker_policy policy, struct there *there, struct binding *binding)
{
	rig_up(rig, 2, policy);
	there->source = (struct worker_source){ .poll = there_poll, .fd = -1, .name = "there" };
	assert_int_equal(worker_add_source(workers_get(rig->workers, 0), &there->source), 0);
	assert_int_equal(
		block_handoff_new(workers_get(rig->workers, 0), workers_get(rig->workers, 1), &binding->handoff), 0);
	binding->below = there->device;
	assert_int_equal(worker_call(workers_get(rig->workers, 0), bind_there, binding, NULL), 0);
	WAIT_FOR(rig, atomic_load(&binding->bound));
}

static void part(struct rig *rig, struct there *there, const struct binding *binding)
{
	atomic_bool freed = false, closed = false;

	block_handoff_free(binding->handoff, set_flag, &freed);
	WAIT_FOR(rig, freed);
	remove_and_wait(rig, 0, &there->source);
	there->device->ops->close(there->device, set_flag, &closed);
	rig_down(rig);
}

static void run_with(enum worker_policy policy)
{
	struct there there = { 0 };
	struct load load = { 0 };
	struct binding binding = { 0 };
	struct rig rig;

	assert_int_equal(block_ram_new("ram", BLOCKS * BLOCK, 512, &there.device), 0);
	join(&rig, policy, &there, &binding);
	load.device = block_handoff_device(binding.handoff);
	assert_int_equal(load.device->bytes, BLOCKS * BLOCK);
	/* Fewer than there are slots, exactly as many, many more; one at a time, with both asleep in between. */
	load_run(&rig, workers_get(rig.workers, 1), &load, 32, 5000);
	load_run(&rig, workers_get(rig.workers, 1), &load, BLOCK_HANDOFF_DEPTH, 5000);
	load_run(&rig, workers_get(rig.workers, 1), &load, BLOCKS, 10000);
	for (unsigned i = 0; i < 50; i++) {
		load_run(&rig, workers_get(rig.workers, 1), &load, 1, 1);
		run_for(&rig, CLOCK_NS_PER_MS);
	}
	part(&rig, &there, &binding);
}

/* ---- integrity ---- */

static struct {
	struct dpu_block_device *device;
	atomic_bool finished;
} crossing;

static void crossed(struct dpu_block_request *request)
{
	(void)request;
	atomic_store(&crossing.finished, true);
}

static void cross(void *arg, struct worker *worker)
{
	struct dpu_block_device *device = crossing.device;

	(void)worker;
	device->ops->submit(device, arg);
}

static void crossing_go(void *ctx, struct dpu_block_request *request)
{
	struct rig *rig = ctx;

	request->done = crossed;
	atomic_store(&crossing.finished, false);
	assert_int_equal(worker_call(workers_get(rig->workers, 1), cross, request, NULL), 0);
	WAIT_FOR(rig, atomic_load(&crossing.finished));
}

static void crcs_cross(void **state)
{
	struct crc_keeper keeper;
	struct there there = { .device = &keeper.device };
	struct binding binding = { 0 };
	struct rig rig;

	crc_keeper_init(&keeper);
	join(&rig, WORKER_BALANCED, &there, &binding);
	crossing.device = block_handoff_device(binding.handoff);
	crc_keeper_check(&keeper, crossing.device, crossing_go, &rig);
	part(&rig, &there, &binding);
}

static void crosses(void **state)
{
	run_with(WORKER_BALANCED);
}

static void crosses_asleep(void **state)
{
	run_with(WORKER_POWER_SAVE);
}

static void crosses_awake(void **state)
{
	run_with(WORKER_LATENCY);
}

/* ---- requests that nobody waits for ---- */

enum { KEPT = 1000 }; /* of which BLOCK_HANDOFF_DEPTH are there, and the others here */

/* A device that keeps all that it gets until it is opened, or they are cancelled. */
static struct keeping {
	struct dpu_block_device device; /* first */
	struct block_queue kept, cancelled;
	atomic_bool open;
	/* here */
	struct dpu_block_device *here;
	struct dpu_block_request requests[KEPT];
	atomic_uint done, gone;
} keeping;

static void keeping_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	(void)device;
	block_queue_add(&keeping.kept, request);
}

static void keeping_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct dpu_block_request **link = &keeping.kept.first;

	(void)device;
	while (*link && *link != request)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = request->next;
	if (!request->next)
		keeping.kept.tail = link;
	block_queue_add(&keeping.cancelled, request);
}

static unsigned keeping_poll(struct dpu_block_device *device)
{
	struct dpu_block_request *request;
	unsigned count = 0;

	(void)device;
	for (; (request = block_queue_take(&keeping.cancelled)) != NULL; count++)
		dpu_block_complete(request, DPU_BLOCK_GONE);
	for (; atomic_load(&keeping.open) && (request = block_queue_take(&keeping.kept)) != NULL; count++)
		dpu_block_complete(request, DPU_BLOCK_OK);
	return count;
}

static void keeping_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	(void)device;
	done(arg);
}

static void kept_done(struct dpu_block_request *request)
{
	/* Odd ones are those that are cancelled. */
	bool odd = (request - keeping.requests) % 2, right = request->status == (odd ? DPU_BLOCK_GONE : DPU_BLOCK_OK);

	atomic_fetch_add(&keeping.gone, odd && right);
	atomic_fetch_add(&keeping.done, right);
}

static void kept_submit(void *arg, struct worker *worker)
{
	(void)arg;
	(void)worker;
	for (unsigned i = 0; i < KEPT; i++) {
		keeping.requests[i] = (struct dpu_block_request){ .op = DPU_BLOCK_FLUSH, .done = kept_done };
		keeping.here->ops->submit(keeping.here, &keeping.requests[i]);
	}
}

static void kept_cancel(void *arg, struct worker *worker)
{
	(void)arg;
	(void)worker;
	for (unsigned i = 1; i < KEPT; i += 2) {
		keeping.here->ops->cancel(keeping.here, &keeping.requests[i]);
		keeping.here->ops->cancel(keeping.here, &keeping.requests[i]);
	}
}

static void cancelled(void **state)
{
	static const struct dpu_block_ops ops = {
		.submit = keeping_submit, .poll = keeping_poll, .close = keeping_close, .cancel = keeping_cancel
	};

	for (unsigned at_once = 0; at_once < 2; at_once++) {
		struct there there = { .device = &keeping.device };
		struct binding binding = { 0 };
		struct rig rig;

		keeping = (struct keeping){ .device = { .ops = &ops, .name = "keeping" } };
		block_queue_init(&keeping.kept);
		block_queue_init(&keeping.cancelled);
		join(&rig, at_once ? WORKER_LATENCY : WORKER_POWER_SAVE, &there, &binding);
		keeping.here = block_handoff_device(binding.handoff);
		assert_int_equal(worker_call(workers_get(rig.workers, 1), kept_submit, NULL, NULL), 0);
		if (!at_once) /* both are asleep when they are cancelled, else most are on the way */
			run_for(&rig, 20 * CLOCK_NS_PER_MS);
		assert_int_equal(worker_call(workers_get(rig.workers, 1), kept_cancel, NULL, NULL), 0);
		WAIT_FOR(&rig, atomic_load(&keeping.gone) == KEPT / 2);
		run_for(&rig, 5 * CLOCK_NS_PER_MS);
		assert_int_equal(atomic_load(&keeping.done), KEPT / 2);
		atomic_store(&keeping.open, true);
		worker_wake(workers_get(rig.workers, 0));
		WAIT_FOR(&rig, atomic_load(&keeping.done) == KEPT);
		part(&rig, &there, &binding);
	}
}

/* A volume for users on both workers: same data, both are told of a new size, both are asked back when it goes. */
static void volume(void **state)
{
	struct block_rig_user near, far;
	uint8_t data[BLOCK], got[BLOCK];
	struct block_rig rig;

	block_rig_new(&rig, 2, NULL);
	block_rig_apply(&rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'kind': 'ram', 'size': 67108864}],"
			" 'pools': [{'name': 'p', 'media': ['m'], 'worker': 1}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': 1048576}]}");
	block_rig_attach(&near, &rig, "volume", "v", NULL);
	block_rig_attach(&far, &rig, "volume", "v", workers_get(rig.base.workers, 0));
	WAIT_FOR(&rig.base, near.device && far.device);
	assert_ptr_equal(near.worker, workers_get(rig.base.workers, 1));
	assert_ptr_equal(far.worker, workers_get(rig.base.workers, 0));
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(block_rig_io(&far, DPU_BLOCK_WRITE, BLOCK, data, BLOCK, DPU_BLOCK_FUA), DPU_BLOCK_OK);
	assert_int_equal(block_rig_io(&near, DPU_BLOCK_READ, BLOCK, got, BLOCK, 0), DPU_BLOCK_OK);
	assert_memory_equal(data, got, BLOCK);
	assert_int_equal(block_rig_io(&far, DPU_BLOCK_READ, 1048576, got, BLOCK, 0), DPU_BLOCK_RANGE);
	block_rig_change(&rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': 2097152}", NULL);
	WAIT_FOR(&rig.base, atomic_load(&near.changes) == 1 && atomic_load(&far.changes) == 1);
	assert_int_equal(block_rig_io(&far, DPU_BLOCK_READ, 1048576, got, BLOCK, 0), DPU_BLOCK_OK);
	block_rig_detach(&far);
	block_rig_detach(&near);
	block_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crosses),    cmocka_unit_test(crosses_asleep), cmocka_unit_test(crosses_awake),
		cmocka_unit_test(crcs_cross), cmocka_unit_test(cancelled),      cmocka_unit_test(volume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
