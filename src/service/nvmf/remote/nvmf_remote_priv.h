/* SPDX-License-Identifier: BSD-3-Clause */
/* Remote namespaces from inside. Control thread, but for what says that it is the worker's. */
#pragma once

#include <pthread.h>
#include "base/netaddr.h"
#include "service/block/block.h"
#include "service/nvmf/initiator/initiator.h"
#include "service/nvmf/nvmf.h"
#include "service/nvmf/remote/nvmf_remote.h"

enum { WATCH_TEXT = 160 };

enum nvmf_remote_state {
	REMOTE_CONNECTING,
	REMOTE_READY,
	REMOTE_LOST, /* no path for longer than loss_timeout: requests fail */
	REMOTE_GONE,
	REMOTE_FAILED,
	REMOTE_CLOSING,
};

struct nvmf_remote_object {
	struct object base;
	struct string_list addresses;
	char *discovery, *nqn, *host_nqn;
	uint32_t nsid;
	struct uuid namespace_uuid;
	uint16_t queues, depth;
	bool header_digest, data_digest, shared;
	uint32_t keep_alive, loss_timeout, io_timeout, quiesce;
	uint8_t policy; /* enum remote_policy */
	/* observed */
	uint8_t state; /* enum nvmf_remote_state */
	char *why, *discovered, *connects_as;
	struct string_list paths;
	uint16_t served_by;
	uint32_t live_paths, block_size;
	uint64_t bytes, requests, repeated, held, path_losses, digest_errors, aborts;
};

struct remotes {
	struct dpu *dpu;
	unsigned workers;
	TAILQ_HEAD(, nvmf_remote) all;
	TAILQ_HEAD(, doubt) doubts;
	TAILQ_HEAD(, discover) asking;
	unsigned discoveries; /* those, and others that are about to end */
	bool started, stopping, ended;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* What an object stands for; outlives it until its connections are closed. */
struct nvmf_remote {
	struct block_backing backing; /* first */
	struct remotes *remotes;
	TAILQ_ENTRY(nvmf_remote) link;
	struct object *object; /* the version in force; NULL: on its way out */
	struct uuid uuid;
	char path[OBJECT_PATH_TEXT];
	struct remote_options options;
	struct worker *worker;
	struct worker_source source;
	struct remote *remote; /* NULL: not open */
	struct watch *watch;   /* the same, and NULL without discovery */
	enum nvmf_remote_state state;
	bool stepping, closing, closing_asked, again, clean;
	bool left_soon;       /* a user is about to leave */
	bool hurried;         /* … and requests do not wait for a path any more */
	uint64_t marker_ms;   /* what the file says to a successor */
	bool paths_changed;   /* options have others than the worker was told */
	pthread_mutex_t lock; /* of status, which the worker publishes */
	struct remote_status status;
	char discovered[WATCH_TEXT]; /* … so is this */
	uint64_t published_ns;       /* the worker's, as the next */
	bool tried;                  /* control knows that it has a device, or why it has none */
};

extern const struct object_class nvmf_remote_class;
extern const char *const nvmf_remote_states[];

/* remote_address.c */
/* "192.0.2.1:4420", "[2001:db8::1]:4420", without a port: 4420. 0 or -EINVAL. */
int remote_address_parse(const char *text, struct remote_address *ret);
enum { REMOTE_ADDRESS_TEXT = IP_TEXT + 9 };
/* The same with the port, always. */
const char *remote_address_format(const struct remote_address *address, char buf[REMOTE_ADDRESS_TEXT]);

/* remote_service.c */
void remotes_stop_check(struct remotes *remotes);
void remotes_post(struct remotes *remotes, void (*fn)(void *arg), void *arg); /* any thread: fn in control */
void remotes_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg);
void *remotes_alloc(size_t bytes); /* zeroed; running out is fatal, as for all of control */

/* marker.c */
/* Without it a successor would not know: then nothing is opened. ret_ms: how long a predecessor's writes may live; 0:
 * there was none. Errors: the file cannot be written (DPU_E_IO). */
int marker_set(struct nvmf_remote *remote, uint64_t *ret_ms, struct dpu_error *err);
/* A controller that rounds up: our writes live for so long. False: it cannot be noted. Worker. */
bool marker_raise(struct nvmf_remote *remote, uint64_t ms);
/* Closed, without a write in doubt or deleted: then other remotes of the subsystem are told of those. */
void marker_clear(struct nvmf_remote *remote);
/* Without a file the machine may have been started anew, no earlier than `uptime_ms` ago: how long writes from before
 * that may live. */
uint64_t marker_young_ms(uint64_t own_ms, uint64_t uptime_ms);
void doubts_free(struct remotes *remotes);

/* watch.c: a discovery controller that is asked for the subsystem's addresses, all the time. Worker, but for what says
 * otherwise. */
struct watch;
/* Any thread, before the remote's first tick. NULL: out of memory. */
struct watch *watch_new(const struct remote_options *options, const struct remote_address *address,
			struct remote *remote);
void watch_close(struct watch *watch, void (*closed)(void *arg), void *arg);
void watch_free(struct watch *watch); /* closed, and not ticked any more */
uint64_t watch_tick(struct watch *watch, struct worker *worker, uint64_t now_ns);
/* Those of the object, beside what is found. */
void watch_set_paths(struct watch *watch, const struct remote_address *paths, unsigned count);
bool watch_knows_none(const struct watch *watch);  /* no path: none was given, and none was found when it looked */
const char *watch_text(const struct watch *watch); /* what has become of it, for people */

/* remote_object.c */
int nvmf_remote_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void nvmf_remote_remove(void *ctx, struct object *object);
void nvmf_remote_step(struct nvmf_remote *remote);
void nvmf_remote_status(struct nvmf_remote *remote, struct remote_status *ret, char discovered[WATCH_TEXT]);
void nvmf_remote_host(const struct nvmf_remote_object *object, struct remote_options *options);

/* discover_action.c */
int discover_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		   struct dpu_error *err);
void discoveries_end(struct remotes *remotes); /* soon */
extern const struct field discover_args[];
struct discover_args {
	char *address, *host_nqn;
};
