/* SPDX-License-Identifier: BSD-3-Clause */
/* The target from inside. Objects have items (what is wanted of them, in control); a subsystem lives in one worker, its
 * home: that of the first device of its namespaces, or, if a host comes first, one chosen by its slot. What workers do
 * comes to them by worker_call() in the order of control, and back by loop_post(). */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "device/nvme/nvme_target.h"
#include "operating/helpers.h"
#include "service/block/block.h"
#include "service/nvmf/nvmf_priv.h"
#include "service/nvmf/target/objects.h"
#include "service/nvmf/target/target.h"

enum {
	HANDSHAKES_MAX = 1024,
	HANDSHAKE_S = 10,
	SOURCES = 256,    /* buckets of hosts' addresses */
	WATCH_S = 1,      /* whether what namespaces wait for has failed */
	STARTING_S = 10,  /* after a start hosts are put off for so long while a namespace has no device, */
	RECOVERY_S = 120, /* … and so long while its pool is being recovered */
	ACCEPT_PAUSE_MS = 100,
	LISTEN_BACKLOG = 1024,
	CONNECTIONS_MAX = 16384,
	DRAIN_S = 5, /* after a C2HTermReq, 3.5 */
};

/* What an object in force, or on its way out, is for us. First in the struct of each kind. */
struct item {
	struct target *target;
	struct object *object; /* the version in force; NULL: it is going */
	struct uuid uuid;
	bool gone;           /* it is on its way out and does not turn back: another of the same object waits for it */
	uint64_t changed_by; /* number of the last transaction that did; 0: it was there when we started */
	unsigned draining;   /* steps under way that last as long as requests may */
	TAILQ_ENTRY(item) link;
};
TAILQ_HEAD(items, item);

struct subsystem;

/* ---- in the workers ---- */

/* What a tenant has of a worker's memory for data, as long as one of its subsystems is at home there. Control's; the
 * figures are the worker's. */
struct tenant_part {
	struct nvme_tenant memory;
	struct uuid uuid; /* of the tenant; zeroes: discovery's */
	unsigned subsystems;
	LIST_ENTRY(tenant_part) link;
};

/* A worker's part of the target. */
struct target_group {
	struct target *target;
	struct nvmf_group *nvmf;
	struct nvme_pool *pool;
	struct worker_source source; /* keep-alive timers, connections that drain */
	LIST_HEAD(, subsystem) subsystems;
	LIST_HEAD(, connection) draining;
	LIST_HEAD(, tenant_part) tenants;
	bool ready;
};

/* One TCP connection: first in control (the handshake), then in the home of its subsystem. */
struct connection {
	struct target *target;
	struct nvme_queue *queue;
	int fd; /* the handshake's; -1 once it is a stream's */
	uint16_t port;
	/* handshake */
	struct loop_fd *watch;
	struct loop_timer *timer;
	TAILQ_ENTRY(connection) link;
	uint8_t *bytes; /* read and not consumed */
	size_t count;
	struct item *listener;                /* NULL: gone */
	uint8_t source;                       /* bucket of the host's address */
	bool over;                            /* the queue is gone: only the end of the peer's bytes is waited for */
	bool ending, graceful;                /* the queue has asked for its end */
	const struct nvme_connect_data *asks; /* … where it belongs; NULL: it has not */
	/* worker */
	struct subsystem *subsystem;
	struct target_group *group;
	struct stream *stream;
	struct stream_take take;
	struct iovec take_iov;
	bool closing, draining;
	LIST_ENTRY(connection) drain, of_subsystem;
	uint64_t deadline_ns;
};

/* ---- control's items ---- */

struct seen_controller {
	uint16_t cntlid, port, queues;
	uint64_t digest_errors; /* as last told: at least */
	char hostnqn[NVME_NQN_BYTES];
	TAILQ_ENTRY(seen_controller) link;
};

struct subsystem {
	struct item item; /* first; of the discovery subsystem without an object */
	char nqn[NVME_NQN_BYTES];
	bool discovery;
	struct worker *home; /* NULL: not yet */
	struct target_group *group;
	struct nvme_subsystem *nvme; /* the worker's */
	struct nvme_account account; /* … */
	struct tenant_part *part;
	LIST_ENTRY(subsystem) link;          /* … of its group */
	LIST_HEAD(, connection) connections; /* … that have been adopted and are not freed */
	bool leaving;                        /* … free it when they are */
	bool removing, taken;                /* control: the worker was told to end connections, to let go */
	unsigned namespaces;                 /* items of its own that are there */
	uint32_t last_nsid;                  /* that a namespace was given; 0: none */
	TAILQ_HEAD(, seen_controller) controllers;
	unsigned queues;
	_Atomic uint64_t refused; /* Connects; counted by control and the worker */
	uint64_t keep_alive_expired;
	uint8_t *config; /* that the worker has or is getting: see subsystem.c */
	size_t config_bytes;
};

enum namespace_state { NAMESPACE_WAITING, NAMESPACE_READY, NAMESPACE_FAILED, NAMESPACE_LEAVING };

struct namespace
{
	struct item item; /* first */
	struct subsystem *subsystem;
	struct block_attachment *attachment;
	struct worker *attached_for; /* the worker that it was made for, NULL: any */
	unsigned told;               /* what the worker was told, and control does not know to have arrived */
	bool detaching, misplaced;   /* misplaced: the device is in another worker, it must be attached anew */
	bool adding, added, removing;
	struct nvme_namespace *nvme; /* the worker's; control looks at it while `added` */
	struct nvme_namespace_options options;
	struct dpu_block_device *device;   /* that we have been given */
	const _Atomic uint64_t *allocated; /* … what it takes; NULL: it is not thin */
	bool given;                        /* … and the worker, too */
	bool given_up;                     /* … was told that nobody waits for it any more */
	bool failed;                       /* why says it */
	bool lost;                         /* its backing has failed, and the worker knows */
	uint64_t lost_bytes;
	bool restored, seen; /* it was there when we started; it has had a device */
	uint8_t *image;
	size_t image_bytes;
	char why[640];
};

struct listener {
	struct item item; /* first */
	int fd;
	struct loop_fd *watch;
	struct loop_timer *retry; /* of binding; of accepting, while that pauses */
	struct sockaddr_storage bound;
	uint16_t port_id;
	char why[160];
	uint64_t accepted, dropped, pauses, protocol_errors;
	unsigned handshakes;
};

struct host {
	struct item item; /* first */
};

struct referral {
	struct item item; /* first */
};

struct target {
	struct nvmf *nvmf;
	struct target_group *groups; /* by worker */
	struct helpers *helpers;
	struct items subsystems, namespaces, listeners, hosts, referrals;
	struct subsystem *discovery;
	TAILQ_HEAD(, connection) handshakes;
	unsigned handshake_count;
	unsigned sources[SOURCES]; /* handshakes by the host's address */
	uint64_t started_ns;
	atomic_uint connections;
	bool started, stopping, step_posted;
	struct loop_timer *watch;
	unsigned under_way; /* of asynchronous steps of control that are short: all wait for them */
	void (*stopped)(void *arg), (*stop_done)(void *arg);
	void *stopped_arg;
	TAILQ_HEAD(, settler) settlers;
	uint64_t settlings; /* how many there were */
	struct discovery_log *log;
	uint64_t generation;
	char reservation_dir[4096];
};

/* ---- items ---- */

/* In apply(): the item of this object, made if there is none. */
struct item *item_apply(struct target *target, struct items *items, size_t bytes, struct object *new);
struct item *item_find(struct items *items, const struct uuid *uuid); /* not one that is gone */
/* Whether one of the same object is still on its way out. */
bool item_waits(const struct items *items, const struct item *item);
void item_free(struct items *items, struct item *item);
void item_remove(struct items *items, struct object *object);
/* Brings what is nearer to what is wanted, now or from the loop. */
void target_step(struct target *target);
void target_step_soon(struct target *target);
void step_begin(struct target *target);
void step_end(struct target *target); /* and goes on with what waited for it */
/* The same, of what takes as long as requests that are under way: only who has changed this very item waits for it. */
void item_drain_begin(struct item *item);
void item_drain_end(struct item *item);

/* ---- subsystem.c ---- */

struct subsystem *subsystem_find(struct target *target, const char *nqn);
/* It gets a home unless it has one: `wanted`, or one by its slot. False: the worker cannot (why is logged). */
bool subsystem_settle(struct subsystem *subsystem, struct worker *wanted);
struct subsystem *subsystem_new_discovery(struct target *target);
void subsystem_step(struct subsystem *subsystem);
/* Whether hosts are put off: it was there before a restart, and so were namespaces that are not back yet. A host that
 * connects would take them for removed. */
bool subsystem_is_starting(const struct subsystem *subsystem);
/* The hosts that are allowed by name: NQNs of the model's; count in *ret. The array is the caller's. */
const char **subsystem_hosts(const struct subsystem *subsystem, unsigned *ret_count);
bool subsystem_any_host(const struct subsystem *subsystem);
void subsystem_connection_gone(struct subsystem *subsystem); /* in the worker */
bool listener_serves(const struct listener *listener, const struct subsystem *subsystem);

/* ---- namespace.c ---- */

void namespace_step(struct namespace *ns);
void namespace_let_go(struct namespace *ns); /* of its device, and what that is on; it may be given it again */
const struct object *namespace_backing(const struct namespace_object *object);
/* Whether hosts do not see it yet because the namespace that had its number has not ended. */
bool namespace_waits_for_nsid(const struct namespace *ns);
/* Whether it waits for a device that comes in a moment. */
bool namespace_is_soon(const struct namespace *ns);
/* One that waits for a device that will not come is shown to hosts as inaccessible. False: it waits for none. */
bool namespace_check(struct namespace *ns);
void namespace_policy(struct namespace *ns); /* may have changed */

/* ---- listener.c, handshake.c, connection.c ---- */

void listener_step(struct listener *listener);
void listener_ana(const struct listener *listener, uint8_t ret[NVME_TARGET_ANA_GROUPS]);
void handshake_begin(struct listener *listener, int fd, const struct sockaddr_storage *peer);
void handshakes_end(struct target *target, const struct item *listener); /* NULL: all */
/* The connection goes to the home of its subsystem. */
void connection_send_home(struct connection *connection, struct subsystem *subsystem);
void connections_end(struct subsystem *subsystem); /* in the worker: those that are nobody's queue, too */
uint64_t connections_tick(struct target_group *group, uint64_t now_ns);
extern const char *const listener_ana_names[];
bool listener_ana_group(const char *text); /* whether it is GROUP=STATE */
bool listener_ana_parse(const char *text, uint8_t states[NVME_TARGET_ANA_GROUPS]);

/* ---- discovery.c ---- */

/* The log as the objects have it; to the worker, if it differs. */
void discovery_update(struct target *target);
void discovery_push(struct target *target);
void discovery_free(struct target *target);

/* ---- reservation_file.c ---- */

/* The image of a namespace's reservations, checked, or NULL and 0 if there is no file. False: why says what is wrong
 * with which file. Control's: one read of at most RESERVATION_IMAGE_BYTES_MAX (2 KiB), when a namespace begins. */
bool reservation_file_read(const struct target *target, const struct uuid *uuid, uint8_t **ret, size_t *ret_bytes,
			   char *why, size_t why_bytes);
void reservation_files_tidy(const struct target *target); /* at the start */
void reservation_file_delete(const struct target *target, const struct uuid *uuid);
void reservation_persist(void *ctx, struct nvme_namespace *ns, const void *image, size_t bytes,
			 void (*done)(void *arg, int error), void *arg);
