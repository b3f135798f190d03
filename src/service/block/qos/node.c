// SPDX-License-Identifier: BSD-3-Clause
/* One node among its siblings: its caps and guarantees, its place in their heaps. */
#include "service/block/qos/qos_priv.h"

enum { TAG_BITS = 6, TAG_EACH = 4096 }; /* what a request weighs beside its bytes */

int set_reserve(struct qos_set *set)
{
	if (heap_reserve(&set->waiting, set->members) < 0 || heap_reserve(&set->ready, set->members) < 0 ||
	    heap_reserve(&set->promised, set->members) < 0)
		return -1;
	set->members++;
	return 0;
}

void set_fini(struct qos_set *set)
{
	heap_fini(&set->waiting);
	heap_fini(&set->ready);
	heap_fini(&set->promised);
}

void node_init(struct qos_node *node, struct qos_bucket *cap, struct qos_bucket *guarantee, bool shared)
{
	for (unsigned i = 0; i < QOS_UNITS; i++) {
		node->cap[i] = (struct qos_lease){ .bucket = &cap[i], .shared = shared };
		node->guarantee[i] = (struct qos_lease){ .bucket = &guarantee[i], .shared = shared };
	}
	node->weight = QOS_WEIGHT_DEFAULT;
}

int node_policy(struct qos_node *node, uint32_t weight)
{
	bool before = node->guard;

	node->capped = qos_bucket_limits(node->cap[QOS_IOS].bucket) || qos_bucket_limits(node->cap[QOS_BYTES].bucket);
	node->guaranteed = qos_bucket_limits(node->guarantee[QOS_IOS].bucket) ||
			   qos_bucket_limits(node->guarantee[QOS_BYTES].bucket);
	node->guard = node->guaranteed || weight;
	node->weight = weight ? weight : QOS_WEIGHT_DEFAULT;
	return node->guard - before;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Amounts matter for what is left of a lease only, and there the bytes of one block will do: take() has the last word.
 */
uint64_t node_when(const struct qos_node *node)
{
	if (!node->capped)
		return 0;
	return later(qos_lease_when(&node->cap[QOS_IOS], 1), qos_lease_when(&node->cap[QOS_BYTES], DPU_BLOCK_BYTES));
}

uint64_t node_due(const struct qos_node *node, const struct dpu_block_request *request)
{
	if (!node->guaranteed)
		return UINT64_MAX;
	return later(
		qos_lease_when(&node->guarantee[QOS_IOS], request ? qos_request_units(request) : 1),
		qos_lease_when(&node->guarantee[QOS_BYTES], request ? qos_request_bytes(request) : DPU_BLOCK_BYTES));
}

static bool take(struct qos_lease *lease, uint64_t ios, uint64_t bytes, uint64_t now_ns)
{
	if (!qos_lease_take(&lease[QOS_IOS], ios, now_ns))
		return false;
	if (qos_lease_take(&lease[QOS_BYTES], bytes, now_ns))
		return true;
	qos_lease_give(&lease[QOS_IOS], ios);
	return false;
}

bool node_take_cap(struct qos_node *node, const struct dpu_block_request *request, uint64_t now_ns)
{
	return !node->capped || take(node->cap, 1, qos_request_bytes(request), now_ns);
}

void node_owe_cap(struct qos_node *node, const struct dpu_block_request *request, uint64_t now_ns)
{
	if (!node->capped)
		return;
	qos_lease_owe(&node->cap[QOS_IOS], 1, now_ns);
	qos_lease_owe(&node->cap[QOS_BYTES], qos_request_bytes(request), now_ns);
}

void node_give_cap(struct qos_node *node, const struct dpu_block_request *request)
{
	if (!node->capped)
		return;
	qos_lease_give(&node->cap[QOS_IOS], 1);
	qos_lease_give(&node->cap[QOS_BYTES], qos_request_bytes(request));
}

bool node_take_guarantee(struct qos_node *node, const struct dpu_block_request *request, uint64_t now_ns)
{
	return node->guaranteed &&
	       take(node->guarantee, qos_request_units(request), qos_request_bytes(request), now_ns);
}

void node_expire(struct qos_node *node, uint64_t now_ns)
{
	for (unsigned i = 0; i < QOS_UNITS; i++) {
		qos_lease_expire(&node->cap[i], now_ns);
		qos_lease_expire(&node->guarantee[i], now_ns);
	}
}

bool node_credit(const struct qos_node *node)
{
	return node->cap[QOS_IOS].credit || node->cap[QOS_BYTES].credit || node->guarantee[QOS_IOS].credit ||
	       node->guarantee[QOS_BYTES].credit;
}

/* ---- places ---- */

void set_remove(struct qos_set *set, struct qos_node *node)
{
	heap_remove(node->ready ? &set->ready : &set->waiting, &node->place);
	heap_remove(&set->promised, &node->due);
	node->ready = false;
}

void set_wait(struct qos_set *set, struct qos_node *node, uint64_t when_ns)
{
	if (node->ready)
		set_remove(set, node);
	heap_set(&set->waiting, &node->place, when_ns);
}

/* Its tag is never behind: nobody saves up what he did not use. */
void set_ready(struct qos_set *set, struct qos_node *node, uint64_t due_ns)
{
	if (!node->ready) {
		heap_remove(&set->waiting, &node->place);
		node->ready = true;
		heap_set(&set->ready, &node->place, heap_before(node->tag, set->clock) ? set->clock : node->tag);
	}
	if (due_ns == UINT64_MAX)
		heap_remove(&set->promised, &node->due);
	else
		heap_set(&set->promised, &node->due, due_ns);
}

void set_charge(struct qos_set *set, struct qos_node *node, const struct dpu_block_request *request, bool by_weight)
{
	uint64_t cost = ((qos_request_bytes(request) + TAG_EACH) << TAG_BITS) / node->weight;

	if (by_weight)
		set->clock = node->place.key;
	node->tag = node->place.key + (cost ? cost : 1);
	heap_set(&set->ready, &node->place, node->tag);
}
