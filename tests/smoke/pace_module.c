// SPDX-License-Identifier: BSD-3-Clause
/* A filter for tests that have to catch work in its middle: reads and flushes wait as long as a file says (its
 * arguments are the path), two numbers of milliseconds, which may change while they wait; without the file nothing
 * waits. */
#include <dpu/block_module.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct pace {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	char *path;
	struct passed *waiting, **last;
	unsigned under_way;
	void (*close_done)(void *arg);
	void *close_arg;
};

/* The request of who is above, with an end of its own. */
struct passed {
	struct dpu_block_request below; /* first */
	struct dpu_block_request *above;
	struct pace *pace;
	unsigned long long came_ms;
	struct passed *next;
};

static unsigned long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

static void end_check(struct pace *pace)
{
	void (*done)(void *arg) = pace->close_done;
	void *arg = pace->close_arg;

	if (!done || pace->under_way > 0)
		return;
	free(pace->path);
	free(pace);
	done(arg);
}

static void passed_done(struct dpu_block_request *below)
{
	struct passed *passed = (struct passed *)below;
	struct dpu_block_request *above = passed->above;
	struct pace *pace = passed->pace;
	enum dpu_block_status status = below->status;

	free(passed);
	pace->under_way--;
	dpu_block_complete(above, status);
	end_check(pace);
}

static void pace_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct pace *pace = (struct pace *)device;
	struct passed *passed = malloc(sizeof(*passed));

	if (!passed)
		abort();
	*passed = (struct passed){ .below = *request, .above = request, .pace = pace, .came_ms = now_ms() };
	passed->below.done = passed_done;
	pace->under_way++;
	if (request->op != DPU_BLOCK_READ && request->op != DPU_BLOCK_FLUSH) {
		pace->below->ops->submit(pace->below, &passed->below);
		return;
	}
	*pace->last = passed;
	pace->last = &passed->next;
}

static void pace_read(const struct pace *pace, unsigned long long *ret_read_ms, unsigned long long *ret_flush_ms)
{
	FILE *file = fopen(pace->path, "re");

	if (!file || fscanf(file, "%llu %llu", ret_read_ms, ret_flush_ms) != 2)
		*ret_read_ms = *ret_flush_ms = 0;
	if (file)
		fclose(file);
}

static unsigned pace_poll(struct dpu_block_device *device)
{
	struct pace *pace = (struct pace *)device;
	unsigned long long now = now_ms(), read_ms, flush_ms;
	struct passed **link = &pace->waiting, *passed;
	unsigned count = 0;

	if (!pace->waiting)
		return 0;
	pace_read(pace, &read_ms, &flush_ms);
	while ((passed = *link)) {
		if (now - passed->came_ms < (passed->below.op == DPU_BLOCK_READ ? read_ms : flush_ms)) {
			link = &passed->next;
			continue;
		}
		*link = passed->next;
		if (!*link)
			pace->last = link;
		pace->below->ops->submit(pace->below, &passed->below);
		count++;
	}
	return count;
}

static void pace_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct pace *pace = (struct pace *)device;

	pace->close_done = done;
	pace->close_arg = arg;
	end_check(pace);
}

static const struct dpu_block_ops pace_ops = { .submit = pace_submit, .poll = pace_poll, .close = pace_close };

static void below_changed(void *ctx)
{
	struct pace *pace = ctx;

	pace->device.bytes = pace->below->bytes;
	pace->device.features = pace->below->features;
	if (pace->device.changed)
		pace->device.changed(pace->device.changed_ctx);
}

static int pace_open(const struct dpu_block_open *open, struct dpu_block_device **ret, char *why, size_t why_bytes)
{
	struct pace *pace = calloc(1, sizeof(*pace));

	(void)why;
	(void)why_bytes;
	if (!pace || !(pace->path = strdup(open->arguments))) {
		free(pace);
		return -ENOMEM;
	}
	pace->device = *open->below;
	pace->device.ops = &pace_ops;
	pace->device.name = open->name;
	pace->device.changed = NULL;
	pace->below = open->below;
	pace->below->changed = below_changed;
	pace->below->changed_ctx = pace;
	pace->last = &pace->waiting;
	*ret = &pace->device;
	return 0;
}

__attribute__((visibility("default"))) const struct dpu_block_module dpu_block_module = {
	DPU_BLOCK_MODULE_HEAD,
	.name = "pace",
	.filter = true,
	.open = pace_open,
};
