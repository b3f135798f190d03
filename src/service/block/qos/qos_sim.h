/* SPDX-License-Identifier: BSD-3-Clause */
/* A world of simulated time: a medium that works on several requests at once, volumes on it behind a scheduler, loads
 * on the volumes, and checks of what arrives at the medium. */
#pragma once

#include "base/histogram.h"
#include "service/block/qos/qos.h"

enum { SIM_SERVERS = 64, SIM_REQUESTS = 256 };

struct sim;

/* The medium. Each of `servers` works on one request for service_ns and byte_ps for each byte, within ± jitter percent.
 */
struct sim_medium {
	unsigned servers, jitter;
	uint64_t service_ns, byte_ps;
	uint64_t busy_until[SIM_SERVERS];
	struct dpu_block_request *working[SIM_SERVERS];
	struct dpu_block_request *first, **tail; /* in line */
	uint64_t busy_ns;                        /* sum over servers */
	uint64_t seed;
};

/* What may reach the medium: fails the test when there is more than rate × (t + burst) and the one that is arriving. */
struct sim_limit {
	double rate, burst_s; /* rate 0: any */
	double level;
	uint64_t seen_ns;
};

struct sim_request {
	struct dpu_block_request request; /* first */
	struct iovec iov;
	struct sim_load *load;
	struct sim_request *next;
	uint64_t submitted_ns;
};

/* On one volume, closed (always `depth` under way) or, with interval_ns, open (one then, or as soon as there are less
 * than `depth`). */
struct sim_load {
	unsigned depth;
	uint32_t length;
	uint64_t interval_ns;
	unsigned write_percent;
	uint64_t start_ns, stop_ns; /* stop 0: never */
	/* results, since the last sim_reset() */
	uint64_t done, bytes;
	struct histogram latency;
	/* the simulation's */
	struct sim_volume *volume;
	struct sim_request requests[SIM_REQUESTS], *free;
	unsigned under_way;
	uint64_t next_ns;
};

struct sim_volume {
	struct dpu_block_device below; /* first; what the filter sends to */
	struct dpu_block_device *device;
	struct sim *sim;
	struct sim_scheduler *scheduler;
	struct sim_limit ios, bytes, *tenant_ios, *tenant_bytes;
	struct sim_load load;
	uint64_t arrived;
	uint64_t last_tag; /* the upper half is the test's */
	unsigned cancels;  /* that came to it, the last for `cancelled` */
	const struct dpu_block_request *cancelled;
};

struct sim_scheduler {
	struct sim *sim;
	struct qos_scheduler *qos;
};

enum { SIM_VOLUMES = 64 };

struct sim {
	uint64_t now_ns;
	struct sim_medium medium;
	struct sim_scheduler scheduler[4];
	unsigned schedulers;
	struct sim_volume *volume[SIM_VOLUMES];
	unsigned volumes;
};

/* With one scheduler. */
struct sim *sim_new(unsigned servers, uint64_t service_ns, uint64_t byte_ps);
struct sim_scheduler *sim_scheduler(struct sim *sim);
void sim_free(struct sim *sim);
/* A volume with the policy (may be NULL), watched to keep within its caps. */
struct sim_volume *sim_volume(struct sim_scheduler *scheduler, struct qos_tenant *tenant,
			      const struct qos_policy *policy);
struct qos_tenant *sim_tenant(const struct qos_policy *policy);
void sim_limit(struct sim_limit *limit, double rate, const struct qos_policy *policy);
/* Begins to load it. */
void sim_load(struct sim_volume *volume, unsigned depth, uint32_t length, uint64_t interval_ns);
void sim_run(struct sim *sim, uint64_t ns);
void sim_reset(struct sim *sim);
/* Per second, since the last sim_reset() that long ago. */
double sim_rate(const struct sim_volume *volume, uint64_t ns);
