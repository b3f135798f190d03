// SPDX-License-Identifier: BSD-3-Clause
/* The service "nvmf": its start and stop, and the workers' sockets. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "service/block/block.h"
#include "service/nvmf/nvmf_priv.h"
#include "service/nvmf/target/target.h"

enum { RING_ENTRIES = 1024, BUFFERS = 1024, BUFFER_BYTES = 16 << 10 };

void *nvmf_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory)
		abort();
	return memory;
}

char *nvmf_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	return copy;
}

void nvmf_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg, void (*done)(void *arg))
{
	if (worker_call(worker, fn, arg, done) != 0)
		abort(); /* out of memory */
}

void nvmf_post(struct nvmf *nvmf, void (*fn)(void *arg), void *arg)
{
	if (loop_post(nvmf->dpu->loop, fn, arg) != 0)
		abort();
}

struct nvmf *nvmf_of(const struct dpu *dpu)
{
	return service_find(dpu, &nvmf_service);
}

/* ---- groups ---- */

/* Zero copy only where it is asked for: between two ends of one machine the kernel copies all the same, after it has
 * pinned every page; it took a fifth of the reads. */
static int group_make(struct nvmf_group *group, struct dpu_error *err)
{
	struct uring *uring;
	int rc = uring_new(RING_ENTRIES, &uring, err);

	if (rc != 0)
		return rc;
	const struct stream_group_options options = {
		.uring = uring,
		.buffers = BUFFERS,
		.buffer_bytes = BUFFER_BYTES,
		.zero_copy_bytes = group->nvmf->dpu->zero_copy_bytes ? group->nvmf->dpu->zero_copy_bytes : UINT_MAX,
	};
	rc = stream_group_new(&options, &group->streams, err);
	if (rc == 0) {
		rc = worker_add_source(group->worker, uring_source(uring));
		if (rc == 0) {
			group->uring = uring;
			return 0;
		}
		rc = error_set(err, DPU_E_LIMIT, NULL, "a worker cannot watch an io_uring: %s", strerror(-rc));
		stream_group_free(group->streams);
	}
	uring_free(uring);
	return rc;
}

struct nvmf_group *nvmf_group(struct nvmf *nvmf, struct worker *worker, struct dpu_error *err)
{
	struct nvmf_group *group = &nvmf->groups[worker_index(worker)];

	if (!group->uring && group_make(group, err) != 0)
		return NULL;
	return group;
}

struct stream_group *nvmf_streams(struct nvmf *nvmf, struct worker *worker, struct dpu_error *err)
{
	struct nvmf_group *group = nvmf_group(nvmf, worker, err);

	return group ? group->streams : NULL;
}

struct uring *nvmf_uring(struct nvmf *nvmf, struct worker *worker, struct dpu_error *err)
{
	struct nvmf_group *group = nvmf_group(nvmf, worker, err);

	return group ? group->uring : NULL;
}

/* ---- life ---- */

static int nvmf_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct nvmf *nvmf = nvmf_alloc(sizeof(*nvmf));

	nvmf->dpu = dpu;
	nvmf->workers = workers_count(dpu->workers);
	nvmf->groups = nvmf_alloc(nvmf->workers * sizeof(*nvmf->groups));
	for (unsigned i = 0; i < nvmf->workers; i++)
		nvmf->groups[i] = (struct nvmf_group){ .nvmf = nvmf, .worker = workers_get(dpu->workers, i) };
	nvmf->target = target_new(nvmf);
	*ret_state = nvmf;
	return 0;
}

static int nvmf_start(void *state, struct dpu_error *err)
{
	return target_start(((struct nvmf *)state)->target, err);
}

static void group_removed(void *arg)
{
	struct nvmf *nvmf = arg;

	if (--nvmf->closing > 0)
		return;
	for (unsigned i = 0; i < nvmf->workers; i++) {
		stream_group_free(nvmf->groups[i].streams);
		uring_free(nvmf->groups[i].uring);
		nvmf->groups[i].streams = NULL;
		nvmf->groups[i].uring = NULL;
	}
	nvmf->stopped(nvmf->stopped_arg);
}

static void target_stopped(void *arg)
{
	struct nvmf *nvmf = arg;

	nvmf->closing = 1;
	for (unsigned i = 0; i < nvmf->workers; i++) {
		if (!nvmf->groups[i].uring)
			continue;
		nvmf->closing++;
		worker_remove_source(nvmf->groups[i].worker, uring_source(nvmf->groups[i].uring), group_removed, nvmf);
	}
	group_removed(nvmf);
}

static void nvmf_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct nvmf *nvmf = state;

	nvmf->stopped = done;
	nvmf->stopped_arg = arg;
	target_stop(nvmf->target, target_stopped, nvmf);
}

static void nvmf_settle(void *state, void (*done)(void *arg), void *arg)
{
	target_settle(((struct nvmf *)state)->target, done, arg);
}

static void nvmf_fini(void *state)
{
	struct nvmf *nvmf = state;

	target_free(nvmf->target);
	free(nvmf->groups);
	free(nvmf);
}

static const struct object_class *const classes[] = {
	&nvmf_subsystem_class, &nvmf_namespace_class, &nvmf_host_class,
	&nvmf_listener_class,  &nvmf_referral_class,  NULL,
};
static const char *const requires[] = { "vswitch", "block", NULL };

const struct service nvmf_service = {
	.name = "nvmf",
	.requires = requires,
	.classes = classes,
	.init = nvmf_init,
	.start = nvmf_start,
	.stop = nvmf_stop,
	.settle = nvmf_settle,
	.fini = nvmf_fini,
};
