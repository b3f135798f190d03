/* SPDX-License-Identifier: BSD-3-Clause */
/* The block service from inside. Control thread, but for what says that it is the worker's. */
#pragma once

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/netaddr.h"
#include "base/notice_limit.h"
#include "operating/helpers.h"
#include "operating/uring.h"
#include "service/block/block.h"
#include "service/block/objects.h"
#include "service/block/qos/qos.h"
#include "service/block/store/store.h"
#include "service/block/store/store_format.h"

enum { WORKER_ANY = UINT16_MAX };
#define BLOCK_VOLUME_MAX_BYTES (UINT64_C(128) << 40)

/* ---- notes: from any thread to control, without memory of their own ---- */

struct note {
	struct note *next;
	void (*fn)(struct note *note); /* in the control thread */
};

void note_send(struct block *block, struct note *note);
int notes_init(struct block *block);
void notes_fini(struct block *block);

/* ---- subjects: objects in force, and those on their way out ---- */

TAILQ_HEAD(subject_list, subject);

/* What an object has as its runtime. It outlives the object until what it stands for is gone. */
struct subject {
	struct block *block;
	struct object *object; /* the version in force; NULL: on its way out */
	const struct object_class *class;
	struct uuid uuid;
	char name[OBJECT_PATH_TEXT]; /* of the version that was last in force, as a path */
	/* Its transaction is durable: make it so. Then subject_settled(), also if it cannot be done now. */
	void (*settle)(struct subject *subject);
	void (*free)(struct subject *subject); /* was made by a transaction that came to nothing */
	TAILQ_ENTRY(subject) noted_link, work_link;
	uint64_t ticket;            /* 0: nobody waits for it */
	struct subject_list *noted; /* by the transaction that is being applied; NULL: not */
	bool fresh;                 /* created by it */
	bool leaving;               /* its object was deleted */
	bool committed;             /* … for good */
};

void subject_init(struct subject *subject, struct block *block, struct object *object);
/* In apply(): the version in force, to be settled. */
void subject_apply(struct subject *subject, struct object *new);
/* In remove(): whether it is to be taken down; else (undone, or the end) it was freed. */
void subject_remove(struct subject *subject);
/* In apply(NULL, object): one whose deletion is being undone; NULL: the object is new. */
struct subject *subject_undelete(struct block *block, struct object *object);
void subject_settled(struct subject *subject);
/* It is no more; before its memory is freed. */
void subject_fini(struct subject *subject);
/* service.settle */
void block_settle(void *state, void (*done)(void *arg), void *arg);
/* What an error says, and of what: a file, say. */
void subject_why(char ret[BLOCK_WHY_BYTES], const struct dpu_error *err);
/* A notice about it: to the log and to who has subscribed. */
void subject_notice(const struct subject *subject, const char *notice, const char *sentence);
void subject_notice_info(const struct subject *subject, const char *notice, const char *sentence); /* no trouble */

/* ---- the service ---- */

struct block_ring {
	struct uring *uring;
	struct worker *worker;
	void *memory; /* block_memory() */
	size_t memory_bytes;
};

/* Of what is in use of a pool, a medium or a remote; stays when that is nothing any more, for the next. */
struct block_scheduler {
	struct qos_scheduler *qos;
	struct worker *worker;
	struct worker_source source;
	const void *domain; /* the pool, or another backing */
	unsigned users;
	LIST_ENTRY(block_scheduler) link;
};

/* A tenant that has something in use. */
struct block_share {
	struct uuid tenant;
	struct qos_tenant *qos;
	struct qos_policy policy; /* in force */
	unsigned users;
	LIST_ENTRY(block_share) link;
};

/* Quality of service of a volume or snapshot, or of one user of what belongs to nobody. */
struct block_qos {
	struct block *block;
	struct worker *worker;
	struct dpu_block_device *filter; /* NULL: not in use */
	struct block_share *share;
	struct block_scheduler *scheduler;
	struct qos_policy policy; /* in force */
};

/* … of such a user: a disk or namespace on a medium or a remote namespace. */
struct block_limit {
	struct block_qos qos;
	struct uuid user, tenant, policy;
	bool has_policy;
	bool memory;                   /* too fast to be timed for nothing */
	bool up;                       /* it is there, or on its way to the worker or back */
	struct dpu_block_device *made; /* the worker's */
	LIST_ENTRY(block_limit) link;
};

struct pool;
struct medium;
struct volume;

struct block {
	struct dpu *dpu;
	struct helpers *helpers;
	unsigned workers;
	struct block_ring *rings; /* by worker */
	struct qos_worker *turns; /* …, the workers' */
	LIST_HEAD(, block_scheduler) schedulers;
	LIST_HEAD(, block_share) shares;
	LIST_HEAD(, block_limit) limits;
	bool policies_changed; /* by the transaction that is being applied */
	_Atomic(struct note *) notes;
	int note_fd;
	struct loop_fd *note_watch;
	struct subject_list noted, work; /* work: by ticket */
	uint64_t ticket;
	TAILQ_HEAD(, settler) settlers;
	bool settle_posted;
	TAILQ_HEAD(, medium) media;
	TAILQ_HEAD(, pool) pools;
	TAILQ_HEAD(, intent) intents;
	unsigned intent_count, intent_lines; /* lines: of the file */
	TAILQ_HEAD(, image_job) jobs;
	bool started, stopping, ended; /* ended: all is closed, objects are only freed */
	unsigned closing;              /* rings under way */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

void *block_alloc(size_t bytes); /* zeroed; running out is fatal */
char *block_text(const char *text);
void block_call(struct worker *worker, void (*fn)(void *arg, struct worker *worker), void *arg,
		void (*done)(void *arg));
/* A medium or a pool has closed: whether that was the last. */
void block_stop_check(struct block *block);
/* The io_uring of a worker's media, made when it is first needed. */
int block_uring(struct block *block, struct worker *worker, struct uring **ret, struct dpu_error *err);

/* ---- media ---- */

/* Which file or block device it is, whatever its path. */
struct medium_file_id {
	uint64_t device, inode; /* 0: not known */
};

/* What a medium that is a filter sits on. */
struct medium_below {
	struct block_attachment *attachment; /* NULL: none */
	struct block_backing *backing;
	struct worker *worker;                   /* it was attached for */
	struct dpu_block_device *given, *device; /* device: once it has been looked at */
	struct dpu_block_device seen;            /* … its size and features */
	bool asked;                              /* to be given back */
	bool detaching, stepping;
};

struct medium {
	struct block_backing backing; /* first */
	struct subject subject;
	TAILQ_ENTRY(medium) link;
	struct worker *worker, *wanted;  /* where it is, and is to be; wanted NULL: it does not matter */
	struct dpu_block_device *device; /* NULL: closed */
	enum block_state state;
	bool busy;                   /* a helper opens it, or it is being closed */
	bool creating;               /* the file may be made */
	struct worker_source source; /* the worker's: polls memory, publishes */
	struct loop_timer *retry;
	struct note closed;
	_Atomic uint64_t errors, bytes; /* published */
	uint64_t measured_ns;           /* the worker's: when it was last looked at whether the file has grown */
	bool direct;
	enum medium_kind kind;      /* of the device */
	struct medium_file_id file; /* of kind file, once it was opened */
	struct medium_below below;
	/* what the guard of a module has found, or that requests to a file fail, from the worker */
	struct note complaint;
	struct notice_limit noticed; /* control's */
	char complaint_text[512];
	atomic_bool complaining;
};

struct medium *medium_of(const struct object *object);
int medium_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void medium_remove(void *ctx, struct object *object);
void medium_step(struct medium *medium);
bool medium_closed(const struct medium *medium);
/* It was opened (rc 0) in a helper thread, or not. */
void medium_opened(struct medium *medium, struct dpu_block_device *device, int rc, struct dpu_error *err);

/* medium_below.c: media that sit on others */
enum { MEDIUM_MAX_STACK = 8 };
const struct object *medium_below(const struct object *object); /* NULL: it sits on nothing */
bool medium_keeps_nothing(const struct object *object);         /* is null, or a filter on such */
bool medium_is_memory(const struct medium_object *object);      /* requests never wait for anything */
void medium_below_attach(struct medium *medium);
bool medium_below_detach(struct medium *medium); /* false: a step will follow */
void medium_below_release(struct medium *medium);
void medium_below_why(const struct medium *medium, char *why, size_t why_bytes);

/* medium_module.c: media that out-of-tree modules bring */
void medium_module_open(struct medium *medium, const struct medium_object *object);
void medium_module_source(struct medium *medium);
void medium_module_start(void *arg, struct worker *worker);

/* ---- pools ---- */

/* A medium as the pool has it. */
struct pool_medium {
	struct pool *pool;
	struct uuid uuid;
	struct block_backing *backing;
	struct block_attachment *attachment;
	struct dpu_block_device *device;
	bool asked;   /* to be given back */
	bool leaving; /* it is being detached from */
	bool in_use;  /* the store has it */
	bool refused; /* … did not take it */
	bool erase;   /* it is added even if it holds another pool */
	bool taken;   /* the worker's, while the pool is being opened: it is in the pool */
};

enum { POOL_REPORTS = 16 };

struct pool_report {
	struct note note;
	struct pool *pool;
	struct store_report report;
	char medium[256], why[128];
	atomic_bool busy;
};

enum work_state { WORK_NEVER, WORK_RUNNING, WORK_DONE, WORK_CANCELLED, WORK_FAILED };
extern const char *const work_state_names[];
enum work_state work_end_state(const struct dpu_error *error); /* done, cancelled (a conflict) or failed */

/* A long command beside the others. */
struct pool_work {
	struct store_command command;
	struct note note;
	enum work_state state;
	struct action_reply *reply;                /* who waits for the end */
	bool submitted;                            /* the worker's: the store has the command */
	_Atomic uint64_t progress, total, damaged; /* published */
};

struct pool {
	struct subject subject;
	TAILQ_ENTRY(pool) link;
	struct worker *worker;
	enum block_state state;
	char why[BLOCK_WHY_BYTES];
	bool format; /* to be formatted at the next opening */
	bool erase;  /* … even if the media hold a pool */
	bool unmade; /* … is wanted since its object was made, and never ended: what it has begun may be done again */
	bool force;  /* to be opened without what cannot be read */
	bool reopen; /* to be closed first */
	bool refused; /* its opening failed: not tried again before something changes */
	bool busy;    /* on the way from one state to another, or a command is under way: an event will follow */
	bool ready;   /* the store takes commands */
	struct pool_medium *media[STORE_MAX_MEDIA];
	unsigned media_count, detaching;
	struct store *store;
	struct worker_source source; /* the worker's */
	struct super_io *super_io;
	struct pool_medium *growing;
	struct pool_medium *served[STORE_MAX_MEDIA]; /* given to the store when it was made */
	unsigned served_count;
	/* the command that is under way, and what it gave */
	struct store_command command;
	struct note command_note;
	struct volume *command_volume; /* NULL: it is of the pool itself */
	struct dpu_block_device *command_device;
	uint64_t command_bytes, command_created_s;
	void (*then)(struct pool *pool);
	unsigned downs; /* volumes whose users are being asked back */
	TAILQ_HEAD(volume_list, volume) volumes;
	struct volume_list todo;         /* volumes that are not as their objects say, oldest wish first */
	struct found *unclaimed, *found; /* found: what an opened pool has, from the worker */
	unsigned unclaimed_count, found_count;
	LIST_HEAD(, volume) live;                     /* the worker's: of these it publishes */
	struct pool_report reports[POOL_REPORTS + 1]; /* the last one: of the medium that made it read-only */
	struct note damage_note;                      /* some volume's `damaged` is new */
	atomic_bool damage_noted;
	_Atomic uint64_t reports_lost;
	struct note fill_note;
	atomic_bool fill_noted;
	atomic_uint fill; /* enum pool_fill, published */
	unsigned fill_told;
	pthread_mutex_t published_lock; /* the worker only tries */
	struct store_stats published;
	uint64_t published_ns;      /* the worker's */
	bool unpublished;           /* the worker's */
	bool draining;              /* … : the store is to be freed when its media have nothing of it */
	struct action_reply *reply; /* who waits until it is ready or cannot be */
	enum work_state purge_state;
	struct action_reply *purge_reply; /* who waits for the end */
	struct dpu_error purge_error;
	struct found *purging;           /* the one that is being deleted */
	unsigned purges;                 /* those that were */
	struct pool_work scrub, measure; /* scrub: or a repair */
	unsigned lookups; /* of volumes' blocks, under way: it is not closed before they have been answered */
	/* notices of damage, limited */
	uint64_t notices_since_ns;
	unsigned notices, notices_left_out;
};

struct pool *pool_of(const struct object *object);
int pool_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void pool_remove(void *ctx, struct object *object);
void pool_step(struct pool *pool);
bool pool_closed(const struct pool *pool);

/* pool_media.c */
void pool_media_update(struct pool *pool); /* attaches to what the object names */
/* All are there; else which is not, and whether that may change at any moment. */
bool pool_media_ready(struct pool *pool, char *why, size_t why_bytes, bool *ret_soon);
bool pool_media_asked(const struct pool *pool); /* one must be given back */
void pool_media_release(struct pool *pool);
/* False when it has none (any more); else pool_step() will be called. */
bool pool_media_detach(struct pool *pool);
struct pool_medium *pool_media_find(const struct pool *pool, const char *name); /* NULL: it has none of that name */

/* pool_super.c: superblocks of the media, looked at or erased; then(pool) in control, which frees pool->super_io */
enum { POOL_SUPERS = 2 }; /* at the start of a medium, and the copy at its end */
struct super_io {
	struct pool *pool;
	struct note note;
	void (*then)(struct pool *pool);
	unsigned left, count;
	const struct pool_medium *failed; /* the first that one could not be read of */
	uint8_t *blocks;
	struct super_medium {
		struct pool_medium *medium;
		struct dpu_block_device *device;
	} media[STORE_MAX_MEDIA];
	struct super_request {
		struct dpu_block_request request;
		struct iovec iov;
		struct super_io *io;
	} requests[POOL_SUPERS * STORE_MAX_MEDIA];
};
void pool_supers_read(struct pool *pool, void (*then)(struct pool *pool));
void pool_supers_erase(struct pool *pool, void (*then)(struct pool *pool));           /* of media in use alone */
bool pool_super(const struct super_io *io, unsigned medium, struct store_super *ret); /* whether it has one */
void pool_supers_free(struct pool *pool);

/* pool_probe.c: then(pool, err) in control; err NULL: the media hold nothing of others, or (wipe) nothing any more. It
 * lives as long as then() runs. */
void pool_probe(struct pool *pool, struct pool_medium *const *media, unsigned count, bool wipe,
		void (*then)(struct pool *pool, const struct dpu_error *err));

/* pool_worker.c: the worker's side, and commands there and back */
struct found {
	uint64_t id, bytes, created_s;
	bool snapshot, quarantined;
	bool purge;    /* unclaimed: to be deleted */
	bool intended; /* … because a transaction said so before a crash; else somebody purges the pool */
	char name[STORE_NAME_BYTES];
	struct dpu_block_device *device;
};
int pool_serve(struct pool *pool, struct dpu_error *err); /* a store on its media, without the command that opens it */
void pool_serve_end(struct pool *pool, void (*then)(struct pool *pool));
/* pool->command has op and arguments; then(pool) runs in control when it is done. */
void pool_command(struct pool *pool, struct volume *volume, void (*then)(struct pool *pool));
void pool_live_add(struct volume *volume);
void pool_tail_remove(const struct pool *pool);
void pool_stats(struct pool *pool, struct store_stats *ret);
void pool_publish(struct pool *pool); /* the worker's */

/* pool_report.c */
void pool_reports_init(struct pool *pool);
void pool_report(void *ctx, const struct store_report *report); /* the worker's */
void pool_volume_damaged(struct volume *volume);                /* the worker's: it is quarantined */

/* pool_unclaimed.c */
void pool_keep_unclaimed(struct pool *pool);
struct found *pool_unclaimed_find(const struct pool *pool, const char *name); /* NULL: there is none */
/* Whether there is one to be deleted: a command is under way. */
bool pool_delete_intended(struct pool *pool);
bool pool_purge(struct pool *pool);
void pool_purge_end(struct pool *pool);
struct pool_purge_args {
	char *uuid;
	bool wait;
};
int pool_purge_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int pool_purge_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
extern const struct field pool_purge_fields[];
int pool_purge_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err);

/* pool_work.c */
bool pool_work_running(const struct pool *pool);
void pool_work_end(struct pool *pool);     /* asks for it */
void pool_work_publish(struct pool *pool); /* the worker's */
unsigned pool_work_percent(struct pool_work *work);
struct pool_work_args {
	bool wait, force;
};
extern const struct field pool_work_fields[], pool_repair_fields[];
int pool_repair_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		      struct dpu_error *err);
int pool_scrub_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err);
int pool_measure_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err);
int pool_scrub_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int pool_scrub_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int pool_measure_progress(void *ctx, struct object *object, const void *args, json_t **ret_result,
			  struct dpu_error *err);
int pool_measure_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);

/* pool_room.c: how full it is */
enum pool_fill { POOL_HAS_ROOM, POOL_NEARLY_FULL, POOL_FULL };
extern const char *const pool_fill_names[];
enum pool_fill pool_fill_of(enum pool_fill before, const struct store_stats *stats);
void pool_room_init(struct pool *pool);
void pool_room_publish(struct pool *pool, const struct store_stats *stats); /* the worker's */
/* In validate(): whether its directory has room for all that there would be. */
int pool_room_check(const struct block *block, const struct object *object, const char *field, struct dpu_error *err);

/* pool_grow.c: media that were added to an open pool */
bool pool_grow(struct pool *pool); /* whether there is one: a command is under way */
struct pool_open_args {
	bool force;
};

struct pool_grow_args {
	char *medium;
};
extern const struct field pool_grow_fields[];
int pool_grow_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		    struct dpu_error *err);

/* pool_action.c */
extern const struct action pool_actions[];
void pool_answer(struct pool *pool); /* it is ready, or cannot be now */

/* pool_reconcile.c: what an opened pool has against what the model wants of it */
void pool_reconcile(struct pool *pool);

/* ---- volumes and snapshots ---- */

struct volume {
	struct block_backing backing; /* first */
	struct subject subject;
	struct pool *pool;
	TAILQ_ENTRY(volume) link, todo_link;
	LIST_ENTRY(volume) live_link; /* the worker's */
	bool live;                    /* the worker's */
	bool snapshot, todo;
	bool downing; /* its users are being asked back */
	uint64_t id;  /* in the store; 0: it is not there */
	uint64_t bytes, created_s;
	enum block_state state;
	char why[BLOCK_WHY_BYTES]; /* of a command that failed */
	char key[UUID_TEXT];       /* its name in the store */
	struct image_job *image;   /* import or export under way */
	char image_last[352];      /* how the last one ended */
	enum work_state image_state;
	struct dpu_block_device *device;
	struct block_qos qos;  /* on the device; no filter: nobody uses it */
	struct intent *intent; /* to make or delete it, noted in a file; NULL: it is made, or lost */
	/* published */
	_Atomic uint64_t reads, writes, integrity_errors, second_reads, allocated_bytes;
	_Atomic uint64_t exclusive_bytes, shared_bytes, measured_s; /* as store_volume_info has them */
	atomic_bool damaged;                                        /* … : the store has quarantined it */
};

struct volume *volume_of(const struct object *object);
struct volume *volume_of_subject(const struct subject *subject); /* NULL: it is something else */
int volume_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void volume_remove(void *ctx, struct object *object);
void volume_set(struct volume *volume, enum block_state state, const char *why);
void volume_todo(struct volume *volume); /* it is not as its object says */
void volumes_go(struct pool *pool);      /* the oldest of these is dealt with */
/* Nobody needs to wait for what cannot be done now. */
void volumes_stuck(struct pool *pool);
/* The pool closes: asks back all devices, then then(pool). */
void volumes_down(struct pool *pool, const char *why, void (*then)(struct pool *pool));
void volumes_forget(struct pool *pool); /* … it is closed */
void volume_quarantined(struct volume *volume, const char *why);
struct volume *volume_source(const struct volume *volume); /* NULL: it is no copy */
const char *volume_why(const struct volume *volume);

/* ---- volume_qos.c: quality of service, and where the time goes ---- */

/* Its device goes into use: puts the filter on it. Before the users' views. */
void volume_filter_up(struct volume *volume);
/* Its users are being asked back: they need not wait for caps. */
void volume_filter_drain(struct volume *volume);
/* Nobody uses it any more. */
void volume_filter_down(struct volume *volume);
/* Its policy, and its tenant's, as the model has them now. */
void volume_qos_update(struct volume *volume);
/* The same for all that is in use, when a policy has changed. */
void block_qos_update(struct block *block);
struct qos_policy block_policy(const struct qos_policy_object *object); /* NULL: none */
/* A policy that is referred to is of the user's tenant, and not for that as a whole. */
int block_policy_check(const struct object *user, const struct ref *policy, struct dpu_error *err);
/* The tenant's own policy; NULL: it has none. */
const struct qos_policy_object *block_policy_of_tenant(const struct block *block, const struct uuid *tenant);
/* domain: what shares its media. */
void block_qos_begin(struct block_qos *qos, struct block *block, const struct uuid *tenant, const void *domain,
		     struct worker *worker);
void block_qos_end(struct block_qos *qos);
void block_qos_set(struct block_qos *qos, const struct qos_policy *policy);
void block_qos_drain(struct block_qos *qos);
/* In the worker, on what is to be limited; NULL: out of memory is fatal. */
struct dpu_block_device *block_qos_open(struct block_qos *qos, struct dpu_block_device *below);
/* Returns how often done(block) will run. */
unsigned block_schedulers_close(struct block *block, void (*done)(void *arg));
void block_schedulers_free(struct block *block);

/* limit.c: quality of service of users of media and remote namespaces */
void limit_init(struct block_limit *limit, struct block *block, const struct object *object,
		const struct block_user *user);
void limit_fini(struct block_limit *limit);
bool limit_wanted(const struct block_limit *limit);
void limit_begin(struct block_limit *limit, const void *domain,
		 struct worker *worker); /* in control, before it goes to the worker */
struct dpu_block_device *limit_open(struct block_limit *limit, struct dpu_block_device *below); /* in the worker */
void limit_opened(struct block_limit *limit);                                                   /* in control */
void limit_close(struct block_limit *limit); /* in the worker; nothing is outstanding */
void limit_end(struct block_limit *limit);   /* in control */
void limit_update(struct block_limit *limit);
/* attach.c: it is to have a filter and has none, or the other way round. */
void attachment_renew(struct block_limit *limit);
const struct block_limit *attachment_limit(const struct block_attachment *attachment);
/* Whether it is given what its backing has; else a former user has not gone yet. */
bool attachment_is_next(const struct block_attachment *attachment);

/* volume_why.c */
int volume_why_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err);

/* latency.c */
char *block_metrics(void *state);
json_t *latency_json(const struct block_qos *qos);
void slowest_start(const struct block_qos *qos, struct action_reply *reply); /* it has a filter */

/* ---- intent.c: what a pool has not carried out yet ---- */

void intents_load(struct block *block);
void intents_free(struct block *block);
void intents_write(void *ctx); /* object_class.commit */
void intent_drop(struct volume *volume);
void intent_made(struct volume *volume);     /* the pool has it */
void intent_undelete(struct volume *volume); /* its deletion came to nothing */
void intents_drop_pool(struct pool *pool);
int intent_formatted(struct pool *pool, struct dpu_error *err); /* it is open */
bool intent_is_deletion(struct block *block, const char *name);
void intent_done(struct block *block, const char *name);
