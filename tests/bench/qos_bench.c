// SPDX-License-Identifier: BSD-3-Clause
/* What the QoS filter costs a request, and what a neighbour at full depth does to a tenant that has a guarantee. In one
 * thread, as a worker would do it. Prints a JSON object in a line for each.
 *
 * A latency is from when the request was due, by an even clock that nothing delays, until its completion: so what the
 * thread spends on the neighbour meanwhile is in it, and so is what the machine takes away from the thread. As a front
 * end that is polled does it, the load sees all that has become due until it looks, once in a round. The p99 of its
 * parts is told: until that look (late_us), waiting in the filter (wait_us), at the medium (medium_us). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/cycles.h"
#include "base/histogram.h"
#include "device/block/ram.h"
#include "operating/medium_file.h"
#include "service/block/qos/qos.h"

enum { DEPTH_MOST = 256, ROUNDS = 15, COST_ROUNDS = 31 /* short ones: what the machine does besides lasts longer */ };
static const uint64_t MEDIUM_BYTES = UINT64_C(256) << 20;

static void die(const char *what)
{
	fprintf(stderr, "qos_bench: %s\n", what);
	exit(1);
}

struct bench {
	struct uring *uring;
	struct dpu_block_device *medium;
	struct qos_scheduler *scheduler;
	uint64_t now_ns;
	uint32_t turn;
};

/* ---- loads ---- */

struct load;

struct slot {
	struct dpu_block_request request; /* first */
	struct iovec iov;
	struct load *load;
	struct slot *next;
	uint64_t due_ns;
};

struct load {
	struct bench *bench;
	struct dpu_block_device *device;
	unsigned depth, under_way;
	uint64_t interval_ns, due_ns; /* interval 0: always `depth` under way */
	uint64_t done, seed;
	struct histogram latency, late; /* late: until it was submitted */
	struct slot slots[DEPTH_MOST], *free;
};

static uint8_t buffers[DEPTH_MOST][DPU_BLOCK_BYTES] __attribute__((aligned(DPU_BLOCK_BYTES)));

static void slot_done(struct dpu_block_request *request)
{
	struct slot *slot = (struct slot *)request;
	struct load *load = slot->load;

	if (request->status != DPU_BLOCK_OK)
		die("a request failed");
	load->done++;
	load->under_way--;
	if (load->interval_ns)
		histogram_add(&load->latency, clock_ns() - slot->due_ns);
	slot->next = load->free;
	load->free = slot;
}

static struct load *load_new(struct bench *bench, struct dpu_block_device *device, unsigned depth, uint64_t interval_ns)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		die("out of memory");
	*load = (struct load){
		.bench = bench, .device = device, .depth = depth, .interval_ns = interval_ns, .seed = 1
	};
	for (unsigned i = 0; i < DEPTH_MOST; i++) {
		load->slots[i].load = load;
		load->slots[i].iov = (struct iovec){ buffers[i], DPU_BLOCK_BYTES };
		load->slots[i].next = load->free;
		load->free = &load->slots[i];
	}
	return load;
}

static void submit(struct load *load, uint64_t due_ns)
{
	struct slot *slot = load->free;

	load->free = slot->next;
	load->seed = load->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	slot->due_ns = due_ns;
	if (load->interval_ns)
		histogram_add(&load->late, clock_ns() - due_ns);
	slot->request = (struct dpu_block_request){
		.op = DPU_BLOCK_READ,
		.segments = 1,
		.offset = (load->seed >> 33) % (MEDIUM_BYTES / DPU_BLOCK_BYTES) * DPU_BLOCK_BYTES,
		.length = DPU_BLOCK_BYTES,
		.iov = &slot->iov,
		.done = slot_done,
	};
	load->under_way++;
	load->device->ops->submit(load->device, &slot->request);
}

static void go(struct load *load)
{
	if (!load->interval_ns) {
		while (load->under_way < load->depth)
			submit(load, 0);
		return;
	}
	uint64_t now = clock_ns();

	for (; load->due_ns <= now && load->under_way < load->depth; load->due_ns += load->interval_ns)
		submit(load, load->due_ns);
}

/* ---- the worker's round ---- */

static void round_run(struct bench *bench)
{
	bench->now_ns = clock_ns();
	bench->turn++;
	qos_scheduler_poll(bench->scheduler);
	bench->turn++;
	if (bench->medium->ops->poll)
		bench->medium->ops->poll(bench->medium);
	if (bench->uring)
		uring_poll(bench->uring);
}

/* Those that are not there may be NULL. */
static void run(struct bench *bench, struct load *one, struct load *other, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	bench->now_ns = clock_ns();
	if (one)
		one->due_ns = bench->now_ns;
	while (bench->now_ns < end) {
		bench->turn++;
		if (other)
			go(other);
		bench->turn++;
		if (one)
			go(one);
		round_run(bench);
	}
	while ((one && one->under_way) || (other && other->under_way))
		round_run(bench);
}

/* ---- cycles a request ---- */

static double cycles_of(struct bench *bench, struct dpu_block_device *device, uint64_t ns)
{
	struct load *load = load_new(bench, device, 32, 0);
	uint64_t begin = cycles_now();

	run(bench, load, NULL, ns);
	double cycles = (double)(cycles_now() - begin) / (double)load->done;
	free(load);
	return cycles;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), by_size);
	return values[count / 2];
}

static void costs(struct bench *bench, struct qos_tenant *tenant, uint64_t ns)
{
	static const char *const names[] = { "qos-cost-none", "qos-cost-cap", "qos-cost-guarantee" };
	static const struct qos_policy policies[] = { { 0 },
						      { .cap = QOS_RATE_MAX },
						      { .cap = QOS_RATE_MAX, .guarantee = QOS_RATE_MAX } };
	struct dpu_block_device *filter;
	double bare[COST_ROUNDS], more[3][COST_ROUNDS];

	if (qos_open(bench->scheduler, tenant, bench->medium, &filter) < 0)
		die("out of memory");
	for (unsigned i = 0; i < COST_ROUNDS; i++) {
		bare[i] = cycles_of(bench, bench->medium, ns / 8);
		for (unsigned j = 0; j < 3; j++) {
			qos_set(filter, &policies[j]);
			more[j][i] = cycles_of(bench, filter, ns / 8) - bare[i];
		}
	}
	filter->ops->close(filter, NULL, NULL);
	for (unsigned j = 0; j < 3; j++) {
		double cycles = median(more[j], COST_ROUNDS), without = median(bare, COST_ROUNDS);
		printf("{\"id\":\"%s\",\"unit\":\"cycles/request\",\"ours\":%.0f,\"peer\":\"the bare medium\","
		       "\"theirs\":%.0f,\"ratio\":%.2f,\"cycles\":%.0f}\n",
		       names[j], without + cycles, without, without / (without + cycles), cycles);
	}
}

/* ---- the neighbour ---- */

struct figures {
	double rate, p50, p99;
	double late, wait, medium; /* p99 of each */
};

/* The one that has a guarantee. It has a volume for each of what is compared, so that each has times of its own. */
struct victim {
	struct dpu_block_device *device;
	struct load *load;
	struct figures figures[ROUNDS];
};

static struct victim *victim_new(struct bench *bench, struct qos_tenant *tenant, double rate, double guarantee)
{
	struct victim *victim = calloc(1, sizeof(*victim));

	if (!victim || qos_open(bench->scheduler, tenant, bench->medium, &victim->device) < 0)
		die("out of memory");
	qos_on_medium(victim->device);
	qos_set(victim->device, &(struct qos_policy){ .guarantee = (uint64_t)guarantee });
	victim->load = load_new(bench, victim->device, DEPTH_MOST, (uint64_t)(1e9 / rate));
	return victim;
}

static void victim_free(struct victim *victim)
{
	victim->device->ops->close(victim->device, NULL, NULL);
	free(victim->load);
	free(victim);
}

static double us(const struct histogram *histogram, uint32_t millionths)
{
	return (double)histogram_quantile(histogram, millionths) / 1000;
}

/* p99 of what was added to a stage's times since `before`. */
static double stage_p99(const struct victim *victim, enum qos_stage stage, const struct histogram *before)
{
	struct histogram now;

	qos_latency(victim->device, QOS_READS, stage, &now);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		now.count[i] -= before->count[i];
	return us(&now, 990000);
}

static void look(struct bench *bench, struct victim *victim, struct load *other, unsigned round, uint64_t ns)
{
	struct load *load = victim->load;
	struct histogram wait, medium;

	memset(&load->latency, 0, sizeof(load->latency));
	memset(&load->late, 0, sizeof(load->late));
	qos_latency(victim->device, QOS_READS, QOS_STAGE_WAIT, &wait);
	qos_latency(victim->device, QOS_READS, QOS_STAGE_MEDIUM, &medium);
	load->done = 0;
	run(bench, load, other, ns);
	victim->figures[round] = (struct figures){
		.rate = (double)load->done * 1e9 / (double)ns,
		.p50 = us(&load->latency, 500000),
		.p99 = us(&load->latency, 990000),
		.late = us(&load->late, 990000),
		.wait = stage_p99(victim, QOS_STAGE_WAIT, &wait),
		.medium = stage_p99(victim, QOS_STAGE_MEDIUM, &medium),
	};
}

static double field_median(const struct victim *victim, size_t at)
{
	double values[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++)
		memcpy(&values[i], (const char *)&victim->figures[i] + at, sizeof(double));
	return median(values, ROUNDS);
}

static void where_print(const char *name, const struct victim *victim)
{
	printf(",\"%s\":{\"late_us\":%.1f,\"wait_us\":%.1f,\"medium_us\":%.1f}", name,
	       field_median(victim, offsetof(struct figures, late)),
	       field_median(victim, offsetof(struct figures, wait)),
	       field_median(victim, offsetof(struct figures, medium)));
}

static void compare(const char *name, const struct victim *alone, const struct victim *beside)
{
	double p99 = field_median(alone, offsetof(struct figures, p99));
	double with = field_median(beside, offsetof(struct figures, p99));
	double rate = field_median(alone, offsetof(struct figures, rate));
	double kept = field_median(beside, offsetof(struct figures, rate));

	printf("{\"id\":\"qos-neighbour-%s\",\"unit\":\"us, p99\",\"ours\":%.1f,\"peer\":\"alone\",\"theirs\":%.1f,"
	       "\"ratio\":%.2f,\"p99_factor\":%.2f,\"rate_change_percent\":%.2f,\"rate\":%.0f,",
	       name, with, p99, p99 / with, with / p99, 100 * (kept - rate) / rate, kept);
	printf("\"p50\":%.1f,\"p50_alone\":%.1f", field_median(beside, offsetof(struct figures, p50)),
	       field_median(alone, offsetof(struct figures, p50)));
	where_print("p99_alone_spent", alone);
	where_print("p99_spent", beside);
}

/* One that is promised a quarter of what the medium can do, and asks for nearly that at even times; the other always
 * has 256 requests waiting. In turns: alone, together. */
static void neighbour(struct bench *bench, const char *name, bool promised, uint64_t ns)
{
	struct qos_tenant *quiet, *noisy;
	struct dpu_block_device *theirs;
	double others[ROUNDS];

	if (qos_tenant_new(&quiet) < 0 || qos_tenant_new(&noisy) < 0 ||
	    qos_open(bench->scheduler, noisy, bench->medium, &theirs) < 0)
		die("out of memory");
	struct load *load = load_new(bench, theirs, DEPTH_MOST, 0);
	run(bench, NULL, load, ns);
	load->done = 0;
	run(bench, NULL, load, ns);
	double most = (double)load->done * 1e9 / (double)ns, guarantee = promised ? most / 4 : 0;
	struct victim *alone = victim_new(bench, quiet, most / 4.4, guarantee);
	struct victim *beside = victim_new(bench, quiet, most / 4.4, guarantee);
	look(bench, beside, load, 0, ns); /* the window finds its size */
	for (unsigned i = 0; i < ROUNDS; i++) {
		look(bench, alone, NULL, i, ns);
		load->done = 0;
		look(bench, beside, load, i, ns);
		others[i] = (double)load->done * 1e9 / (double)ns;
	}
	compare(name, alone, beside);
	printf(",\"neighbour_alone\":%.0f,\"neighbour\":%.0f,\"window\":%u}\n", most, median(others, ROUNDS),
	       qos_window(bench->scheduler));
	fflush(stdout);
	victim_free(alone);
	victim_free(beside);
	theirs->ops->close(theirs, NULL, NULL);
	free(load);
	qos_tenant_unref(quiet);
	qos_tenant_unref(noisy);
}

static uint64_t now_ns(void *ctx)
{
	return ((struct bench *)ctx)->now_ns;
}

static void open_ram(struct bench *bench)
{
	if (block_ram_new("ram", MEDIUM_BYTES, DPU_BLOCK_SECTOR, &bench->medium) < 0)
		die("no memory for the medium");
	memset(block_ram_data(bench->medium), 1, MEDIUM_BYTES);
}

static void open_file(struct bench *bench, const char *path, bool cached)
{
	static uint8_t data[1 << 20];
	struct dpu_error err = { 0 };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	memset(data, 1, sizeof(data));
	for (uint64_t at = 0; fd >= 0 && at < MEDIUM_BYTES; at += sizeof(data))
		if (pwrite(fd, data, sizeof(data), (off_t)at) != sizeof(data))
			die("the file cannot be written");
	if (fd < 0 || fsync(fd) < 0 || close(fd) < 0)
		die("the file cannot be made");
	struct medium_file_options options = { .path = path, .cached = cached };
	if (uring_new(512, &options.uring, &err) < 0 || medium_file_open(&options, &bench->medium, &err) < 0)
		die(err.message);
	bench->uring = options.uring;
}

/* qos_bench NAME PATH SECONDS: NAME ram (no path), or a name for the medium in the file PATH */
int main(int argc, char **argv)
{
	struct bench bench = { 0 };
	struct qos_scheduler_options options = { .now_ns = now_ns, .ctx = &bench, .turn = &bench.turn };
	struct qos_tenant *tenant;

	if (argc != 4)
		die("qos_bench NAME PATH SECONDS");
	uint64_t ns = (uint64_t)(strtod(argv[3], NULL) * 1e9);
	bool ram = strcmp(argv[1], "ram") == 0;
	if (ram)
		open_ram(&bench);
	else
		open_file(&bench, argv[2], strcmp(argv[1], "disk") != 0);
	bench.now_ns = clock_ns();
	if (qos_scheduler_new(&options, &bench.scheduler) < 0 || qos_tenant_new(&tenant) < 0)
		die("out of memory");
	if (ram)
		costs(&bench, tenant, ns);
	char name[64];
	snprintf(name, sizeof(name), "%s-unprotected", argv[1]);
	neighbour(&bench, argv[1], true, ns / 3);
	neighbour(&bench, name, false, ns / 3);
	return 0;
}
