/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "nvmf": NVMe over TCP. Subsystems, namespaces, listeners and hosts of the target; both directions use
 * its groups, one for each worker: an io_uring and the streams on it. */
#pragma once

#include "operating/service.h"
#include "operating/stream.h"

struct nvmf;

extern const struct service nvmf_service;
struct nvmf *nvmf_of(const struct dpu *dpu);

/* A worker's sockets, made when it is first asked for; NULL: there is no io_uring or no memory, and err says why.
 * Control thread; the result is for use in the worker. Lives until the service is stopped. */
struct stream_group *nvmf_streams(struct nvmf *nvmf, struct worker *worker, struct dpu_error *err);
/* … its io_uring. */
struct uring *nvmf_uring(struct nvmf *nvmf, struct worker *worker, struct dpu_error *err);
