/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the model: classes as registered, identities and the references between them, transactions while they are
 * worked on.
 *
 * The view. The indexes (names, UUIDs, unique values, slots, references) describe one state. A transaction is staged
 * by changing them to its outcome, so that validate() and apply() look things up as always; when it fails or was only
 * a dry run, they are changed back. The steps and what each may rely on:
 *   1. resolve   every change finds or makes its node; created and renamed ones are in the name index, deleted ones not
 *   2. decode    fields are filled into the new versions; what did not change drops out
 *   3. switch    references are linked, nodes show their new versions, referrers point to them
 *   4. complete, validate   in reference order, against the outcome
 *   5. apply, store; then either finish (old versions go after the barrier) or cancel (everything back) */
#pragma once

#include <sys/queue.h>
#include "model/field_codec.h"
#include "model/hash.h"
#include "model/model.h"

enum { FIELDS_MAX = 128, BASE_FIELDS = 5 };

/* ---- classes ---- */

struct unique;

TAILQ_HEAD(node_list, node);

struct class_state {
	const struct object_class *class;
	void *ctx;
	unsigned index; /* in model->classes */
	unsigned rank;  /* classes in reference order: referred-to first */
	bool cyclic;    /* its objects may refer to each other, directly or through other classes */

	/* The base rows that the class has, then its own; one array, terminated. */
	struct field *rows;
	unsigned row_count, base_count;
	const struct field **unique_rows;
	unsigned unique_count;
	struct object *defaults; /* every row's default */

	struct node_list nodes; /* includes those that are gone but not finished */
	size_t count;           /* of the view */
	struct node **slots;    /* by slot number; NULL = free */
	uint32_t slot_capacity, slot_hint;
};

/* ---- identities ---- */

/* One reference of a node's current version. */
struct edge {
	struct node *from, *to;
	const struct field *field;
	uint32_t item;         /* of FIELD_REFS */
	LIST_ENTRY(edge) link; /* in to->referrers */
};
LIST_HEAD(edge_list, edge);

struct unique {
	struct hash_link link;
	struct node *node;
	const struct field *field;
	bool linked;
};

/* An object over all its versions. */
struct node {
	struct object *object; /* the version of the view */
	struct class_state *class;
	struct node *tenant;
	const char *name; /* of the newest version, while a transaction is staged */
	int64_t store_id; /* row; 0 = not stored */
	struct hash_link by_name, by_uuid;
	struct edge *edges;
	uint32_t edge_count;
	bool gone; /* deleted in the view */
	struct edge_list referrers;
	struct unique *uniques; /* class->unique_count */
	uint64_t owned;         /* tenants: their objects in the view */
	struct member *member;  /* its part in the staged transaction */
	uint64_t mark;          /* order.c */
	TAILQ_ENTRY(node) link; /* in class->nodes */
};

/* ---- transactions ---- */

struct store_row;

struct change {
	enum change_op op;
	struct class_state *class;
	char *tenant, *key; /* as given; may be NULL */
	json_t *fields;
	uint64_t generation;
	bool cascade;
	bool internal;               /* by the model itself: singletons */
	const struct store_row *row; /* replay: identity comes from here */
	/* While staged: */
	bool resolved;
	struct member *member;
};

struct txn {
	struct model *model;
	struct change *changes;
	size_t count, capacity;
	bool skip_diff;
};

/* A node's part in a transaction: created (old NULL), updated, or deleted (new NULL). */
struct member {
	struct node *node; /* once it is committed, another transaction may delete it and end before this one does */
	const struct class_state *class;
	struct object *old, *new;
	struct edge *old_edges;
	uint32_t old_edge_count;
	struct edge_list old_referrers;  /* deleted: edges of the members that referred to it */
	uint64_t given[FIELDS_MAX / 64]; /* rows that some change gave a value */
	TAILQ_ENTRY(member) link;
};
TAILQ_HEAD(member_list, member);

enum stage_kind { STAGE_NORMAL, STAGE_REPLAY };

struct stage {
	struct model *model;
	enum stage_kind kind;
	struct member_list members; /* in order of the changes */
	size_t count;
	struct member **order; /* in order of application */
	bool switched;         /* step 3 has begun */
	bool reverted;
};

struct inflight;
struct store;

struct model {
	struct model_options options;
	char *store_path;
	struct class_state **classes;
	unsigned class_count;
	struct class_state **ranked; /* classes in reference order; NULL when a class was added since */
	struct class_state *tenants; /* the class "tenant" */
	const struct field *tenant_quota;
	struct hash names, uuids, uniques;
	uint64_t seed, epoch;
	struct uuid uuids_ahead[UUID_GENERATE_MAX]; /* a large transaction asks the kernel for many at once */
	unsigned uuids_ready;
	struct store *store;
	bool loading, loaded, busy;
	uint64_t event_sequence;
	LIST_HEAD(, subscription) subscriptions;
	unsigned event_depth;
	LIST_HEAD(, inflight) inflight;
};

/* class.c */
struct class_state *model_class_state(const struct model *model, const char *name);
int class_new(const struct object_class *class, void *ctx, struct class_state **ret, struct dpu_error *err);
void class_free(struct class_state *state);
static inline bool class_is_global(const struct class_state *state)
{
	return state->class->flags & CLASS_F_GLOBAL;
}
/* Sorts model->ranked and finds what is cyclic; a reference to a class that does not exist is an error. */
int model_rank_classes(struct model *model, struct dpu_error *err);
static inline bool field_is_config(const struct field *field)
{
	return !(field->flags & FIELD_F_READ_ONLY);
}
/* Walks rows, or with base_count as first the class's own. */
#define CLASS_EACH_ROW(state_, first_, row_)                                                                           \
	for (const struct field *row_ = (state_)->rows + (first_); row_->name; row_++)
/* lint.c: what can be said of one class alone. */
int class_lint(const struct object_class *class, struct dpu_error *err);

/* object.c: versions */
struct object *object_new(const struct class_state *state); /* with defaults; NULL without memory */
struct object *object_copy(const struct class_state *state, const struct object *from);
void object_free(const struct class_state *state, struct object *object);
/* A shallow copy with what observe() fills in, of which it owns just that. */
struct object *object_observe(const struct class_state *state, const struct object *object);
void object_observed_free(const struct class_state *state, struct object *copy);
bool object_equal(const struct class_state *state, const struct object *a, const struct object *b);

/* node.c: identities and indexes */
int node_new(struct model *model, struct class_state *state, struct node **ret); /* in no index, without slot */
void node_discard(struct node *node);         /* out of its class and slot, freed; in no index */
void node_count(struct node *node, int step); /* in its class and tenant */
void names_insert(struct model *model, struct node *node);
void names_remove(struct model *model, struct node *node);
void uuids_insert(struct model *model, struct node *node);
void uuids_remove(struct model *model, struct node *node);
struct node *names_find(const struct model *model, const struct class_state *state, const struct node *tenant,
			const char *name);
struct node *uuids_find(const struct model *model, const struct uuid *uuid);
int slot_take(struct class_state *state, uint32_t wanted, struct node *node, uint32_t *ret); /* wanted 0: lowest */
void slot_release(struct class_state *state, uint32_t slot);
/* Links the unique values of node->object; an object that has the same value is given in *ret_other (-EEXIST). */
int uniques_link(struct model *model, struct node *node, const struct field **ret_field, struct node **ret_other);
void uniques_unlink(struct model *model, struct node *node);

/* edge.c: references between nodes */
int edges_build(struct node *node, const struct object *version); /* links them; node->edges must be empty */
void edges_link(struct node *node);
void edges_unlink(struct node *node);
struct ref *edge_ref(const struct edge *edge); /* in from's current version */
void node_patch_referrers(struct node *node);  /* they point to node->object */

/* resolve.c */
struct node *model_tenant(const struct model *model, const char *text); /* by name or UUID; NULL: there is none */

/* order.c: members in order of application into stage->order */
int stage_order(struct stage *stage, struct dpu_error *err);

/* stage.c */
int stage_begin(struct model *model, const struct txn *txn, enum stage_kind kind, struct stage **ret,
		struct dpu_error *err);
void stage_revert(struct stage *stage); /* the view is as before */
void stage_cancel(struct stage *stage); /* the same, if it was not done, and frees stage */
/* Deletes all objects, unconditionally: the end. NULL without memory. */
struct stage *stage_everything(struct model *model);
void stage_finish(struct stage *stage);  /* it is committed: the next transaction may be staged */
void stage_release(struct stage *stage); /* after the barrier: frees old versions, deleted nodes, slots, stage */
/* stage_resolve.c, stage_decode.c, stage_validate.c: steps of stage_begin() */
int stage_resolve(struct stage *stage, const struct txn *txn, struct dpu_error *err);
int stage_resolve_all(struct stage *stage, struct dpu_error *err);
int stage_decode(struct stage *stage, const struct txn *txn, struct dpu_error *err);
int stage_validate(struct stage *stage, struct dpu_error *err);
/* Puts class/tenant/name of the member in front of err's path; makes up an error where the class gave none. */
int member_error(const struct member *member, int status, struct dpu_error *err);

/* apply.c */
/* When it fails, it is undone and the view reverted. */
int stage_apply(struct stage *stage, struct dpu_error *err);
/* Reverts the view and undoes all, after stage_apply(). What cannot be undone is added to err. */
void stage_undo(struct stage *stage, struct dpu_error *err);
void model_commit_hooks(struct model *model);
void model_forget_hooks(struct model *model);

/* txn.c */
struct change *txn_append(struct txn *txn); /* a zeroed one */
void inflight_abandon(struct model *model); /* answers those who wait for a barrier that nobody will pass */

/* event.c */
void stage_emit(struct stage *stage, json_t *diff); /* diff NULL: made where somebody listens */
void subscriptions_free(struct model *model);

/* diff.c */
/* Elements in the order of stage->order. NULL without memory. */
json_t *stage_diff(const struct stage *stage);
json_t *member_diff(const struct member *member);

/* schema.c */
struct class_state *const *model_ranked(const struct model *model);          /* classes in reference order */
json_t *field_default_json(const struct field *field, const void *defaults); /* NULL: no default */

/* document.c */
enum { DOCUMENT_VERSION = 1 };
const char *document_key(const struct class_state *state); /* the plural, of a singleton the name */
