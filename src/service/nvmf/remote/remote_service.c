// SPDX-License-Identifier: BSD-3-Clause
/* The service "nvmf_remote": its start and stop. */
#include <stdlib.h>
#include "service/nvmf/remote/nvmf_remote_priv.h"

void *remotes_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory)
		abort();
	return memory;
}

void remotes_post(struct remotes *remotes, void (*fn)(void *arg), void *arg)
{
	if (loop_post(remotes->dpu->loop, fn, arg) != 0)
		abort(); /* out of memory */
}

void remotes_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg)
{
	if (worker_call(worker, fn, arg, NULL) != 0)
		abort(); /* out of memory */
}

/* ---- life ---- */

static int service_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct remotes *remotes = remotes_alloc(sizeof(*remotes));

	remotes->dpu = dpu;
	remotes->workers = workers_count(dpu->workers);
	TAILQ_INIT(&remotes->all);
	TAILQ_INIT(&remotes->doubts);
	TAILQ_INIT(&remotes->asking);
	*ret_state = remotes;
	return 0;
}

static int service_start(void *state, struct dpu_error *err)
{
	struct remotes *remotes = state;
	struct nvmf_remote *remote;

	remotes->started = true;
	TAILQ_FOREACH(remote, &remotes->all, link)
	nvmf_remote_step(remote);
	return 0;
}

void remotes_stop_check(struct remotes *remotes)
{
	const struct nvmf_remote *remote;

	if (!remotes->stopping || remotes->ended || remotes->discoveries > 0)
		return;
	TAILQ_FOREACH(remote, &remotes->all, link)
	{
		if (remote->remote || remote->stepping)
			return;
	}
	remotes->ended = true;
	remotes->stopped(remotes->stopped_arg);
}

static void service_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct remotes *remotes = state;
	struct nvmf_remote *remote, *next;

	remotes->stopping = true;
	remotes->stopped = done;
	remotes->stopped_arg = arg;
	discoveries_end(remotes);
	for (remote = TAILQ_FIRST(&remotes->all); remote; remote = next) {
		next = TAILQ_NEXT(remote, link);
		if (remote->remote)
			nvmf_remote_step(remote);
	}
	remotes_stop_check(remotes);
}

static void service_fini(void *state)
{
	doubts_free(state);
	free(state);
}

static const struct object_class *const classes[] = { &nvmf_remote_class, NULL };
static const char *const requires[] = { "block", "nvmf", NULL }; /* its sockets */

const struct service nvmf_remote_service = {
	.name = "nvmf_remote",
	.requires = requires,
	.classes = classes,
	.init = service_init,
	.start = service_start,
	.stop = service_stop,
	.fini = service_fini,
};
