/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "block": media, pools, volumes and snapshots as objects, and what others do with them. Front ends (disks,
 * NVMe namespaces) attach to an object and get its device when there is one; services whose own objects are block
 * devices (remote namespaces) offer them here, and get pools and front ends as users.
 *
 * Control thread, unless said otherwise. */
#pragma once

#include <sys/queue.h>
#include <dpu/block.h>
#include "operating/service.h"

struct block;
struct block_attachment;

extern const struct service block_service;
struct block *block_of(const struct dpu *dpu);

/* ---- users: front ends ---- */

/* Devices come and go: a pool opens late, a remote path breaks, a volume is quarantined. */
struct block_user {
	/* A device: from now on requests may be submitted to it, in `worker` alone. It is this user's own view: it may
	 * set `changed`, finds what the filters below have said in `features`, and needs not poll.
	 * NULL: it is going. The user stops submitting, waits until nothing is outstanding (what is, completes, if it
	 * must with DPU_BLOCK_GONE), and then says block_released(), maybe in this call. Another may come later.
	 * Called from the loop or from block_detach(), never from within block_attach(). */
	void (*device)(void *ctx, struct dpu_block_device *device, struct worker *worker);
	void *ctx;
	/* Where the user wants to submit; a device that lives elsewhere is handed over by rings. NULL: where it lives.
	 */
	struct worker *worker;
	/* On a medium or a remote namespace, which belong to nobody: the object whose requests these are, which counts
	 * against its tenant, and what it is guaranteed and may beside that (a qos_policy; NULL: nothing). Volumes and
	 * snapshots say that themselves. object NULL: nobody's, as those of a pool. Looked at in block_attach(). */
	const struct object *object, *policy;
};

/* Attaches to what an object stands for: volume, snapshot, medium, or an object of another service that is a backing.
 * May be called in apply(), also before there is a device. Never fails: out of memory is fatal, as it is for all of
 * control. The object may be replaced by new versions; it must not go before the attachment (a reference sees to it).
 */
struct block_attachment *block_attach(struct block *block, const struct object *object, const struct block_user *user);
/* The user's object has another policy now, or none. In apply(): it is in force when the transaction is. */
void block_set_policy(struct block_attachment *attachment, const struct object *policy);
/* Answers device(NULL): the device that came last is no more touched. */
void block_released(struct block_attachment *attachment);
/* With on, the user waits for all that it has submitted, and what it submits still: no cap keeps that back, but what
 * passes one is owed to it. Whoever is asked to give the device back is in a hurry without this. Off again with a new
 * device. */
void block_hurry(struct block_attachment *attachment, bool on);
/* The user detaches once what it has submitted has ended, which is not to wait for what is away. */
void block_leaving(const struct block_attachment *attachment);
/* Calls device(NULL) if a device is there that was not asked back yet. Once it is released, done(arg) runs, maybe
 * before the return, and attachment is no more. May be called in apply() or remove(), when the object is on its way
 * out, too. */
void block_detach(struct block_attachment *attachment, void (*done)(void *arg), void *arg);

/* Why an object has no device at the moment, as a sentence for people; NULL: it has one. Valid until the next call. */
const char *block_why_not(const struct object *object);
/* Whether it has none because what it stands on is being opened or recovered at the moment, however long that takes. */
bool block_is_coming(const struct object *object);
/* Whether it has one, or what a transaction asked of it is still being tried, so that it may have one in a moment: who
 * attached waits for device(). Volumes, snapshots and media. */
bool block_is_soon(const struct object *object);
/* Whether it has no device and gets none until somebody does something: its pool could not be opened, or its map is
 * damaged. *ret_bytes: how large it is as far as the objects know. */
bool block_has_failed(const struct object *object, uint64_t *ret_bytes);

/* The bytes that it maps of its pool, counted on as it changes, some 50 ms late; NULL: it is no volume or snapshot. For
 * any thread, while one is attached to it. */
const _Atomic uint64_t *block_allocated(const struct object *object);

/* Memory, page-aligned, that data mostly lies in on its way to a worker's media: what is used of it is registered with
 * the io_uring of those on files. Once for a worker; there until the service has stopped. */
void block_memory(struct block *block, struct worker *worker, void *memory, size_t bytes);

/* For validate() of each front end that is to be created: fails while nobody may attach to the object, because an
 * import overwrites it. (An import in turn is refused while any front end refers to its volume.) */
int block_check_attach(const struct object *object, const char *field, struct dpu_error *err);
/* For validate() of what takes a whole medium or remote namespace for itself: fails when another object than `user`
 * refers to it. field: where the reference is. */
int block_check_exclusive(struct block *block, const struct object *object, const struct object *user,
			  const char *field, struct dpu_error *err);
/* For validate() of what has a field "qos" for the time when it sits on a medium or a remote namespace. */
int block_check_policy(const struct object *user, const struct ref *policy, const struct object *backing,
		       struct dpu_error *err);
/* Whether a medium, or one that it sits on, is only read. */
bool block_medium_read_only(const struct object *medium);

/* ---- where a front end's requests go, and their time ---- */

struct block_why_args {
	uint64_t offset;
};
extern const struct field block_why_fields[];
/* Bodies of a front end's actions: `latency` shows quantiles by stage since it came into use, `slowest` the slowest of
 * about the last minute, `why` each step of the way of a request at an offset. attachment NULL: it has none. */
int block_latency(const struct block_attachment *attachment, const struct object *backing, json_t **ret_result,
		  struct dpu_error *err);
int block_slowest(const struct block_attachment *attachment, const struct object *backing, struct action_reply *reply,
		  struct dpu_error *err);
int block_why(struct block *block, const struct block_attachment *attachment, const struct object *user,
	      const struct object *backing, const struct object *policy, const void *args, struct action_reply *reply,
	      struct dpu_error *err);
#define BLOCK_LATENCY_ACTION(run_)                                                                                     \
	{                                                                                                              \
		.name = "latency",                                                                                     \
		.doc = "Shows how long requests took since it came into use, stage by stage: waiting for their turn, " \
		       "in "                                                                                           \
		       "the volume's own code, at the medium, and whole.",                                             \
		.read_only = true, .per_object = true, .run = run_                                                     \
	}
#define BLOCK_SLOWEST_ACTION(start_)                                                                                   \
	{                                                                                                              \
		.name = "slowest",                                                                                     \
		.doc = "Shows the slowest requests of about the last minute, and where their time went.",              \
		.read_only = true, .per_object = true, .start = start_                                                 \
	}
#define BLOCK_WHY_ACTION(class_, start_)                                                                               \
	{                                                                                                              \
		.name = "why",                                                                                         \
		.doc = "Says what a request for a block passes on its way: users, quality of service, map, pool, "     \
		       "filters, "                                                                                     \
		       "medium and the place there; and where the time of its requests goes.",                         \
		.example = "dpuctl " class_ " why blue/v offset=1MiB", .args = block_why_fields,                       \
		.args_size = sizeof(struct block_why_args), .read_only = true, .per_object = true, .start = start_     \
	}

/* ---- backings: objects that are block devices ---- */

enum { BLOCK_WHY_BYTES = 256 };

/* Embedded first in the `runtime` of such an object, from its apply() on. */
struct block_backing {
	struct block *block;
	char *name; /* for errors */
	/* A user wants it on this worker (a pool all its media on its own). The backing may move: down, then up there;
	 * or stay, then requests are handed over. NULL: it never moves. */
	void (*wanted)(struct block_backing *backing, struct worker *worker);
	/* A user has detached; may free the backing. NULL: its owner need not know. */
	void (*left)(struct block_backing *backing);
	/* A user is about to detach, and waits for what it has submitted: what cannot be carried out now should fail
	 * soon. NULL: none waits long. */
	void (*leaving)(struct block_backing *backing);
	bool limited;  /* its devices are filters of qos/, which keep requests back */
	bool one_user; /* who takes another's place waits until that one has gone, and what it had under way with it */
	/* the block service's */
	bool trying;
	struct dpu_block_device *device; /* NULL: there is none */
	struct worker *worker;
	char why_not[BLOCK_WHY_BYTES];
	TAILQ_HEAD(, block_attachment) attachments;
	struct block_views *views; /* the worker's side */
	bool going;                /* users are being asked to go */
	bool leaving_worker;       /* … they have */
	void (*down)(void *arg);
	void *down_arg;
};

/* name is copied. Without a device at first, for the reason why_not. */
void block_backing_init(struct block_backing *backing, struct block *block, const char *name, const char *why_not);
/* Its object has this name now. Devices that were given before have the old one. */
void block_backing_rename(struct block_backing *backing, const char *name);
/* Whether somebody has its device, or is about to. */
bool block_backing_used(const struct block_backing *backing);
unsigned block_backing_users(const struct block_backing *backing);
/* Down, and without attachments. */
void block_backing_fini(struct block_backing *backing);
/* Without a device: why, and whether one may be there any moment, so that transactions which need it wait for that.
 * False at first. */
void block_backing_wait(struct block_backing *backing, const char *why_not, bool trying);
/* The device is there; it belongs to `worker`, where something polls it if it needs that. From now on its `changed` is
 * the block service's. */
void block_backing_up(struct block_backing *backing, struct dpu_block_device *device, struct worker *worker);
/* The device must go: users are asked back, then done(arg) runs, maybe before the return; nothing of anybody's is
 * outstanding in it and its `changed` is NULL. For a backing without a device only the reason is noted. What is
 * outstanding must complete by itself: the owner makes the device complete it. */
void block_backing_down(struct block_backing *backing, const char *why_not, void (*done)(void *arg), void *arg);
