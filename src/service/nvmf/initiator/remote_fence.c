// SPDX-License-Identifier: BSD-3-Clause
/* Writes whose fate a lost path has taken with it: which are repeated at once, and what waits until the old association
 * is known to be dead. DESIGN.md has the argument. */
#include "service/nvmf/initiator/initiator_priv.h"

#include <stdlib.h>
#include "base/clock.h"
#include "service/nvmf/initiator/remote_request.h"

enum { ORPHANS_MAX = 512 }; /* compared with each other; more simply wait */

static bool overlap(const struct dpu_block_request *a, const struct dpu_block_request *b)
{
	return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

bool remote_fenced(const struct remote *remote, const struct dpu_block_request *request)
{
	if ((remote->fence_count == 0 && remote->everything_until_ns == 0) || !request_modifies(request) ||
	    (request->scratch[1] & (REQUEST_PASSES | REQUEST_CANCELLED)) == REQUEST_PASSES)
		return false;
	if (remote->everything_until_ns > 0)
		return true;
	for (unsigned i = 0; i < remote->fence_count; i++)
		if (request->offset < remote->fences[i].end &&
		    remote->fences[i].start < request->offset + request->length)
			return true;
	return false;
}

static void held_go(struct remote *remote)
{
	struct dpu_block_request *request = remote->held.first, *next;

	block_queue_init(&remote->held);
	for (; request; request = next) {
		next = request->next;
		if (remote_fenced(remote, request))
			block_queue_add(&remote->held, request);
		else if (remote_request_over(remote, request))
			remote_request_fail(remote, request, DPU_BLOCK_GONE);
		else
			block_queue_add(&remote->waiting, request);
	}
	remote_wake(remote);
}

void remote_fences_tick(struct remote *remote, uint64_t now_ns)
{
	unsigned kept = 0, before = remote->fence_count;
	bool all = remote->everything_until_ns > 0 && now_ns >= remote->everything_until_ns;

	if (all)
		remote->everything_until_ns = 0;
	for (unsigned i = 0; i < before; i++)
		if (remote->fences[i].dead_ns > now_ns)
			remote->fences[kept++] = remote->fences[i];
	remote->fence_count = kept;
	if ((all || kept < before) && remote->held.first)
		held_go(remote);
}

static bool fence_add(struct remote *remote, const struct dpu_block_request *request, uint64_t dead_ns)
{
	if (remote->fence_count == remote->fence_room) {
		unsigned room = remote->fence_room ? remote->fence_room * 2 : 64;
		struct fence *larger = realloc(remote->fences, room * sizeof(*larger));

		if (!larger)
			return false;
		remote->fences = larger;
		remote->fence_room = room;
	}
	remote->fences[remote->fence_count++] =
		(struct fence){ request->offset, request->offset + request->length, dead_ns };
	return true;
}

static void meets(struct dpu_block_request *orphans, const struct dpu_block_request *other)
{
	for (struct dpu_block_request *orphan = orphans; orphan; orphan = orphan->next)
		if (overlap(orphan, other))
			orphan->scratch[1] &= ~(uint64_t)REQUEST_PASSES;
}

/* What another path is just doing to the same blocks, or has been lost with, may not be followed by a stale write after
 * both were answered. */
static void meets_others(struct remote *remote, struct dpu_block_request *orphans)
{
	for (unsigned i = 0; i < remote->path_count; i++) {
		const struct path *path = &remote->paths[i];

		for (struct dpu_block_request *other = path->orphans; other; other = other->next)
			meets(orphans, other);
		for (unsigned q = 0; q < REMOTE_QUEUES_MAX; q++) {
			struct host_queue *queue = path->queues[q];

			for (unsigned c = 0; queue && queue->under_way > 0 && c < queue->depth; c++) {
				const struct host_command *command = &queue->commands[c];

				if (command->busy && command->header.pdu.sqe.opcode != NVME_FABRICS &&
				    request_modifies(command->ctx))
					meets(orphans, command->ctx);
			}
		}
	}
}

/* Those that overlap nothing that is in doubt or under way pass. */
static void passes_mark(struct remote *remote, struct dpu_block_request *orphans)
{
	for (struct dpu_block_request *orphan = orphans; orphan; orphan = orphan->next) {
		orphan->scratch[1] &= ~(uint64_t)REQUEST_PASSES;
		if (!remote_fenced(remote, orphan))
			orphan->scratch[1] |= REQUEST_PASSES;
	}
	for (struct dpu_block_request *a = orphans; a; a = a->next) {
		for (struct dpu_block_request *b = a->next; b; b = b->next) {
			if (!overlap(a, b))
				continue;
			a->scratch[1] &= ~(uint64_t)REQUEST_PASSES;
			b->scratch[1] &= ~(uint64_t)REQUEST_PASSES;
		}
	}
	meets_others(remote, orphans);
}

/* A repeated write that still waits for a path or a pause stops for the fences that are about to come. */
static void passes_end(struct dpu_block_request *waiting, const struct dpu_block_request *orphans, bool all)
{
	for (struct dpu_block_request *request = waiting; request; request = request->next) {
		const struct dpu_block_request *orphan = request->scratch[1] & REQUEST_PASSES ? orphans : NULL;

		while (orphan && !all && !overlap(orphan, request))
			orphan = orphan->next;
		if (orphan)
			request->scratch[1] &= ~(uint64_t)REQUEST_PASSES;
	}
}

/* The path's connections are closed: from now on it is sent nothing. */
void remote_orphans_adopt(struct remote *remote, struct path *path)
{
	struct dpu_block_request *orphans = path->orphans, *next;
	uint64_t dead_ns = clock_ns() + remote_path_outlives_ms(path) * CLOCK_NS_PER_MS;
	unsigned count = 0;

	path->orphans = NULL;
	for (struct dpu_block_request *orphan = orphans; orphan; orphan = orphan->next)
		count++;
	bool all_wait = remote->options.shared || count > ORPHANS_MAX;
	if (!all_wait)
		passes_mark(remote, orphans);
	passes_end(remote->waiting.first, orphans, all_wait);
	passes_end(remote->later.first, orphans, all_wait);
	for (struct dpu_block_request *orphan = orphans; orphan; orphan = next) {
		next = orphan->next;
		orphan->scratch[1] |= REQUEST_DOUBTED;
		if (!fence_add(remote, orphan, dead_ns) && remote->everything_until_ns < dead_ns)
			remote->everything_until_ns = dead_ns;
		if (all_wait || (orphan->scratch[1] & REQUEST_CANCELLED))
			orphan->scratch[1] &= ~(uint64_t)REQUEST_PASSES;
		if (!request_holds(orphan)) {
			remote_request_fail(remote, orphan, DPU_BLOCK_INTEGRITY);
		} else if (orphan->scratch[1] & REQUEST_PASSES) {
			remote->repeated++;
			block_queue_add(&remote->waiting, orphan);
		} else {
			remote->held_count++;
			block_queue_add(&remote->held, orphan);
		}
	}
}
