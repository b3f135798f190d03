/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the filter: pieces of the arena, and a write's copy. */
#pragma once

#include <sys/queue.h>
#include "device/block/block_queue.h"
#include "service/block/ingress/ingress.h"

enum {
	PAGE_BYTES = DPU_BLOCK_BYTES,
	CHUNK_BYTES = 64 << 10,
	SMALL_BYTES = 4 * PAGE_BYTES, /* up to here in pages, else in chunks */
	INLINE_PIECES = SMALL_BYTES / PAGE_BYTES,
	CHUNK_BLOCKS = CHUNK_BYTES / DPU_BLOCK_BYTES,
};

struct piece {
	struct piece *next;
};

struct ingress;
TAILQ_HEAD(ingress_list, ingress);

struct ingress_arena {
	uint8_t *memory;
	uint64_t bytes;
	struct piece *pages, *chunks;                           /* free ones, the last used first: it is in the cache */
	uint8_t *pages_at, *pages_end, *chunks_at, *chunks_end; /* never used so far */
	uint64_t pages_free, chunks_free;                       /* both kinds of free */
	struct copy *copies;                                    /* free */
	struct ingress_list waiting;
	bool serving;
};

struct ingress_account {
	struct ingress_arena *arena;
	uint64_t limit;
	struct ingress_stats stats;
};

struct ingress {
	struct dpu_block_device device; /* first */
	struct dpu_block_device *below;
	struct ingress_account *account;
	struct block_queue waiting;
	TAILQ_ENTRY(ingress) link; /* of the arena's waiting ones */
	bool waits;
	bool copies; /* what enters; does not change, so a request that was copied is told from one that was not */
	uint64_t outstanding; /* copies */
	void (*closed)(void *arg);
	void *closed_arg;
};

/* A write or compare under way. */
struct copy {
	struct dpu_block_request request; /* first: to the device below */
	struct dpu_block_request *original;
	struct ingress *ingress;
	struct copy *next;
	uint64_t bytes; /* of the arena */
	struct iovec *pieces;
	uint32_t *crc;
	struct iovec inline_pieces[INLINE_PIECES];
	uint32_t inline_crc[INLINE_PIECES];
};

/* Room for a request of `length` bytes: pieces and how much they take. NULL: not now. */
struct copy *copy_new(struct ingress_account *account, uint64_t length);
void copy_free(struct ingress_account *account, struct copy *copy);
