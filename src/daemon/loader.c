/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of the services of one dpud. */
#include "daemon/loader.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"

struct loader {
	const struct service *order[LOADER_MAX_SERVICES];
	void *state[LOADER_MAX_SERVICES];
	unsigned count;
	unsigned inited;  /* order[0..inited) have been initialised */
	unsigned started; /* order[0..started) have been started */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

int loader_new(const struct service *const *services, struct loader **ret, struct dpu_error *err)
{
	unsigned count = 0;
	while (services[count])
		count++;
	if (count > LOADER_MAX_SERVICES)
		return error_set(err, DPU_E_LIMIT, NULL, "%u services are more than the %d that one dpud can hold",
				 count, LOADER_MAX_SERVICES);
	struct loader *loader = calloc(1, sizeof *loader);
	if (!loader)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	int rc = services_sort(services, count, loader->order, err);
	if (rc) {
		free(loader);
		return rc;
	}
	loader->count = count;
	*ret = loader;
	return 0;
}

void loader_free(struct loader *loader)
{
	free(loader);
}

static int add_classes(const struct service *service, struct model *model, void *state, struct dpu_error *err)
{
	for (const struct object_class *const *row = service->classes; row && *row; row++) {
		int rc = model_add_class(model, *row, state, err);
		if (rc)
			return rc;
	}
	return 0;
}

int loader_describe(struct loader *loader, struct model *model, struct dpu_error *err)
{
	for (unsigned i = 0; i < loader->count; i++) {
		int rc = add_classes(loader->order[i], model, NULL, err);
		if (rc)
			return rc;
	}
	return 0;
}

int loader_init(struct loader *loader, struct dpu *dpu, struct dpu_error *err)
{
	for (unsigned i = 0; i < loader->count; i++) {
		const struct service *service = loader->order[i];
		int rc = service->init ? service->init(dpu, &loader->state[i], err) : 0;
		if (rc)
			return rc;
		dpu->services[i] = service;
		dpu->service_state[i] = loader->state[i];
		loader->inited = i + 1;
		rc = add_classes(service, dpu->model, loader->state[i], err);
		if (rc)
			return rc;
	}
	return 0;
}

int loader_start(struct loader *loader, struct dpu_error *err)
{
	for (unsigned i = 0; i < loader->count; i++) {
		const struct service *service = loader->order[i];
		int rc = service->start ? service->start(loader->state[i], err) : 0;
		if (rc)
			return rc;
		loader->started = i + 1;
		log_debug("loader", "service started", "service=%s", service->name);
	}
	return 0;
}

static void stop_next(void *arg)
{
	struct loader *loader = arg;
	while (loader->started > 0) {
		unsigned i = --loader->started;
		if (loader->order[i]->stop) {
			loader->order[i]->stop(loader->state[i], stop_next, loader);
			return;
		}
	}
	loader->stopped(loader->stopped_arg);
}

void loader_stop(struct loader *loader, void (*done)(void *arg), void *arg)
{
	loader->stopped = done;
	loader->stopped_arg = arg;
	stop_next(loader);
}

/* ---- the end of a transaction ---- */

struct settling {
	unsigned left;
	void (*done)(void *arg);
	void *arg;
};

static void settled(void *arg)
{
	struct settling *settling = arg;

	if (--settling->left > 0)
		return;
	settling->done(settling->arg);
	free(settling);
}

void loader_settle(struct loader *loader, void (*done)(void *arg), void *arg)
{
	struct settling *settling = malloc(sizeof(*settling));

	if (!settling)
		abort(); /* what services have noted must be done */
	*settling = (struct settling){ .left = 1, .done = done, .arg = arg };
	for (unsigned i = 0; i < loader->inited; i++) {
		if (!loader->order[i]->settle)
			continue;
		settling->left++;
		loader->order[i]->settle(loader->state[i], settled, settling);
	}
	settled(settling);
}

void loader_fini(struct loader *loader)
{
	while (loader->inited > 0) {
		unsigned i = --loader->inited;
		if (loader->order[i]->fini)
			loader->order[i]->fini(loader->state[i]);
	}
}

char *loader_metrics(const struct loader *loader)
{
	char *all = strdup("");
	size_t length = 0;
	for (unsigned i = 0; all && i < loader->inited; i++) {
		char *text = loader->order[i]->metrics ? loader->order[i]->metrics(loader->state[i]) : NULL;
		if (!text)
			continue;
		size_t more = strlen(text);
		char *grown = realloc(all, length + more + 1);
		if (grown) {
			memcpy(grown + length, text, more + 1);
			length += more;
		} else {
			free(all);
		}
		all = grown;
		free(text);
	}
	return all;
}
