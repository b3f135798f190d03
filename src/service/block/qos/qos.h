/* SPDX-License-Identifier: BSD-3-Clause */
/* Quality of service of volumes, and where the time of their requests goes: a filter that sits on a volume, below all
 * of its front ends, and one scheduler for those that stand on the same media.
 *
 * Tenants have a policy, and so has each of their volumes; a request needs both. What is guaranteed goes first, as soon
 * as it is due, whoever else has how much waiting; what is left of the medium is shared by weight, between tenants and
 * then between the volumes of each. So that a guarantee is worth something, what is not guaranteed may have only so
 * much under way at the medium as keeps it busy (window.c finds out how much that is); as long as nobody has a
 * guarantee or a weight, it may have any number, and a request passes with no more than its times being taken.
 *
 * What counts: each request is one I/O, and its bytes are bytes. A discard or write zeroes counts 4 KiB for each
 * started MiB, a flush no bytes. For a guarantee of I/Os, and for weights, large requests count as several: one for
 * each started 64 KiB. Nothing is split, and no size starves: what a large request took too much is waited for
 * afterwards.
 *
 * Requests of a volume keep their order, but for a user who is in a hurry. A flush waits for its turn like the others;
 * it promises nothing about those that are still waiting, because they are not completed.
 *
 * Threads: a tenant is made and changed in any one thread; everything else belongs to the scheduler's worker. Its time
 * is what `now_ns` says; nothing sleeps here. */
#pragma once

#include <dpu/block.h>
#include "base/histogram.h"

struct qos_scheduler;
struct qos_tenant;

enum {
	QOS_RATE_MAX = 1000000000, /* I/Os per second */
	QOS_BANDWIDTH_MIN = 1024,  /* bytes per second */
	QOS_WEIGHT_MAX = 10000,
	QOS_WEIGHT_DEFAULT = 100,
};

struct qos_policy {
	/* Per second, 0: none. A guarantee of both holds for what stays within both. */
	uint64_t guarantee, guarantee_bytes; /* I/Os, bytes */
	uint64_t cap, cap_bytes;
	/* How much of a cap may be saved up in idle times: as much as it is in so long. 0: 100 ms. */
	uint64_t burst_ns;
	uint32_t weight; /* up to QOS_WEIGHT_MAX; 0: not said, counts as QOS_WEIGHT_DEFAULT */
};

/* ---- tenants ---- */

/* -ENOMEM. Freed when its last volume has gone, too. */
int qos_tenant_new(struct qos_tenant **ret);
void qos_tenant_unref(struct qos_tenant *tenant);
/* Rates are in force at once. That there is a cap, a guarantee or a weight where there was none, each scheduler sees
 * with qos_scheduler_sync(), or within a millisecond if it is polled anyway. */
void qos_tenant_set(struct qos_tenant *tenant, const struct qos_policy *policy, uint64_t now_ns);

/* ---- a scheduler: of the volumes of a worker that stand on the same media ---- */

/* What schedulers of one worker have in common, who share its time though not their media. Zeroed at first; outlives
 * them. */
struct qos_worker {
	uint32_t guards;      /* nodes with a guarantee or a weight */
	const void *last;     /* the volume that was served */
	uint64_t switched_ns; /* when it was another one than before */
};

struct qos_scheduler_options {
	struct qos_worker *worker;     /* NULL: it is the only one there */
	uint64_t (*now_ns)(void *ctx); /* as of this round */
	uint64_t (*cycles)(void *ctx); /* NULL: the processor's */
	void *ctx;
	/* A number that changes whenever the thread turns to something else: what follows each other while it stays may
	 * be timed by one look at the cycle counter. NULL: each is looked at. */
	const uint32_t *turn;
};

int qos_scheduler_new(const struct qos_scheduler_options *options, struct qos_scheduler **ret);
/* Its volumes have been closed. */
void qos_scheduler_free(struct qos_scheduler *scheduler);
/* Every round: gives the media what may go. Returns how much. */
unsigned qos_scheduler_poll(struct qos_scheduler *scheduler);
/* It has no volumes and is to be for other media. */
void qos_scheduler_reset(struct qos_scheduler *scheduler);
/* Looks at the policies of all tenants. */
void qos_scheduler_sync(struct qos_scheduler *scheduler);
/* When it has to be polled though nothing completes: ns of its clock, UINT64_MAX never. */
uint64_t qos_scheduler_due_ns(const struct qos_scheduler *scheduler);

/* ---- volumes ---- */

/* The filter on `below`. qos_new: any thread, while nobody uses `below`, whose `changed` it sets; then qos_join before
 * the first request. qos_open: both. -ENOMEM, and from qos_join nothing has happened. Closing it answers what waits
 * with DPU_BLOCK_GONE, waits for what is under way, and leaves `below` alone. */
int qos_new(struct dpu_block_device *below, struct dpu_block_device **ret);
int qos_join(struct dpu_block_device *device, struct qos_scheduler *scheduler, struct qos_tenant *tenant);
int qos_open(struct qos_scheduler *scheduler, struct qos_tenant *tenant, struct dpu_block_device *below,
	     struct dpu_block_device **ret);
void qos_set(struct dpu_block_device *device, const struct qos_policy *policy);
/* What is below is a medium itself: all time there counts as the medium's. Before the first request. */
void qos_on_medium(struct dpu_block_device *device);
/* As the device's submit, for one of several users: any pointer but NULL to what is aligned to 8 bytes. With hurry it
 * does not wait; what goes past caps is owed to them, so that who comes next waits for it. */
void qos_submit(struct dpu_block_device *device, struct dpu_block_request *request, const void *user, bool hurry);
/* On: what the user has waiting here goes down like this now: he waits for all of it. user NULL: the one who uses the
 * device's submit, and what he still submits as well, until it is off. */
void qos_hurry(struct dpu_block_device *device, const void *user, bool on);
/* The volume is to go, and its users wait for what they have submitted: what waits goes down now, whatever the caps
 * say, and so does what still comes. */
void qos_drain(struct dpu_block_device *device);

/* ---- where the time goes ---- */

/* Of a request, in this order. */
enum qos_stage {
	QOS_STAGE_WAIT,   /* for its turn */
	QOS_STAGE_MAP,    /* in the volume's own code: maps, CRCs, the log; all of it if no medium was asked */
	QOS_STAGE_MEDIUM, /* from when the first medium had it until the last gave it back */
	QOS_STAGE_WHOLE,
	QOS_STAGES,
};
enum qos_class { QOS_READS, QOS_WRITES, QOS_OTHERS /* flush, discard, write zeroes, compare */, QOS_CLASSES };
extern const char *const qos_stage_names[QOS_STAGES], *const qos_class_names[QOS_CLASSES];

enum { QOS_SLOWEST = 8 };

/* One of the slowest requests of about the last minute. */
struct qos_slow {
	uint64_t offset, length, ended_ns;
	uint8_t op, status;
	uint64_t ns[QOS_STAGES];
};

struct qos_stats {
	uint64_t requests, passed; /* passed: without having waited */
	uint64_t promised;         /* that went by a guarantee, at once or not */
	uint64_t waiting, under_way;
};

/* Any thread. A request that did not wait, or was at no medium, is one of no time there. */
void qos_latency(const struct dpu_block_device *device, enum qos_class class, enum qos_stage stage,
		 struct histogram *ret);
void qos_stats(const struct dpu_block_device *device, struct qos_stats *ret);
/* Slowest first; returns how many. */
unsigned qos_slowest(const struct dpu_block_device *device, struct qos_slow ret[QOS_SLOWEST]);

/* What the scheduler allows what is not guaranteed to have under way at the moment; 0: as much as they like. */
unsigned qos_window(const struct qos_scheduler *scheduler);
