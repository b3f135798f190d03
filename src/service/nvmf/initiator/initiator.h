/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's side of NVMe/TCP: a namespace of a remote subsystem as a block device, over one or more paths.
 *
 * Each path is a controller of the subsystem: an admin and some I/O queues, a TCP connection each. Lost paths are
 * connected again with back-off. Requests go over the paths that ANA calls best, wait while there is none, and are
 * repeated on another path when theirs is lost, by the rules of DESIGN.md that make this safe.
 *
 * Threads: all in the worker that has the stream group's io_uring, except where said. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <dpu/block.h>
#include "base/error.h"
#include "device/nvme/nvme_spec.h"
#include "operating/stream.h"
#include "operating/worker.h"

enum {
	REMOTE_PATHS_MAX = 8,
	REMOTE_QUEUES_MAX = 16,
	REMOTE_DEPTH_MAX = 1024,
	REMOTE_WHY_BYTES = 192,
	REMOTE_PATH_TEXT = 64,
};

enum remote_policy {
	REMOTE_ROUND_ROBIN,
	REMOTE_QUEUE_DEPTH, /* the path with the least under way */
};

struct remote_address {
	struct sockaddr_storage address;
	socklen_t bytes;
};

/* 0 means the default in brackets. */
struct remote_options {
	struct stream_group *streams;
	struct remote_address paths[REMOTE_PATHS_MAX];
	unsigned path_count;
	char subnqn[NVME_NQN_BYTES], hostnqn[NVME_NQN_BYTES];
	uint8_t hostid[16];
	uint32_t nsid; /* of the namespace; 0: the one with `uuid`, or if that is zero, too, the first that there is */
	uint8_t uuid[16]; /* … which it must have if this is not zero */
	unsigned queues;  /* I/O queues of a path [1] */
	unsigned depth;   /* commands of a queue [128] */
	bool header_digest, data_digest;
	unsigned keep_alive_ms; /* [5000], at least 1000 */
	unsigned loss_ms;       /* requests wait so long for a path, then they fail until there is one [600000] */
	unsigned timeout_ms;    /* of a command: then it is aborted, then its path is given up [30000] */
	unsigned retry_ms;      /* first pause before a path is connected again, doubled up to retry_max_ms [500] */
	unsigned retry_max_ms;  /* [10000] */
	unsigned quiesce_ms;    /* what a controller may still do after its keep-alive timer has expired [1000] */
	enum remote_policy policy;
	bool shared;        /* other hosts write it, too: no write is repeated before its old path is dead */
	uint64_t fenced_ms; /* a predecessor may have left writes under way: ours wait so long, until those are dead */
};

struct remote;

/* From the worker; `remote` may be closed in them. */
struct remote_events {
	/* There is a device now, for the first time since remote_new(). */
	void (*up)(void *ctx, struct dpu_block_device *device);
	/* The namespace was deleted or is another one now: all requests fail with DPU_BLOCK_GONE from now on. */
	void (*gone)(void *ctx);
	/* A path has come or been lost, with the reason. May be NULL. */
	void (*path)(void *ctx, const struct remote_address *address, bool live, const char *why);
	/* What is lost with a path to this controller may be carried out for so long after, more than twice the
	 * keep-alive and `quiesce_ms`, because it rounds up: for a successor's fenced_ms. Before it is sent anything
	 * that modifies. False: it cannot be noted, and the path is not used. May be NULL. */
	bool (*outlives)(void *ctx, uint64_t ms);
};

/* Any thread before the io_uring's first poll, else the worker. Errors name the option. */
int remote_new(const struct remote_options *options, const struct remote_events *events, void *ctx, struct remote **ret,
	       struct dpu_error *err);
/* The paths are these from now on, the first REMOTE_PATHS_MAX that differ: one that stays is not touched, one that is
 * not among them gets no more requests and goes when it has answered those that it has. */
void remote_set_paths(struct remote *remote, const struct remote_address *paths, unsigned count);
bool remote_address_is(const struct remote_address *a, const struct remote_address *b); /* the same */
bool remote_address_among(const struct remote_address *address, const struct remote_address *paths, unsigned count);
/* Its users are leaving: requests wait for a path for a second at most. */
void remote_hurry(struct remote *remote);
/* Gives the association back in order where it can, fails what waits with DPU_BLOCK_GONE, then calls done. The device's
 * own close is the same. */
void remote_close(struct remote *remote, void (*done)(void *arg), void *arg);
/* Of a closed one: no write of unknown fate is left behind. */
bool remote_is_clean(const struct remote *remote);
/* Closed, and its source removed from the worker. */
void remote_free(struct remote *remote);
/* Timers; for worker_add_source(), or ticked by hand. */
struct worker_source *remote_source(struct remote *remote);

enum remote_path_state { REMOTE_PATH_WAITING, REMOTE_PATH_CONNECTING, REMOTE_PATH_LIVE };

struct remote_path_status {
	struct remote_address address;
	enum remote_path_state state;
	enum nvme_ana_state ana;
	uint16_t cntlid;
	unsigned queues, depth; /* as agreed */
	unsigned under_way;
	uint64_t connects, losses, commands, digest_errors, aborts;
	char why[REMOTE_WHY_BYTES];      /* why it is not live */
	char lost_why[REMOTE_WHY_BYTES]; /* … was lost last */
};

struct remote_status {
	uint64_t bytes;
	uint32_t sector, nsid, features;
	bool up, gone;
	bool lost; /* without a path for longer than loss_ms: requests fail */
	unsigned path_count;
	uint64_t requests, repeated, waiting, held; /* held: by a fence; so far */
	uint64_t losses, digest_errors, aborts;     /* of all paths, also those that it has no more */
	struct remote_path_status paths[REMOTE_PATHS_MAX];
};

void remote_status(const struct remote *remote, struct remote_status *ret);

/* ---- discovery ---- */

struct nvme_discovery_entry;

struct discovery_options {
	struct stream_group *streams;
	struct remote_address address;
	char hostnqn[NVME_NQN_BYTES];
	uint8_t hostid[16];
	unsigned timeout_ms; /* for a reading of the log, with the connecting before it [10000] */
	/* Stays connected, connects again when it is lost, and reads the log whenever it changes. */
	bool persistent;
	unsigned keep_alive_ms; /* … [5000] */
};

struct remote_discovery;

/* Asks a discovery controller for its log once, then leaves. done: error NULL = entries, valid in the call; persistent:
 * after every reading and every failure. Any thread before the io_uring's first poll, or if persistent; else the
 * worker. */
int remote_discovery_start(const struct discovery_options *options,
			   void (*done)(void *ctx, const struct nvme_discovery_entry *entries, unsigned count,
					const char *error),
			   void *ctx, struct remote_discovery **ret, struct dpu_error *err);
struct worker_source *remote_discovery_source(struct remote_discovery *discovery);
/* After done, in it, or before it (done is not called any more then). closed may run before the return. */
void remote_discovery_close(struct remote_discovery *discovery, void (*closed)(void *arg), void *arg);
void remote_discovery_free(struct remote_discovery *discovery); /* closed, and its source removed */
