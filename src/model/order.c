/* SPDX-License-Identifier: BSD-3-Clause */
/* Order of application: what an object refers to comes before it, what referred to it goes before it is deleted.
 *
 * A depth-first walk over "waits for". A created or changed object waits for the targets of its new references that
 * the transaction creates or changes. A deleted object waits for the members whose old versions referred to it. The
 * first kind waits for nothing of the second, so a circle lies within the new references, which is an error of the
 * user, or within the old ones, which were without circle when they came into force. Deletions are started from first,
 * so that what they free is free when others take it. */
#include <errno.h>
#include <stdlib.h>
#include "model/model_priv.h"

struct frame {
	struct node *node;
	struct edge *edge; /* deletions: next of old_referrers */
	uint32_t next;     /* others: next of node->edges */
};

struct walk {
	struct stage *stage;
	uint64_t active, done; /* marks of this walk */
	struct frame *stack;
	size_t depth, capacity;
	size_t ordered;
};

static bool is_deletion(const struct node *node)
{
	return node->member && !node->member->new;
}

static int walk_enter(struct walk *walk, struct node *node, struct dpu_error *err)
{
	if (walk->depth == walk->capacity) {
		size_t capacity = walk->capacity ? walk->capacity * 2 : 64;
		struct frame *stack = reallocarray(walk->stack, capacity, sizeof(*stack));
		if (!stack)
			return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		walk->stack = stack;
		walk->capacity = capacity;
	}
	node->mark = walk->active;
	walk->stack[walk->depth++] = (struct frame){
		.node = node,
		.edge = is_deletion(node) ? LIST_FIRST(&node->member->old_referrers) : NULL,
	};
	return 0;
}

/* What node still waits for, or NULL. Through objects outside the transaction the walk goes only to find circles. */
static struct node *walk_next(struct frame *frame)
{
	if (is_deletion(frame->node)) {
		struct edge *edge = frame->edge;
		if (!edge)
			return NULL;
		frame->edge = LIST_NEXT(edge, link);
		return edge->from;
	}
	while (frame->next < frame->node->edge_count) {
		struct node *target = frame->node->edges[frame->next++].to;
		if (target->member || target->class->cyclic)
			return target;
	}
	return NULL;
}

static int walk_circle(const struct walk *walk, const struct node *node, struct dpu_error *err)
{
	char path[OBJECT_PATH_TEXT], through[OBJECT_PATH_TEXT];
	const struct node *last = walk->stack[walk->depth - 1].node;

	object_path(node->object, path, sizeof(path));
	return error_set(err, DPU_E_INVALID, path, "it would refer to itself%s%s: references must not form a circle",
			 last == node ? "" : " through ",
			 last == node ? "" : object_path(last->object, through, sizeof(through)));
}

static int walk_from(struct walk *walk, struct node *root, struct dpu_error *err)
{
	int status = root->mark == walk->done ? 0 : walk_enter(walk, root, err);

	while (status == 0 && walk->depth > 0) {
		struct frame *frame = &walk->stack[walk->depth - 1];
		struct node *next = walk_next(frame);
		if (!next) {
			frame->node->mark = walk->done;
			if (frame->node->member)
				walk->stage->order[walk->ordered++] = frame->node->member;
			walk->depth--;
		} else if (next->mark == walk->active) {
			status = walk_circle(walk, next, err);
		} else if (next->mark != walk->done) {
			status = walk_enter(walk, next, err);
		}
	}
	return status;
}

int stage_order(struct stage *stage, struct dpu_error *err)
{
	struct walk walk = { .stage = stage };
	struct member *member;
	int status = 0;

	walk.active = ++stage->model->epoch;
	walk.done = ++stage->model->epoch;
	if (!stage->order)
		stage->order = calloc(stage->count + 1, sizeof(struct member *));
	if (!stage->order)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	for (int changes = 0; changes < 2; changes++) {
		TAILQ_FOREACH(member, &stage->members, link)
		{
			if (status == 0 && (member->new != NULL) == changes)
				status = walk_from(&walk, member->node, err);
		}
	}
	free(walk.stack);
	return status;
}
