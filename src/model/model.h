/* SPDX-License-Identifier: BSD-3-Clause */
/* The object model: classes, objects, transactions, store, events, actions. One model per dpud; everything is
 * called from the control thread.
 *
 * An object is a C struct whose first member is `struct object base`, described by its class's field table.
 * Objects in force are immutable but for their references, which follow the targets' versions: a change builds a new
 * version (object_class.apply(old, new)) and the old one is freed once the barrier has passed. An object keeps its
 * identity (UUID, slot) over its versions.
 *
 * A transaction is a list of changes. It is validated as a whole with no side effects, applied in reference order
 * (created: referred-to first; deleted: referrers first), undone in reverse if any apply fails, and written to the
 * store in one SQLite transaction. At start-up the store is replayed through the same validate and apply. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"
#include "base/netaddr.h"
#include "model/field.h"

struct model;
struct object_class;

enum { OBJECT_NAME_MAX = 255, OBJECT_LABELS_MAX = 64 };

/* Part of every object. Its fields (name, uuid, generation, labels, tenant) are rows that the model adds to
 * every class by itself. */
struct object {
	const struct object_class *class;
	char *name;                /* unique within class and tenant; 1..255 bytes, no '/', no control characters */
	struct object *tenant;     /* the owner; NULL for classes with CLASS_F_GLOBAL */
	struct uuid uuid;          /* never changes */
	uint64_t generation;       /* starts at 1, +1 per change */
	struct string_list labels; /* "key=value", for orchestrators */
	uint32_t slot;     /* dense number within the class, from 1, persisted, lowest free first: index for arrays */
	void *runtime;     /* the service's own state; carried from version to version by the model */
	struct node *node; /* the model's own: the identity behind the versions */
};

/* "class/tenant/name" or "class/name", as in error paths and logs; cut to size, which no path of OBJECT_PATH_TEXT is.
 * Returns buf. */
enum { OBJECT_PATH_TEXT = 64 + 2 * (OBJECT_NAME_MAX + 1) };
const char *object_path(const struct object *object, char *buf, size_t size);
/* For validate(): a reference to an object of another tenant is refused, DPU_E_DENIED at `field`. target NULL: fine. */
int object_same_tenant(const struct object *object, const struct object *target, const char *field,
		       struct dpu_error *err);

enum class_flags {
	CLASS_F_GLOBAL = 1 << 0, /* belongs to the operator, not to a tenant (tenant, port, underlay) */
	/* Exactly one object, named like the class, made by model_load(). It can be changed, but not created, deleted
	 * or renamed; exported only if it has writable fields. Goes with CLASS_F_GLOBAL. */
	CLASS_F_SINGLETON = 1 << 1,
};

struct action_reply;

/* Verbs beside create/get/list/update/delete, e.g. vnic "reset-counters", daemon-wide "why". */
struct action {
	const char *name;
	const char *doc;
	const char *example; /* a whole command, for help; may be NULL */
	/* Of long work, with an argument "wait": actions of the same class that say how far it is, as {"state", "done",
	 * "total", "unit"} (its end is a state other than "running", with "why" if it is not "done"), and that end it.
	 * NULL: it is not long. */
	const char *progress, *cancel;
	const struct field *args; /* table over a struct of args_size bytes, terminated by .name = NULL; NULL = none */
	size_t args_size;
	bool read_only; /* changes nothing: allowed to read-only users */
	/* object is NULL for class-level actions (per_object false). args points to the decoded struct, NULL if none.
	 * Returns 0 and a new JSON value in *ret_result, or a negative errno with err filled. */
	bool per_object;
	int (*run)(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
	/* In place of run, for actions that must ask workers or wait: args and object are valid during the call only.
	 * 0: action_answer() follows, once, maybe before the return. Else a negative errno with err filled, and none.
	 */
	int (*start)(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		     struct dpu_error *err);
};

/* Answers an action that was begun by start(): status 0 and a result (stolen), or a negative errno and err. */
void action_answer(struct action_reply *reply, int status, json_t *result, const struct dpu_error *err);

struct object_class {
	const char *name;   /* singular, snake_case: "security_group" */
	const char *plural; /* "security_groups" */
	const char *doc;
	const char *example; /* a whole command that creates one; NULL: that with the required fields is good */
	uint32_t flags;
	size_t size;                  /* sizeof the object struct */
	const struct field *fields;   /* terminated by .name = NULL; without the base rows */
	const struct action *actions; /* terminated by .name = NULL; may be NULL */
	uint32_t max_objects;         /* 0 = no limit but the tenant's quota */

	/* Fills in what defaults cannot express (a generated MAC, a free address), in an object about to be created or
	 * changed. Called for all of a transaction's objects, referred-to first, before any validate(); sees the
	 * transaction's outcome. What it sets (strings and lists from malloc) is stored. No other side effects. May be
	 * NULL. */
	int (*complete)(void *ctx, const struct object *old, struct object *new, struct dpu_error *err);
	/* Checks that the table cannot express, against the state that the whole transaction would give
	 * (use model_find(), model_each() and txn-aware refs). No side effects. Fill err with a path like
	 * "mtu" (the field); the model puts class/tenant/name in front. May be NULL. */
	int (*validate)(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err);
	/* Bring new into force in place of old (NULL when created). On failure nothing has changed. Also called to
	 * undo: apply(new, old). May be NULL for pure configuration. */
	int (*apply)(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
	/* Take object out of force; cannot fail. Undone by apply(NULL, object). */
	void (*remove)(void *ctx, struct object *object);
	/* Called once after a whole transaction was applied or undone, for classes that batch their work. */
	void (*commit)(void *ctx);
	/* Called once when a transaction that was to be validated came to nothing, being refused or only tried: forget
	 * what validate() has noted. May be NULL. */
	void (*forget)(void *ctx);
	/* Fill read-only fields (FIELD_F_READ_ONLY) into *copy, a shallow copy of object. Strings and lists put there
	 * must come from malloc; the model frees them. */
	void (*observe)(void *ctx, const struct object *object, struct object *copy);
};

/* ---- life of a model ---- */

struct model_options {
	const char *store_path; /* SQLite file; NULL keeps everything in memory (tests) */
	struct loop *loop;
	/* Asked after a transaction was applied and stored: call done(arg) once every worker uses it. NULL: at once. */
	void (*barrier)(void *ctx, void (*done)(void *arg), void *arg);
	void *barrier_ctx;
	/* Told at start of each value that is in force because the store has it, and that nobody may give an object any
	 * more (check_stored). NULL: nobody is told. */
	void (*outdated)(void *ctx, const struct dpu_error *what);
	void *outdated_ctx;
};

int model_new(const struct model_options *options, struct model **ret, struct dpu_error *err);
/* Register before model_load(). ctx is handed to the class's functions. Fails with DPU_E_INTERNAL on a faulty table. */
int model_add_class(struct model *model, const struct object_class *class, void *ctx, struct dpu_error *err);
/* Open, migrate and replay the store. An unreadable or newer store is refused with the file untouched. An object that
 * apply() refuses makes the load fail: what may be missing at start (a device) is applied as "down", not refused. */
int model_load(struct model *model, struct dpu_error *err);
bool model_loading(const struct model *model); /* inside model_load() */
void model_free(struct model *model); /* removes all objects from force in reverse reference order; the store stays */

/* ---- transactions ---- */

enum change_op { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE, CHANGE_SET /* create or update */ };

struct txn;
int txn_new(struct model *model, struct txn **ret);
/* Queue one change. key: object's name, "tenant/name", or UUID; NULL: fields has "name". tenant: name or UUID, NULL:
 * in the key or fields has "tenant". fields: JSON object, only the fields to set (null resets to the default); the
 * txn keeps a reference, so the caller must not change it any more; NULL for delete. A "name" that differs from the
 * key renames. generation 0 = don't check (or by the field "generation", where given), else refused with
 * DPU_E_CONFLICT unless it is the current one. cascade (delete): delete what refers to it by a parent reference, too.
 * Changes to one object add up in order; an update that changes nothing leaves the object and its generation. */
int txn_add(struct txn *txn, enum change_op op, const char *class_name, const char *tenant, const char *key,
	    const json_t *fields, uint64_t generation, bool cascade, struct dpu_error *err);
/* Validate without side effects; *ret_diff (may be NULL) lists the changes field by field, old and new, in the order
 * of application:
 *   [{"op": "create" | "update" | "delete", "class": "vnic", "tenant": "blue" (if the class has them), "name": "web1",
 *     "uuid": "…", "fields": {"mtu": {"old": 1500, "new": 9000}, …}}]
 * Created objects show what is not default, without "old"; deleted ones the same without "new". Secrets show "***". */
int txn_check(struct txn *txn, json_t **ret_diff, struct dpu_error *err);
/* Validate, apply, store. done(arg, status, err, diff) runs when durable and in force, or failed; maybe before return.
 * err and diff are borrowed. Not from inside a class's functions or an event: post to the loop there. */
void txn_commit(struct txn *txn, void (*done)(void *arg, int status, const struct dpu_error *err, json_t *diff),
		void *arg);
/* done() gets no diff (NULL): saves a large transaction time and memory when nobody looks at it. */
void txn_skip_diff(struct txn *txn);
void txn_free(struct txn *txn);

/* ---- looking ---- */

const struct object_class *model_class(const struct model *model, const char *name);
/* NULL when there is none. During validate() the answer is that of the transaction's outcome. */
struct object *model_find(const struct model *model, const char *class_name, const char *tenant, const char *name);
struct object *model_find_uuid(const struct model *model, const struct uuid *uuid);
struct object *model_slot(const struct model *model, const char *class_name, uint32_t slot);
/* What text means in a place that refers to class_name: a name of tenant (NULL: none), "tenant/name" or a UUID. Fails
 * with DPU_E_NOT_FOUND or DPU_E_INVALID and no path. */
int model_resolve(const struct model *model, const char *class_name, const struct object *tenant, const char *text,
		  struct object **ret, struct dpu_error *err);
/* Calls fn for each object of the class (of one tenant, or all if NULL) until it returns non-zero; returns that.
 * In validate(): of the transaction's outcome. */
int model_each(const struct model *model, const char *class_name, const struct object *tenant,
	       int (*fn)(void *arg, struct object *object), void *arg);
/* Objects that refer to target (through class_name's fields; NULL = any class). */
int model_each_referrer(const struct model *model, const struct object *target, const char *class_name,
			int (*fn)(void *arg, struct object *object), void *arg);
size_t model_count(const struct model *model, const char *class_name, const struct object *tenant);

/* JSON of an object: base fields and configuration, and with observe its read-only fields; a key per field of the
 * schema but secrets, null where not set. New reference. */
json_t *model_object_json(struct model *model, const struct object *object, bool observe);

/* ---- actions ---- */

/* Decodes args (JSON object or NULL) by the action's table and runs it; key (and tenant, as in txn_add()) names the
 * object of a per-object action and is NULL for others. done(arg, status, result, err) runs once, maybe before the
 * return; result is borrowed. */
void model_action(struct model *model, const char *class_name, const char *action, const char *tenant, const char *key,
		  const json_t *args, void (*done)(void *arg, int status, json_t *result, const struct dpu_error *err),
		  void *arg);

/* ---- events ---- */

enum event_kind { EVENT_CREATED, EVENT_CHANGED, EVENT_DELETED, EVENT_NOTICE /* service's own, not a change */ };
struct event {
	uint64_t sequence; /* +1 per event, in this run of the daemon */
	uint64_t time_ns;  /* CLOCK_REALTIME */
	enum event_kind kind;
	const struct object *object; /* NULL for daemon-wide notices */
	const char *name;            /* notices: "link-down", "guest-connected", … */
	json_t *detail;              /* diff or the notice's fields; borrowed */
};
struct subscription;
/* class_name NULL = all. fn runs in the control thread, after the transaction was stored; event.detail of a change is
 * its element of the diff. fn must not commit. */
int model_subscribe(struct model *model, const char *class_name, void (*fn)(void *arg, const struct event *event),
		    void *arg, struct subscription **ret);
void model_unsubscribe(struct subscription *subscription);
void model_notice(struct model *model, const struct object *object, const char *name, json_t *detail /* stolen */);

/* {"sequence": 7, "time": "2026-01-31T12:00:00.123456Z", "kind": "created" | "changed" | "deleted" | "notice",
 *  "class": …, "tenant": …, "name": … (of the object, if any), "notice": "link-down" (notices), "detail": {…}} */
json_t *event_json(const struct event *event);

/* ---- derived from the tables ---- */

enum { MODEL_PROTOCOL_VERSION = 1 };

/* What dpuctl reads:
 *   {"protocol_version": 1,
 *    "classes": [{"name", "plural", "doc", "example", "global": bool, "singleton": bool, "max_objects": n (if limited),
 *                 "fields": [FIELD…], "actions": [{"name", "doc", "example", "progress", "cancel", "per_object": bool,
 *                                                  "read_only": bool, "args": [FIELD…]}]}]}
 * FIELD: {"name", "doc", "type", "flags": ["required", "immutable", "secret", "state", "counter", "gauge", "unique",
 *   "parent", "generated", "detail", "listed"], and where they apply: "base": true (a row that every class has: name,
 * tenant, uuid, generation, labels), "unit", "min", "max", "default" (a JSON value), "values" (an enumeration's names),
 * "target" (class referred to), "format" ("must be …")}. type: bool u8 u16 u32 u64 enum string mac ip prefix uuid ref
 * strings ips prefixes refs. Classes stand in reference order, referred-to first. */
json_t *model_schema(const struct model *model);
json_t *model_json_schema(const struct model *model); /* JSON Schema 2020-12 of objects and net.yaml documents */
/* Everything that is configured, as document.h reads it: {"version": 1, "<plural>": [{"tenant", "name", …}], …} and
 * {"<singleton>": {…}}. Without UUIDs, generations, secrets and what equals its default; sorted. */
json_t *model_export(struct model *model);
char *model_manual_markdown(const struct model *model);                    /* docs/reference.md */
char *model_manual_man(const struct model *model, const char *class_name); /* one man page (mdoc), malloc'd */
char *model_prometheus(struct model *model);                               /* text exposition format, malloc'd */
char *model_prometheus_labels(const struct object *object); /* tenant="…",CLASS="…", for samples of a service's own */
int model_lint(const struct model *model, struct dpu_error *err); /* every table rule; the first fault */
