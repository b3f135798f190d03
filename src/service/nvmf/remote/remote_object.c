// SPDX-License-Identifier: BSD-3-Clause
/* Remote namespaces in force: connected on a worker, offered as a block device, closed when they go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

static const uint64_t PUBLISH_NS = 100 * CLOCK_NS_PER_MS;

/* What a path has to tell, on its way to control. */
struct path_news {
	struct nvmf_remote *remote;
	struct remote_address address;
	bool live;
	char why[REMOTE_WHY_BYTES];
};

/* ---- in the worker ---- */

static void publish(struct nvmf_remote *remote)
{
	struct remote_status status;

	remote_status(remote->remote, &status);
	pthread_mutex_lock(&remote->lock);
	remote->status = status;
	snprintf(remote->discovered, sizeof(remote->discovered), "%s", remote->watch ? watch_text(remote->watch) : "");
	pthread_mutex_unlock(&remote->lock);
}

static void tried(void *arg);

/* What the library does not tell: that there is no path to try, or that the namespace is inaccessible by those. */
static void outcome_tell(struct nvmf_remote *remote)
{
	bool over = remote->watch && watch_knows_none(remote->watch);
	struct remote_status status;

	if (remote->tried)
		return;
	remote_status(remote->remote, &status);
	for (unsigned i = 0; i < status.path_count; i++)
		over |= status.paths[i].state == REMOTE_PATH_LIVE;
	if (!over)
		return;
	remote->tried = true;
	publish(remote);
	if (!status.up)
		remotes_post(remote->remotes, tried, remote);
}

static uint64_t on_tick(struct worker_source *source, struct worker *worker, uint64_t now_ns)
{
	struct nvmf_remote *remote = (struct nvmf_remote *)((uint8_t *)source - offsetof(struct nvmf_remote, source));
	struct worker_source *inner = remote_source(remote->remote);
	uint64_t next_ns = inner->tick(inner, worker, now_ns);

	if (remote->watch) {
		uint64_t watch_ns = watch_tick(remote->watch, worker, now_ns);

		next_ns = watch_ns < next_ns ? watch_ns : next_ns;
	}
	outcome_tell(remote);
	if (now_ns - remote->published_ns >= PUBLISH_NS) {
		remote->published_ns = now_ns;
		publish(remote);
	}
	return next_ns;
}

static void up(void *arg);
static void gone(void *arg);
static void path_told(void *arg);

static void on_up(void *ctx, struct dpu_block_device *device)
{
	struct nvmf_remote *remote = ctx;

	publish(remote);
	remotes_post(remote->remotes, up, remote);
}

static void on_gone(void *ctx)
{
	struct nvmf_remote *remote = ctx;

	remotes_post(remote->remotes, gone, remote);
}

static void on_path(void *ctx, const struct remote_address *address, bool live, const char *why)
{
	struct nvmf_remote *remote = ctx;
	struct path_news *news = remotes_alloc(sizeof(*news));

	publish(remote);
	*news = (struct path_news){ .remote = remote, .address = *address, .live = live };
	snprintf(news->why, sizeof(news->why), "%s", why);
	remotes_post(remote->remotes, path_told, news);
}

static bool on_outlives(void *ctx, uint64_t ms)
{
	return marker_raise(ctx, ms);
}

static const struct remote_events events = { .up = on_up, .gone = on_gone, .outlives = on_outlives, .path = on_path };

static void closed(void *arg);

static void on_closed(void *arg)
{
	struct nvmf_remote *remote = arg;

	publish(remote);
	remote->clean = remote_is_clean(remote->remote);
	remotes_post(remote->remotes, closed, remote);
}

static void on_unwatched(void *arg)
{
	struct nvmf_remote *remote = arg;

	remote_close(remote->remote, on_closed, remote);
}

static void close_in_worker(void *arg, struct worker *worker)
{
	struct nvmf_remote *remote = arg;

	if (remote->watch)
		watch_close(remote->watch, on_unwatched, remote);
	else
		on_unwatched(remote);
}

/* ---- what the worker has told ---- */

static void notice(struct nvmf_remote *remote, const char *name, const char *why)
{
	log_warn("nvmf", name, "object=%s why=\"%s\"", remote->path, why);
	if (remote->object)
		model_notice(remote->remotes->dpu->model, remote->object, name, json_pack("{s:s}", "why", why));
}

static void up(void *arg)
{
	struct nvmf_remote *remote = arg;

	if (!remote->remote || remote->closing_asked || remote->closing || remote->state == REMOTE_GONE)
		return;
	remote->state = REMOTE_READY;
	log_info("nvmf", "remote namespace connected", "object=%s worker=%u", remote->path,
		 worker_index(remote->worker));
	block_backing_up(&remote->backing, (struct dpu_block_device *)remote->remote, remote->worker);
}

static void gone(void *arg)
{
	struct nvmf_remote *remote = arg;

	if (remote->closing)
		return;
	remote->state = REMOTE_GONE;
	notice(remote, "remote-gone", "the target has deleted or replaced the namespace");
	nvmf_remote_step(remote);
}

void nvmf_remote_status(struct nvmf_remote *remote, struct remote_status *ret, char discovered[WATCH_TEXT])
{
	pthread_mutex_lock(&remote->lock);
	*ret = remote->status;
	memcpy(discovered, remote->discovered, WATCH_TEXT);
	pthread_mutex_unlock(&remote->lock);
}

static void hurry_in_worker(void *arg, struct worker *worker)
{
	remote_hurry(((struct nvmf_remote *)arg)->remote);
}

static bool has_path(struct nvmf_remote *remote)
{
	struct remote_status status;
	char discovered[WATCH_TEXT];

	nvmf_remote_status(remote, &status, discovered);
	for (unsigned i = 0; i < status.path_count; i++)
		if (status.paths[i].state == REMOTE_PATH_LIVE)
			return true;
	return false;
}

/* Who deletes a pool or a disk does not wait for a target that is away, or goes meanwhile. */
static void hurry_check(struct nvmf_remote *remote)
{
	if (!remote->left_soon || !remote->remote || remote->closing || remote->hurried || has_path(remote))
		return;
	remote->hurried = true;
	remotes_call(remote->worker, hurry_in_worker, remote);
}

/* There is no device, and nobody need wait for it. */
static void tried(void *arg)
{
	struct nvmf_remote *remote = arg;
	struct remote_status status;
	char discovered[WATCH_TEXT];

	nvmf_remote_status(remote, &status, discovered);
	if (!remote->backing.device && remote->state == REMOTE_CONNECTING)
		block_backing_wait(&remote->backing,
				   status.path_count > 0 ? "the namespace is inaccessible by the paths that there are"
							 : discovered,
				   false);
}

static void path_told(void *arg)
{
	struct path_news *news = arg;
	struct nvmf_remote *remote = news->remote;
	char why[REMOTE_WHY_BYTES + 128], address[REMOTE_ADDRESS_TEXT];

	remote_address_format(&news->address, address);
	snprintf(why, sizeof(why), "%s: %s", address, news->live ? "connected" : news->why);
	if (news->live)
		log_info("nvmf", "path connected", "object=%s address=%s", remote->path, address);
	else if (!remote->closing)
		notice(remote, "path-lost", why);
	if (!remote->backing.device && !news->live && remote->state == REMOTE_CONNECTING)
		block_backing_wait(&remote->backing, why, false); /* nobody need wait for it */
	if (!news->live)
		hurry_check(remote);
	free(news);
}

/* ---- opening and closing ---- */

static void failed(struct nvmf_remote *remote, const struct dpu_error *err)
{
	remote->state = REMOTE_FAILED;
	block_backing_wait(&remote->backing, err->message, false);
	notice(remote, "remote-failed", err->message);
}

static void remote_start(struct nvmf_remote *remote)
{
	struct dpu_error err = { 0 };

	remote->again = remote->paths_changed = remote->hurried = remote->tried = false;
	remote->state = REMOTE_CONNECTING;
	block_backing_wait(&remote->backing, "it is being connected", true);
	remote->options.streams = nvmf_streams(nvmf_of(remote->remotes->dpu), remote->worker, &err);
	if (!remote->options.streams) {
		failed(remote, &err);
		return;
	}
	if (marker_set(remote, &remote->options.fenced_ms, &err) < 0) {
		failed(remote, &err);
		return;
	}
	if (remote_new(&remote->options, &events, remote, &remote->remote, &err) < 0) {
		remote->remote = NULL;
		failed(remote, &err);
		return;
	}
	if (((struct nvmf_remote_object *)remote->object)->discovery) {
		struct remote_address address;

		remote_address_parse(((struct nvmf_remote_object *)remote->object)->discovery, &address);
		remote->watch = watch_new(&remote->options, &address, remote->remote);
		if (!remote->watch)
			abort(); /* out of memory */
	}
	remote->source = (struct worker_source){ .tick = on_tick, .fd = -1, .name = "nvmf_remote" };
	remote->published_ns = 0;
	if (worker_add_source(remote->worker, &remote->source) != 0)
		abort(); /* out of memory */
}

/* A deleted remote of the subsystem that is not closed yet: whether it leaves writes in doubt is not known before. */
static bool has_predecessor(const struct nvmf_remote *remote)
{
	const struct nvmf_remote *other;

	TAILQ_FOREACH(other, &remote->remotes->all, link)
	if (other->remote && !other->object && strcmp(other->options.subnqn, remote->options.subnqn) == 0)
		return true;
	return false;
}

static void successors_step(struct nvmf_remote *remote)
{
	struct nvmf_remote *other;

	TAILQ_FOREACH(other, &remote->remotes->all, link)
	if (!other->remote && other->object && other->state == REMOTE_CONNECTING)
		nvmf_remote_step(other);
}

static void source_removed(void *arg)
{
	struct nvmf_remote *remote = arg;

	watch_free(remote->watch);
	remote_free(remote->remote);
	remote->watch = NULL;
	remote->remote = NULL;
	remote->closing = remote->closing_asked = false;
	if (remote->clean || !remote->object)
		marker_clear(remote);
	if (!remote->object)
		successors_step(remote);
	if (remote->state == REMOTE_CLOSING)
		remote->state = REMOTE_CONNECTING;
	nvmf_remote_step(remote);
}

static void closed(void *arg)
{
	struct nvmf_remote *remote = arg;

	worker_remove_source(remote->worker, &remote->source, source_removed, remote);
}

static void unused(void *arg)
{
	struct nvmf_remote *remote = arg;

	remote->closing = true;
	remotes_call(remote->worker, close_in_worker, remote);
}

static void remote_stop(struct nvmf_remote *remote, const char *why)
{
	if (remote->closing_asked)
		return;
	remote->closing_asked = true;
	remote->again = false;
	if (remote->state != REMOTE_GONE)
		remote->state = REMOTE_CLOSING;
	if (remote->remotes->stopping || !remote->object) /* as after kill -9: what was answered is with the target */
		remotes_call(remote->worker, hurry_in_worker, remote);
	block_backing_down(&remote->backing, why, unused, remote);
}

/* To the worker, unless the remote is closed there first. */
struct new_paths {
	struct nvmf_remote *remote;
	unsigned count;
	struct remote_address paths[REMOTE_PATHS_MAX];
};

static void paths_set(void *arg, struct worker *worker)
{
	struct new_paths *new = arg;

	if (new->remote->watch)
		watch_set_paths(new->remote->watch, new->paths, new->count);
	else
		remote_set_paths(new->remote->remote, new->paths, new->count);
	free(new);
}

static void paths_tell(struct nvmf_remote *remote)
{
	remote->paths_changed = false;
	if (remote->closing)
		return;
	struct new_paths *new = remotes_alloc(sizeof(*new));
	new->remote = remote;
	new->count = remote->options.path_count;
	memcpy(new->paths, remote->options.paths, sizeof(new->paths));
	remotes_call(remote->worker, paths_set, new);
}

static void remote_delete(struct nvmf_remote *remote)
{
	struct remotes *remotes = remote->remotes;

	TAILQ_REMOVE(&remotes->all, remote, link);
	block_backing_fini(&remote->backing);
	pthread_mutex_destroy(&remote->lock);
	free(remote);
	remotes_stop_check(remotes);
}

void nvmf_remote_step(struct nvmf_remote *remote)
{
	struct remotes *remotes = remote->remotes;
	bool wanted = remote->object && remotes->started && !remotes->stopping && remote->state != REMOTE_GONE;

	if (remote->remote) {
		if (!wanted || remote->again)
			remote_stop(remote, remotes->stopping              ? "the DPU stops"
					    : !remote->object              ? "the remote namespace was deleted"
					    : remote->state == REMOTE_GONE ? "the target has deleted the namespace"
									   : "it is being connected anew");
		else if (remote->paths_changed)
			paths_tell(remote);
		return;
	}
	if (!remote->object && !remotes->ended && !remote->stepping)
		remote_delete(remote);
	else if (wanted && has_predecessor(remote))
		block_backing_wait(&remote->backing, "a deleted remote of the subsystem is still being closed", true);
	else if (wanted)
		remote_start(remote);
	else
		remotes_stop_check(remotes);
}

/* ---- from the model ---- */

static void on_wanted(struct block_backing *backing, struct worker *worker)
{
	struct nvmf_remote *remote = (struct nvmf_remote *)backing;

	if (!remote->remote) /* else requests are handed over */
		remote->worker = worker;
}

/* Not within the transaction, which may yet come to nothing. */
static void step_later(void *arg)
{
	struct nvmf_remote *remote = arg;

	remote->stepping = false;
	nvmf_remote_step(remote);
}

static void step_post(struct nvmf_remote *remote)
{
	if (remote->stepping)
		return;
	remote->stepping = true;
	remotes_post(remote->remotes, step_later, remote);
}

static void on_leaving(struct block_backing *backing)
{
	struct nvmf_remote *remote = (struct nvmf_remote *)backing;

	remote->left_soon = true;
	hurry_check(remote);
}

/* The next user waits for a path as is usual: it is connected anew, which costs nothing that was there. */
static void on_left(struct block_backing *backing)
{
	struct nvmf_remote *remote = (struct nvmf_remote *)backing;

	remote->left_soon = false;
	if (!remote->hurried || !remote->remote || remote->closing_asked)
		return;
	remote->again = true;
	step_post(remote);
}

/* The host's identity: the same after every start, one for each object. */
void nvmf_remote_host(const struct nvmf_remote_object *object, struct remote_options *options)
{
	char uuid[UUID_TEXT];

	memcpy(options->hostid, object->base.uuid.bytes, sizeof(options->hostid));
	if (object->host_nqn)
		snprintf(options->hostnqn, sizeof(options->hostnqn), "%s", object->host_nqn);
	else
		snprintf(options->hostnqn, sizeof(options->hostnqn), "nqn.2014-08.org.nvmexpress:uuid:%s",
			 uuid_format(&object->base.uuid, uuid));
}

static void paths_fill(const struct nvmf_remote_object *object, struct remote_options *options)
{
	options->path_count = (unsigned)object->addresses.count;
	for (unsigned i = 0; i < options->path_count; i++)
		remote_address_parse(object->addresses.items[i], &options->paths[i]); /* checked by the field */
}

static void options_fill(const struct nvmf_remote_object *object, struct remote_options *options)
{
	snprintf(options->subnqn, sizeof(options->subnqn), "%s", object->nqn);
	nvmf_remote_host(object, options);
	options->nsid = object->nsid;
	memcpy(options->uuid, object->namespace_uuid.bytes, sizeof(options->uuid));
	options->queues = object->queues;
	options->depth = object->depth;
	options->header_digest = object->header_digest;
	options->data_digest = object->data_digest;
	options->keep_alive_ms = object->keep_alive;
	options->quiesce_ms = object->quiesce;
	options->loss_ms = object->loss_timeout * 1000;
	options->timeout_ms = object->io_timeout * 1000;
	options->policy = object->policy;
	options->shared = object->shared;
}

int nvmf_remote_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct nvmf_remote *remote = old ? old->runtime : NULL;
	struct remotes *remotes = ctx;

	if (!remote) {
		remote = remotes_alloc(sizeof(*remote));
		remote->remotes = remotes;
		remote->uuid = new->uuid;
		remote->worker = workers_get(remotes->dpu->workers, new->slot % remotes->workers);
		pthread_mutex_init(&remote->lock, NULL);
		options_fill((const struct nvmf_remote_object *)new, &remote->options);
		block_backing_init(&remote->backing, block_of(remotes->dpu), new->name, "it was not connected yet");
		block_backing_wait(&remote->backing, "it was not connected yet", true);
		remote->backing.wanted = on_wanted;
		remote->backing.leaving = on_leaving;
		remote->backing.left = on_left;
		remote->backing.one_user = true;
		TAILQ_INSERT_TAIL(&remotes->all, remote, link);
	}
	block_backing_rename(&remote->backing, new->name);
	paths_fill((const struct nvmf_remote_object *)new, &remote->options);
	remote->paths_changed = true;
	remote->object = new;
	object_path(new, remote->path, sizeof(remote->path));
	new->runtime = remote;
	if (remotes->started)
		step_post(remote);
	return 0;
}

void nvmf_remote_remove(void *ctx, struct object *object)
{
	struct nvmf_remote *remote = object->runtime;

	object->runtime = NULL;
	remote->object = NULL;
	if (remote->remotes->ended)
		remote_delete(remote);
	else
		step_post(remote);
}
