/* SPDX-License-Identifier: BSD-3-Clause */
/* Services: what the daemon is made of above layer 2. Each is one const descriptor; the daemon's loader sorts them by
 * `requires`, refuses missing and circular requirements, starts them in order and stops them in reverse. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"
#include "model/model.h"
#include "operating/worker.h"

struct rte_mempool;
struct service;

/* What a service may use: one per dpud, valid from before the first start to after the last stop. */
struct dpu {
	const char *instance;  /* name of this dpud: "dpu0" */
	const char *run_dir;   /* sockets, pid file: /run/softdpu/INSTANCE */
	const char *state_dir; /* tmpfs: sessions, in-flight regions; equals run_dir where that is on tmpfs */
	const char *store_dir; /* persistent: /var/lib/softdpu/INSTANCE */
	const char
		*image_dir; /* images of volumes are read and written here and nowhere else; NULL: STORE_DIR/images */
	const char *module_dir;  /* out-of-tree modules are loaded from here and nowhere else */
	const char *capture_dir; /* packet captures are written here and nowhere else; NULL = none are allowed */
	struct loop *loop;
	struct model *model;
	struct workers *workers;
	struct rte_mempool *pool; /* packet buffers */
	bool huge_pages;
	uint32_t max_sessions;              /* of the whole DPU */
	uint32_t zero_copy_bytes;           /* TCP streams send in place what is at least so long; 0: never */
	const struct service *services[16]; /* in the loader's order */
	void *service_state[16];            /* what init() of each returned; see service_find() */
};

struct service {
	const char *name;
	const char *const *requires; /* NULL-terminated names; may be NULL */
	/* Classes are registered before anything starts, with the pointer that init() returned as their ctx. */
	const struct object_class *const *classes; /* NULL-terminated; may be NULL */

	/* In this order: init (allocate; no model yet), [store replay], start (everything is configured, begin work).
	 */
	int (*init)(struct dpu *dpu, void **ret_state, struct dpu_error *err);
	int (*start)(void *state, struct dpu_error *err);
	/* Quiesce: take sources from workers, then done(arg). [model_free() takes objects out of force here.] */
	void (*stop)(void *state, void (*done)(void *arg), void *arg);
	void (*fini)(void *state);
	/* A transaction was committed, its objects are in force: done(arg) once what it asks for has been carried out
	 * or has failed, maybe before the return. The transaction is answered when all services have said so. NULL:
	 * apply() has done everything. */
	void (*settle)(void *state, void (*done)(void *arg), void *arg);
	/* More Prometheus text (malloc'd), beside what the model derives from the tables; may be NULL. */
	char *(*metrics)(void *state);
};

/* What init() of a service returned; NULL when it has not run. */
static inline void *service_find(const struct dpu *dpu, const struct service *service)
{
	for (unsigned i = 0; i < sizeof(dpu->services) / sizeof(dpu->services[0]); i++)
		if (dpu->services[i] == service)
			return dpu->service_state[i];
	return (void *)0;
}

/* The loader (src/daemon/loader.c) sorts services by requirements into order[]; returns 0 or DPU_E_INVALID naming the
 * missing one or the circle. */
int services_sort(const struct service *const *services, unsigned count, const struct service **order,
		  struct dpu_error *err);
