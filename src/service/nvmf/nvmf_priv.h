/* SPDX-License-Identifier: BSD-3-Clause */
/* The nvmf service from inside. */
#pragma once

#include "operating/uring.h"
#include "service/nvmf/nvmf.h"

struct target;

/* What a worker has for NVMe over TCP. */
struct nvmf_group {
	struct nvmf *nvmf;
	struct worker *worker;
	struct uring *uring; /* NULL: not made yet */
	struct stream_group *streams;
};

struct nvmf {
	struct dpu *dpu;
	unsigned workers;
	struct nvmf_group *groups; /* by worker */
	struct target *target;
	unsigned closing;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

void *nvmf_alloc(size_t bytes); /* zeroed; running out is fatal, as for all of control */
char *nvmf_text(const char *text);
void nvmf_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg, void (*done)(void *arg));
void nvmf_post(struct nvmf *nvmf, void (*fn)(void *arg), void *arg); /* any thread: fn in control */
struct nvmf_group *nvmf_group(struct nvmf *nvmf, struct worker *worker, struct dpu_error *err);
