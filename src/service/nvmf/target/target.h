/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe/TCP target as a part of the nvmf service: its objects, and its life. Control thread. */
#pragma once

#include "base/error.h"
#include "model/model.h"

struct nvmf;
struct target;

extern const struct object_class nvmf_subsystem_class, nvmf_namespace_class, nvmf_host_class, nvmf_listener_class,
	nvmf_referral_class;

struct target *target_new(struct nvmf *nvmf);
int target_start(struct target *target, struct dpu_error *err);
/* Ends all connections and takes everything out of the workers, then done(arg). */
void target_stop(struct target *target, void (*done)(void *arg), void *arg);
void target_free(struct target *target);
/* service.settle */
void target_settle(struct target *target, void (*done)(void *arg), void *arg);
