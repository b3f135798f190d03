// SPDX-License-Identifier: BSD-3-Clause
/* The device over the paths: its life, what is known of the namespace, time. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "service/nvmf/initiator/remote_request.h"

enum { HURRY_MS = 1000 };
static const uint64_t SOON_NS = 20 * CLOCK_NS_PER_MS, IDLE_NS = 500 * CLOCK_NS_PER_MS;

void remote_wake(struct remote *remote)
{
	uring_before_send(stream_group_uring(remote->options.streams), &remote->hook);
}

/* ---- what the paths tell ---- */

bool remote_any_usable(const struct remote *remote, bool trusted)
{
	for (unsigned i = 0; i < remote->path_count; i++)
		if (remote_path_usable(&remote->paths[i]) && (!trusted || remote->paths[i].ana_doubts == 0))
			return true;
	return false;
}

void remote_path_changed(struct remote *remote)
{
	if (remote_any_usable(remote, true)) {
		remote->alone_ns = 0;
		remote->lost = false;
		if (!remote->up && !remote->gone && !remote->closing) {
			remote->up = true;
			remote->events->up(remote->ctx, &remote->device);
		}
	} else if (remote->alone_ns == 0) {
		remote->alone_ns = clock_ns();
	}
	remote_wake(remote);
}

/* Before the device is there, the namespace is that of the paths that have found it. */
static void namespace_forget(struct remote *remote)
{
	for (unsigned i = 0; i < remote->path_count; i++)
		if (remote->paths[i].step >= PATH_ANA && remote->paths[i].step <= PATH_LIVE)
			return;
	remote->nsid = 0;
}

void remote_path_down(struct remote *remote, struct path *path)
{
	struct dpu_block_request *orphan, *next;

	if (!remote->up)
		namespace_forget(remote);
	if (!remote->closing && !remote->gone) {
		remote_orphans_adopt(remote, path);
		remote_wake(remote);
		return;
	}
	for (orphan = path->orphans; orphan; orphan = next) {
		next = orphan->next;
		remote->left_writes = true;
		remote_request_fail(remote, orphan, DPU_BLOCK_GONE);
	}
	path->orphans = NULL;
	remote_wake(remote);
}

static void tell(struct remote *remote)
{
	if (remote->device.changed)
		remote->device.changed(remote->device.changed_ctx);
}

static uint32_t features_of(const struct path *path)
{
	const struct nvme_identify_controller *controller = &path->admin.identify;
	const struct nvme_identify_namespace *namespace = &path->data.namespace;
	uint32_t features = path->remote->options.data_digest ? DPU_BLOCK_F_CRC : 0;

	if (controller->vwc & 1)
		features |= DPU_BLOCK_F_FLUSH;
	if ((controller->oncs & NVME_ONCS_DSM) && (controller->oncs & NVME_ONCS_WRITE_ZEROES))
		features |= DPU_BLOCK_F_DISCARD;
	if ((features & DPU_BLOCK_F_DISCARD) && (namespace->dlfeat & 0xf) == 0x9)
		features |= DPU_BLOCK_F_ZERO_DISCARD;
	if (namespace->nsattr & 1)
		features |= DPU_BLOCK_F_READ_ONLY;
	return features;
}

/* Paths to the same namespace may differ in what their controllers can do: the first one counts. Its size, and whether
 * it may be written, is what the last one says, and its cache is volatile from when one of them says so. */
void remote_namespace(struct remote *remote, const struct path *path)
{
	const struct nvme_identify_namespace *namespace = &path->data.namespace;
	unsigned shift = namespace_format(namespace)->log2_bytes;
	struct dpu_block_device *device = &remote->device;
	uint32_t now = features_of(path) & (DPU_BLOCK_F_FLUSH | DPU_BLOCK_F_READ_ONLY);
	uint32_t features = (device->features & ~(uint32_t)DPU_BLOCK_F_READ_ONLY) | now;
	uint64_t bytes = namespace->nsze << shift;

	if (remote->nsid == 0) {
		remote->nsid = path->nsid;
		memcpy(remote->uuid, path->uuid, sizeof(remote->uuid));
		memcpy(remote->nguid, path->nguid, sizeof(remote->nguid));
		remote->block_shift = shift;
		remote->compare = path->admin.identify.oncs & NVME_ONCS_COMPARE;
		device->features = features_of(path);
		remote->zero_by_write_zeroes = device->features & DPU_BLOCK_F_ZERO_DISCARD;
		device->sector = 1u << shift;
		device->max_bytes = REMOTE_MAX_BYTES;
		device->bytes = bytes;
	} else if (shift != remote->block_shift) {
		remote_gone(remote); /* formatted anew: nothing that it held is there */
	} else if (bytes != device->bytes || features != device->features) {
		device->bytes = bytes;
		device->features = features;
		tell(remote);
	}
}

static void queue_fail(struct remote *remote, struct block_queue *queue, enum dpu_block_status status)
{
	struct dpu_block_request *request;

	while ((request = block_queue_take(queue)))
		remote_request_fail(remote, request, status);
}

static void all_fail(struct remote *remote, enum dpu_block_status status)
{
	queue_fail(remote, &remote->waiting, status);
	queue_fail(remote, &remote->held, status);
	queue_fail(remote, &remote->later, status);
	remote->later_ns = 0;
}

void remote_gone(struct remote *remote)
{
	if (remote->gone)
		return;
	remote->gone = true;
	all_fail(remote, DPU_BLOCK_GONE);
	for (unsigned i = 0; i < remote->path_count; i++)
		remote_path_close(&remote->paths[i]);
	tell(remote);
	remote->events->gone(remote->ctx);
}

/* ---- time ---- */

static bool calm(const struct remote *remote)
{
	for (unsigned i = 0; i < remote->path_count; i++)
		if (remote->paths[i].used && (remote->paths[i].step != PATH_LIVE || remote->paths[i].leaving))
			return false;
	return remote->outstanding == 0 && remote->fence_count == 0 && remote->everything_until_ns == 0;
}

static uint64_t on_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct remote *remote = (struct remote *)((char *)source - offsetof(struct remote, source));

	remote->now_ns = now_ns;
	for (unsigned i = 0; i < remote->path_count; i++)
		remote_path_tick(&remote->paths[i], now_ns);
	remote_paths_settle(remote);
	remote_cancels_tick(remote);
	remote_fences_tick(remote, now_ns);
	if (remote->later_ns > 0 && now_ns >= remote->later_ns) {
		struct dpu_block_request *request;

		remote->later_ns = 0;
		while ((request = block_queue_take(&remote->later)))
			remote_dispatch(remote, request);
	}
	if (remote->alone_ns > 0 && !remote->lost &&
	    now_ns - remote->alone_ns > remote->options.loss_ms * CLOCK_NS_PER_MS && now_ns > remote->alone_ns) {
		remote->lost = true;
		all_fail(remote, DPU_BLOCK_IO_ERROR);
	}
	return calm(remote) ? IDLE_NS : SOON_NS;
}

static void closed_check(struct remote *remote)
{
	void (*closed)(void *arg) = remote->closed;

	if (!closed || remote->outstanding > 0)
		return;
	for (unsigned i = 0; i < remote->path_count; i++)
		if (remote->paths[i].step != PATH_DOWN)
			return;
	remote->closed = NULL;
	closed(remote->closed_arg);
}

/* Outside of calls: answers, what waits, the end. */
static void work(struct uring_hook *hook)
{
	struct remote *remote = (struct remote *)((char *)hook - offsetof(struct remote, hook));
	struct dpu_block_request *request, *next = remote->failed.first;

	block_queue_init(&remote->failed);
	while ((request = next)) {
		next = request->next;
		remote->outstanding--;
		request->done(request);
	}
	remote_waiting_go(remote);
	if (remote->closing && !remote->hook.queued)
		closed_check(remote);
}

/* ---- life ---- */

void remote_hurry(struct remote *remote)
{
	if (remote->options.loss_ms > HURRY_MS)
		remote->options.loss_ms = HURRY_MS;
}

void remote_close(struct remote *remote, void (*done)(void *arg), void *arg)
{
	remote->closing = true;
	remote->left_writes |= remote->fence_count > 0 || remote->everything_until_ns > 0;
	remote->closed = done;
	remote->closed_arg = arg;
	all_fail(remote, DPU_BLOCK_GONE);
	for (unsigned i = 0; i < remote->path_count; i++)
		remote_path_close(&remote->paths[i]);
	remote_wake(remote);
}

static void device_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	remote_close((struct remote *)device, done, arg);
}

static const struct dpu_block_ops device_ops = { .submit = remote_submit,
						 .close = device_close,
						 .cancel = remote_cancel };

static unsigned or_default(unsigned value, unsigned otherwise)
{
	return value ? value : otherwise;
}

static int options_check(struct remote_options *options, struct dpu_error *err)
{
	options->queues = or_default(options->queues, 1);
	options->depth = or_default(options->depth, 128);
	options->keep_alive_ms = or_default(options->keep_alive_ms, 5000);
	options->loss_ms = or_default(options->loss_ms, 600000);
	options->timeout_ms = or_default(options->timeout_ms, 30000);
	options->retry_ms = or_default(options->retry_ms, 500);
	options->retry_max_ms = or_default(options->retry_max_ms, 10000);
	options->quiesce_ms = or_default(options->quiesce_ms, 1000);
	if (options->path_count > REMOTE_PATHS_MAX)
		return error_set(err, DPU_E_INVALID, "paths", "%u paths: at most %d.", options->path_count,
				 REMOTE_PATHS_MAX);
	if (options->queues > REMOTE_QUEUES_MAX)
		return error_set(err, DPU_E_INVALID, "queues", "%u I/O queues: at most %d.", options->queues,
				 REMOTE_QUEUES_MAX);
	if (options->depth < 2 || options->depth > REMOTE_DEPTH_MAX)
		return error_set(err, DPU_E_INVALID, "depth", "%u commands: a queue has 2 to %d.", options->depth,
				 REMOTE_DEPTH_MAX);
	/* Without it nobody knows when a lost association is dead. */
	if (options->keep_alive_ms < 1000)
		return error_set(err, DPU_E_INVALID, "keep_alive", "%u ms: at least 1000.", options->keep_alive_ms);
	if (memchr(options->subnqn, 0, NVME_NQN_LENGTH_MAX + 1) == NULL || options->subnqn[0] == 0)
		return error_set(err, DPU_E_INVALID, "nqn", "Must be a name of 1 to %d characters.",
				 NVME_NQN_LENGTH_MAX);
	if (memchr(options->hostnqn, 0, NVME_NQN_LENGTH_MAX + 1) == NULL || options->hostnqn[0] == 0)
		return error_set(err, DPU_E_INVALID, "host_nqn", "Must be a name of 1 to %d characters.",
				 NVME_NQN_LENGTH_MAX);
	return 0;
}

int remote_new(const struct remote_options *options, const struct remote_events *events, void *ctx, struct remote **ret,
	       struct dpu_error *err)
{
	struct remote_options checked = *options;
	int r = options_check(&checked, err);

	if (r < 0)
		return r;
	struct remote *remote = calloc(1, sizeof(*remote));
	if (!remote)
		return error_set(err, DPU_E_LIMIT, NULL, "No memory for a remote namespace.");
	remote->options = checked;
	remote->events = events;
	remote->ctx = ctx;
	remote->device = (struct dpu_block_device){ .ops = &device_ops, .name = "nvmf_remote", .alignment = 1 };
	remote->source = (struct worker_source){ .tick = on_tick, .fd = -1, .name = "nvmf_remote" };
	remote->hook.run = work;
	remote->now_ns = remote->alone_ns = clock_ns();
	remote->noted_ms = 2 * (uint64_t)checked.keep_alive_ms + checked.quiesce_ms;
	remote->random = remote->now_ns ^ (uint64_t)(uintptr_t)remote << 20 ^ 0x9e3779b97f4a7c15u;
	if (checked.fenced_ms > 0)
		remote->everything_until_ns = remote->now_ns + checked.fenced_ms * CLOCK_NS_PER_MS;
	block_queue_init(&remote->waiting);
	block_queue_init(&remote->held);
	block_queue_init(&remote->later);
	block_queue_init(&remote->failed);
	remote_set_paths(remote, checked.paths, checked.path_count);
	*ret = remote;
	return 0;
}

bool remote_is_clean(const struct remote *remote)
{
	return !remote->left_writes;
}

void remote_free(struct remote *remote)
{
	if (!remote)
		return;
	for (unsigned i = 0; i < remote->path_count; i++)
		free(remote->paths[i].log);
	free(remote->fences);
	free(remote);
}

struct worker_source *remote_source(struct remote *remote)
{
	return &remote->source;
}

void remote_status(const struct remote *remote, struct remote_status *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->bytes = remote->device.bytes;
	ret->sector = remote->device.sector;
	ret->features = remote->device.features;
	ret->nsid = remote->nsid;
	ret->up = remote->up;
	ret->gone = remote->gone;
	ret->lost = remote->lost;
	ret->requests = remote->requests;
	ret->repeated = remote->repeated;
	ret->held = remote->held_count;
	ret->losses = remote->past_losses;
	ret->digest_errors = remote->past_digest_errors;
	ret->aborts = remote->past_aborts;
	for (const struct dpu_block_request *request = remote->waiting.first; request; request = request->next)
		ret->waiting++;
	for (unsigned i = 0; i < remote->path_count; i++) {
		const struct path *path = &remote->paths[i];
		struct remote_path_status *out = &ret->paths[ret->path_count];

		if (!path->used)
			continue;
		ret->path_count++;
		*out = path->status;
		out->address = path->address;
		out->under_way = path->under_way;
		out->digest_errors += path->admin_open && path->admin.queue ? path->admin.queue->digest_errors : 0;
		for (unsigned q = 0; q < REMOTE_QUEUES_MAX; q++)
			out->digest_errors += path->queues[q] ? path->queues[q]->digest_errors : 0;
		ret->losses += out->losses;
		ret->digest_errors += out->digest_errors;
		ret->aborts += out->aborts;
	}
}
