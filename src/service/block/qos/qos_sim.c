// SPDX-License-Identifier: BSD-3-Clause
/* A world of simulated time for the scheduler. */
#include "service/block/qos/qos_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cycles.h"

static const uint64_t VOLUME_BYTES = UINT64_C(1) << 40;
static uint8_t memory[DPU_BLOCK_MAX_BYTES];

#define must(what) ((what) ? (void)0 : fail(#what, __LINE__))

static void fail(const char *what, int line)
{
	fprintf(stderr, "simulation: line %d: %s\n", line, what);
	abort();
}

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* ---- the medium ---- */

static void limit_note(struct sim_limit *limit, double amount, uint64_t now_ns)
{
	if (!limit || limit->rate == 0)
		return;
	limit->level -= limit->rate * (double)(now_ns - limit->seen_ns) / 1e9;
	limit->level = limit->level < 0 ? 0 : limit->level;
	limit->seen_ns = now_ns;
	/* Before it, no more than the burst was saved up: a little for rounding. */
	must(limit->level <= limit->rate * (limit->burst_s * 1.0001 + 1e-9) + 1e-3);
	limit->level += amount;
}

/* So many cycles as the processor's counter would need: what is noted comes out in simulated nanoseconds. */
static uint64_t cycles_at(const struct sim *sim)
{
	return (uint64_t)(((unsigned __int128)sim->now_ns << 32) / cycles_scale());
}

static void work(struct sim *sim)
{
	struct sim_medium *medium = &sim->medium;

	for (unsigned i = 0; i < medium->servers && medium->first; i++) {
		if (medium->working[i])
			continue;
		struct dpu_block_request *request = medium->first;
		medium->first = request->next;
		if (!medium->first)
			medium->tail = &medium->first;
		uint64_t ns = medium->service_ns + request->length * medium->byte_ps / 1000;
		if (medium->jitter)
			ns = ns * (100 - medium->jitter + random_next(&medium->seed) % (2 * medium->jitter + 1)) / 100;
		medium->working[i] = request;
		medium->busy_until[i] = sim->now_ns + ns;
		medium->busy_ns += ns;
		if (request->trace)
			request->trace->begin = cycles_at(sim);
	}
}

static void below_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct sim_volume *volume = (struct sim_volume *)device;
	struct sim *sim = volume->sim;
	double bytes = request->op == DPU_BLOCK_READ || request->op == DPU_BLOCK_WRITE ? (double)request->length : 0;

	must(dpu_block_check(device, request) == DPU_BLOCK_OK);
	/* In order; the tag is a number of those that the load has submitted. */
	must((uint32_t)(request->tag - (uint32_t)volume->last_tag) == 1);
	volume->last_tag = (volume->last_tag & ~UINT64_C(0xffffffff)) | request->tag;
	limit_note(&volume->ios, 1, sim->now_ns);
	limit_note(&volume->bytes, bytes, sim->now_ns);
	limit_note(volume->tenant_ios, 1, sim->now_ns);
	limit_note(volume->tenant_bytes, bytes, sim->now_ns);
	volume->arrived++;
	request->next = NULL;
	*sim->medium.tail = request;
	sim->medium.tail = &request->next;
	work(sim);
}

static void below_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct sim_volume *volume = (struct sim_volume *)device;

	volume->cancels++;
	volume->cancelled = request;
}

static const struct dpu_block_ops below_ops = { .submit = below_submit, .cancel = below_cancel };

/* ---- loads ---- */

static void load_submit(struct sim_load *load)
{
	struct sim_request *slot = load->free;
	struct sim *sim = load->volume->sim;
	bool write = random_next(&sim->medium.seed) % 100 < load->write_percent;

	load->free = slot->next;
	slot->iov = (struct iovec){ memory, load->length };
	slot->request = (struct dpu_block_request){
		.op = write ? DPU_BLOCK_WRITE : DPU_BLOCK_READ,
		.segments = 1,
		.tag = slot->request.tag,
		.length = load->length,
		.offset = random_next(&sim->medium.seed) % (VOLUME_BYTES / load->length) * load->length,
		.iov = &slot->iov,
		.done = slot->request.done,
	};
	slot->submitted_ns = sim->now_ns;
	slot->request.tag = (uint32_t)(load->done + ++load->under_way);
	load->volume->device->ops->submit(load->volume->device, &slot->request);
}

static void load_done(struct dpu_block_request *request)
{
	struct sim_request *slot = (struct sim_request *)request;
	struct sim_load *load = slot->load;

	must(request->status == DPU_BLOCK_OK);
	load->under_way--;
	load->done++;
	load->bytes += request->length;
	histogram_add(&load->latency, load->volume->sim->now_ns - slot->submitted_ns);
	slot->next = load->free;
	load->free = slot;
}

/* Tags are counted over sim_reset(), too. */
static void load_go(struct sim_load *load)
{
	uint64_t now = load->volume->sim->now_ns;

	if (!load->depth || now < load->start_ns || (load->stop_ns && now >= load->stop_ns))
		return;
	while (load->under_way < load->depth && load->free) {
		if (load->interval_ns && load->next_ns > now)
			break;
		load->next_ns = (load->next_ns ? load->next_ns : now) + load->interval_ns;
		load_submit(load);
	}
	/* One that cannot keep up does not catch up later. */
	if (load->interval_ns && load->next_ns < now)
		load->next_ns = now;
}

void sim_load(struct sim_volume *volume, unsigned depth, uint32_t length, uint64_t interval_ns)
{
	struct sim_load *load = &volume->load;

	must(depth <= SIM_REQUESTS);
	load->depth = depth;
	load->length = length;
	load->interval_ns = interval_ns;
}

/* ---- the world ---- */

static uint64_t now_ns(void *ctx)
{
	return ((struct sim_scheduler *)ctx)->sim->now_ns;
}

static uint64_t cycles(void *ctx)
{
	return cycles_at(((struct sim_scheduler *)ctx)->sim);
}

struct sim_scheduler *sim_scheduler(struct sim *sim)
{
	struct sim_scheduler *scheduler = &sim->scheduler[sim->schedulers++];
	struct qos_scheduler_options options = { .now_ns = now_ns, .cycles = cycles, .ctx = scheduler };

	must(sim->schedulers <= 4);
	scheduler->sim = sim;
	must(qos_scheduler_new(&options, &scheduler->qos) == 0);
	return scheduler;
}

struct sim *sim_new(unsigned servers, uint64_t service_ns, uint64_t byte_ps)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	must(sim && servers <= SIM_SERVERS);
	sim->now_ns = CLOCK_NS_PER_S;
	sim->medium.servers = servers;
	sim->medium.service_ns = service_ns;
	sim->medium.byte_ps = byte_ps;
	sim->medium.seed = 88172645463325252;
	sim->medium.tail = &sim->medium.first;
	sim_scheduler(sim);
	return sim;
}

struct qos_tenant *sim_tenant(const struct qos_policy *policy)
{
	struct qos_tenant *tenant;

	must(qos_tenant_new(&tenant) == 0);
	if (policy)
		qos_tenant_set(tenant, policy, 0);
	return tenant;
}

void sim_limit(struct sim_limit *limit, double rate, const struct qos_policy *policy)
{
	*limit = (struct sim_limit){ .rate = rate, .burst_s = policy->burst_ns ? (double)policy->burst_ns / 1e9 : 0.1 };
}

struct sim_volume *sim_volume(struct sim_scheduler *scheduler, struct qos_tenant *tenant,
			      const struct qos_policy *policy)
{
	struct sim *sim = scheduler->sim;
	struct sim_volume *volume = calloc(1, sizeof(*volume));

	must(volume && sim->volumes < SIM_VOLUMES);
	volume->below = (struct dpu_block_device){
		.ops = &below_ops,
		.name = "simulated",
		.bytes = VOLUME_BYTES,
		.sector = DPU_BLOCK_SECTOR,
		.features = DPU_BLOCK_F_DISCARD | DPU_BLOCK_F_FLUSH,
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = 1,
	};
	volume->sim = sim;
	volume->scheduler = scheduler;
	must(qos_open(scheduler->qos, tenant, &volume->below, &volume->device) == 0);
	if (policy) {
		qos_set(volume->device, policy);
		sim_limit(&volume->ios, (double)policy->cap, policy);
		sim_limit(&volume->bytes, (double)policy->cap_bytes, policy);
	}
	volume->load.volume = volume;
	for (unsigned i = 0; i < SIM_REQUESTS; i++) {
		struct sim_request *slot = &volume->load.requests[i];
		slot->load = &volume->load;
		slot->request.done = load_done;
		slot->next = volume->load.free;
		volume->load.free = slot;
	}
	sim->volume[sim->volumes++] = volume;
	return volume;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When anything happens next, without anybody doing anything before. */
static uint64_t next_event(const struct sim *sim)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < sim->medium.servers; i++)
		if (sim->medium.working[i])
			next = earlier(next, sim->medium.busy_until[i]);
	for (unsigned i = 0; i < sim->schedulers; i++)
		next = earlier(next, qos_scheduler_due_ns(sim->scheduler[i].qos));
	for (unsigned i = 0; i < sim->volumes; i++) {
		const struct sim_load *load = &sim->volume[i]->load;
		if (load->depth && load->start_ns > sim->now_ns)
			next = earlier(next, load->start_ns);
		else if (load->depth && load->interval_ns && load->under_way < load->depth)
			next = earlier(next, load->next_ns);
	}
	return next;
}

static void complete(struct sim *sim)
{
	struct sim_medium *medium = &sim->medium;

	for (unsigned i = 0; i < medium->servers; i++) {
		struct dpu_block_request *request = medium->working[i];
		if (!request || medium->busy_until[i] > sim->now_ns)
			continue;
		medium->working[i] = NULL;
		if (request->trace)
			request->trace->end = cycles_at(sim);
		dpu_block_complete(request, DPU_BLOCK_OK);
	}
	work(sim);
}

void sim_run(struct sim *sim, uint64_t ns)
{
	uint64_t end = sim->now_ns + ns;

	while (sim->now_ns < end) {
		complete(sim);
		for (unsigned i = 0; i < sim->volumes; i++)
			load_go(&sim->volume[i]->load);
		for (unsigned i = 0; i < sim->schedulers; i++)
			while (qos_scheduler_poll(sim->scheduler[i].qos) > 0)
				;
		uint64_t next = next_event(sim);
		/* A worker's timer is no finer; and a scheduler that says it is due has to move on. */
		if (next < sim->now_ns + 1000)
			next = sim->now_ns + 1000;
		sim->now_ns = earlier(next, end);
	}
}

void sim_reset(struct sim *sim)
{
	for (unsigned i = 0; i < sim->volumes; i++) {
		struct sim_volume *volume = sim->volume[i];
		volume->load.bytes = 0;
		volume->arrived = 0;
		memset(&volume->load.latency, 0, sizeof(volume->load.latency));
	}
	sim->medium.busy_ns = 0;
}

double sim_rate(const struct sim_volume *volume, uint64_t ns)
{
	return (double)histogram_count(&volume->load.latency) * 1e9 / (double)ns;
}

void sim_free(struct sim *sim)
{
	for (unsigned i = 0; i < sim->volumes; i++) {
		struct sim_load *load = &sim->volume[i]->load;
		load->depth = 0;
	}
	/* Whatever waits for a cap may wait for long. */
	for (unsigned i = 0; i < sim->volumes; i++)
		qos_set(sim->volume[i]->device, &(struct qos_policy){ 0 });
	for (unsigned i = 0; i < sim->volumes; i++) {
		struct sim_volume *volume = sim->volume[i];
		volume->ios.rate = volume->bytes.rate = 0;
		if (volume->tenant_ios)
			volume->tenant_ios->rate = 0;
		if (volume->tenant_bytes)
			volume->tenant_bytes->rate = 0;
	}
	for (unsigned tries = 0; tries < 100000; tries++) {
		bool busy = false;
		for (unsigned i = 0; i < sim->volumes; i++)
			busy |= sim->volume[i]->load.under_way > 0;
		if (!busy)
			break;
		sim_run(sim, 10 * CLOCK_NS_PER_MS);
	}
	for (unsigned i = 0; i < sim->volumes; i++) {
		must(sim->volume[i]->load.under_way == 0);
		sim->volume[i]->device->ops->close(sim->volume[i]->device, NULL, NULL);
		free(sim->volume[i]);
	}
	for (unsigned i = 0; i < sim->schedulers; i++)
		qos_scheduler_free(sim->scheduler[i].qos);
	free(sim);
}
