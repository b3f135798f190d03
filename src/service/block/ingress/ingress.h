/* SPDX-License-Identifier: BSD-3-Clause */
/* The filter where a guest's data enters: what is written is copied once, and from then on nobody but us can change it.
 * Over a device that looks at CRCs (a volume; a remote namespace with data digests) the copy gets its CRC32C here,
 * block by block, and goes down with DPU_BLOCK_CRC when offset and length are whole blocks. Over one that does not,
 * nothing looks at the data twice, and requests pass as they are. Reads always pass: the device puts them where the
 * guest wants them.
 *
 * Memory: an arena for each worker, an account for each tenant in it. A request for which there is no room waits, in
 * order, until others have completed; none fails for that. A tenant that has used up its account waits for its own
 * requests alone.
 *
 * All in the worker of the device below, but for what says otherwise. */
#pragma once

#include <stdatomic.h>
#include <dpu/block.h>

struct ingress_arena;
struct ingress_account;

enum { INGRESS_MIN_ARENA_BYTES = 24 << 20 }; /* the largest request fits beside small ones */

/* bytes: taken from the system as it is used. Any thread. -ENOMEM; -EINVAL: less than INGRESS_MIN_ARENA_BYTES. */
int ingress_arena_new(uint64_t bytes, struct ingress_arena **ret);
void *ingress_arena_memory(const struct ingress_arena *arena, uint64_t *ret_bytes); /* all of it, page-aligned */
void ingress_arena_free(struct ingress_arena *arena);                               /* without accounts */

/* limit: bytes; one larger request goes when the account is empty. -ENOMEM. Any thread, while the worker does not use
 * the arena for it. */
int ingress_account_new(struct ingress_arena *arena, uint64_t limit, struct ingress_account **ret);
void ingress_account_free(struct ingress_account *account); /* without devices */

/* May be read from anywhere. */
struct ingress_stats {
	_Atomic uint64_t used_bytes, most_bytes; /* now, and at most */
	_Atomic uint64_t copied_bytes;
	_Atomic uint64_t waited; /* requests that waited for room */
};
const struct ingress_stats *ingress_account_stats(const struct ingress_account *account);

/* A device on top of `below`, whose `changed` is the filter's until it is closed. Its `close` waits for what is under
 * way and leaves the device below alone. -ENOMEM. Made in any thread; ingress_start() in the worker. */
int ingress_new(struct dpu_block_device *below, struct ingress_account *account, struct dpu_block_device **ret);
void ingress_start(struct dpu_block_device *ingress);
