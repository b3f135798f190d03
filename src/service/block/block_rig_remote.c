// SPDX-License-Identifier: BSD-3-Clause
/* Remotes that hang, for tests. */
#include "service/block/block_rig_remote.h"

#include <stdlib.h>
#include "device/block/block_queue.h"
#include "device/block/ram.h"

enum { BYTES = 64 << 20 };

struct remotes;

struct remote {
	struct block_backing backing;   /* first */
	struct dpu_block_device device; /* on the memory */
	struct dpu_block_device *memory;
	struct block_queue held, gone; /* the worker's; gone: were cancelled while they were held */
	struct worker_source source;
	atomic_bool hangs;
	struct remotes *remotes;
	LIST_ENTRY(remote) link;
};

struct remotes {
	struct dpu *dpu;
	LIST_HEAD(, remote) list;
	unsigned left;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

static struct remote *of_device(struct dpu_block_device *device)
{
	return (struct remote *)((uint8_t *)device - offsetof(struct remote, device));
}

static void remote_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	block_queue_add(&of_device(device)->held, request);
}

static void remote_cancel(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct remote *remote = of_device(device);
	struct dpu_block_request *held = remote->held.first, *next;

	block_queue_init(&remote->held);
	for (; held; held = next) {
		next = held->next;
		block_queue_add(held == request ? &remote->gone : &remote->held, held);
	}
}

static const struct dpu_block_ops remote_ops = { .submit = remote_submit, .cancel = remote_cancel };

static unsigned remote_poll(struct worker_source *source, struct worker *worker)
{
	struct remote *remote = (struct remote *)((uint8_t *)source - offsetof(struct remote, source));
	struct dpu_block_request *request;

	(void)worker;
	while ((request = block_queue_take(&remote->gone)) != NULL)
		dpu_block_complete(request, DPU_BLOCK_GONE);
	while (!atomic_load(&remote->hangs) && (request = block_queue_take(&remote->held)) != NULL)
		remote->memory->ops->submit(remote->memory, request);
	return remote->memory->ops->poll(remote->memory);
}

static int remote_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct remotes *remotes = ctx;
	struct worker *worker = workers_get(remotes->dpu->workers, 0);
	struct remote *remote;

	(void)err;
	if (old)
		return 0;
	remote = calloc(1, sizeof(*remote));
	assert_non_null(remote);
	remote->remotes = remotes;
	block_queue_init(&remote->held);
	block_queue_init(&remote->gone);
	assert_int_equal(block_ram_new(new->name, BYTES, DPU_BLOCK_SECTOR, &remote->memory), 0);
	remote->device = *remote->memory;
	remote->device.ops = &remote_ops;
	remote->source = (struct worker_source){ .poll = remote_poll, .fd = -1, .name = "remote" };
	assert_int_equal(worker_add_source(worker, &remote->source), 0);
	block_backing_init(&remote->backing, block_of(remotes->dpu), new->name, "it is not there yet");
	remote->backing.one_user = true;
	block_backing_up(&remote->backing, &remote->device, worker);
	LIST_INSERT_HEAD(&remotes->list, remote, link);
	new->runtime = remote;
	return 0;
}

/* Only at the end, when it is down. */
static void remote_remove(void *ctx, struct object *object)
{
	struct remote *remote = object->runtime;

	(void)ctx;
	LIST_REMOVE(remote, link);
	block_backing_fini(&remote->backing);
	remote->memory->ops->close(remote->memory, NULL, NULL);
	free(remote);
}

static int remotes_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct remotes *remotes = calloc(1, sizeof(*remotes));

	(void)err;
	assert_non_null(remotes);
	remotes->dpu = dpu;
	LIST_INIT(&remotes->list);
	*ret_state = remotes;
	return 0;
}

static void remote_ended(void *arg)
{
	struct remotes *remotes = arg;

	if (--remotes->left == 0)
		remotes->stopped(remotes->stopped_arg);
}

static void remote_down(void *arg)
{
	struct remote *remote = arg;
	struct remotes *remotes = remote->remotes;

	worker_remove_source(workers_get(remotes->dpu->workers, 0), &remote->source, remote_ended, remotes);
}

static void remotes_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct remotes *remotes = state;
	struct remote *remote;

	remotes->stopped = done;
	remotes->stopped_arg = arg;
	remotes->left = 1;
	LIST_FOREACH(remote, &remotes->list, link)
	{
		remotes->left++;
		block_backing_down(&remote->backing, "the test is over", remote_down, remote);
	}
	remote_ended(remotes);
}

static const struct field remote_fields[] = { { 0 } };

static const struct object_class remote_class = {
	.name = "nvmf_remote",
	.plural = "nvmf_remotes",
	.doc = "What hangs.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct object),
	.fields = remote_fields,
	.apply = remote_apply,
	.remove = remote_remove,
};

static const struct object_class *const classes[] = { &remote_class, NULL };

const struct service block_rig_remote_service = {
	.name = "remote",
	.classes = classes,
	.init = remotes_init,
	.stop = remotes_stop,
	.fini = free,
};

void block_rig_remote_hang(struct block_rig *rig, const char *name, bool on)
{
	struct remote *remote = block_rig_find(rig, "nvmf_remote", name)->runtime;

	atomic_store(&remote->hangs, on);
}

static void set(void *arg)
{
	*(bool *)arg = true;
}

void block_rig_remote_away(struct block_rig *rig, const char *name, bool away)
{
	struct remote *remote = block_rig_find(rig, "nvmf_remote", name)->runtime;
	bool gone = false;

	if (!away) {
		block_backing_up(&remote->backing, &remote->device, workers_get(rig->base.workers, 0));
		return;
	}
	block_backing_down(&remote->backing, "its path is lost", set, &gone);
	WAIT_FOR(&rig->base, gone);
}
