/* SPDX-License-Identifier: BSD-3-Clause */
/* The loader brings services up in the order of their requirements and takes them down in reverse.
 *
 * Control thread only. Calls in this order: loader_new, loader_classes, loader_init, [model_load], loader_start,
 * loader_stop, [model_free], loader_fini. loader_stop and loader_fini undo exactly what was reached, so a failed
 * start is cleaned up by the same calls. */
#pragma once

#include "base/error.h"
#include "operating/service.h"

enum { LOADER_MAX_SERVICES = 16 }; /* dpu.service_state */

struct loader;

/* services: NULL-terminated. Sorts them; nothing of theirs runs. */
int loader_new(const struct service *const *services, struct loader **ret, struct dpu_error *err);
/* Calls init() of each and registers its classes with dpu->model. */
int loader_init(struct loader *loader, struct dpu *dpu, struct dpu_error *err);
/* Registers the classes without any init(): for documents that are derived from the tables. */
int loader_describe(struct loader *loader, struct model *model, struct dpu_error *err);
int loader_start(struct loader *loader, struct dpu_error *err);
/* Stops what was started, one after the other, then calls done(arg) (maybe before it returns). */
void loader_stop(struct loader *loader, void (*done)(void *arg), void *arg);
/* A transaction was committed: done(arg) once all services have settled it, maybe before the return. */
void loader_settle(struct loader *loader, void (*done)(void *arg), void *arg);
void loader_fini(struct loader *loader);
void loader_free(struct loader *loader);

/* The services' own Prometheus text, concatenated; malloc'd, NULL when out of memory. */
char *loader_metrics(const struct loader *loader);
