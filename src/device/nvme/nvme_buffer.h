/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory for the data of commands: one pool for each worker, an account in it for each tenant, and a queue of those who
 * wait. A shortage never fails a command. Commands of admin queues have a reserve of their own, so that a host can
 * always connect, keep itself alive and abort.
 *
 * One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/error.h"

struct nvme_pool;

enum {
	NVME_BUFFER_MIN_BYTES = 4096,
	NVME_BUFFER_CLASSES = 9, /* powers of two */
	NVME_BUFFER_MAX_BYTES = NVME_BUFFER_MIN_BYTES << (NVME_BUFFER_CLASSES - 1),
};

/* Contiguous, aligned to a page. */
struct nvme_buffer {
	uint8_t *data;
	struct nvme_account *account; /* who pays */
	struct nvme_buffer *next;
	uint8_t class;
	bool reserve;   /* paid by the reserve of admin queues */
	uint32_t crc[]; /* one for each 4 KiB */
};

/* What a tenant uses and may use. Embedded by its owner. */
struct nvme_account {
	struct nvme_pool *pool;
	uint64_t used, limit; /* bytes */
	uint64_t waits;       /* how often somebody had to wait */
	TAILQ_HEAD(nvme_waiters, nvme_waiter) waiting;
	TAILQ_ENTRY(nvme_account) link; /* among the accounts where somebody waits */
	bool linked;
};

/* Somebody who waits for a buffer, and gets it once. */
struct nvme_waiter {
	void (*ready)(struct nvme_waiter *waiter, struct nvme_buffer *buffer);
	struct nvme_account *account;
	TAILQ_ENTRY(nvme_waiter) link;
	size_t bytes;
	bool waiting, reserve;
};

struct nvme_pool_options {
	uint64_t bytes;         /* at most, without the reserve; 0 = 64 MiB */
	uint64_t reserve_bytes; /* of admin queues; 0 = 4 MiB */
};

struct nvme_pool *nvme_pool_new(const struct nvme_pool_options *options); /* NULL: no memory */
/* All buffers are back. */
void nvme_pool_free(struct nvme_pool *pool);
uint64_t nvme_pool_used(const struct nvme_pool *pool); /* bytes lent */

/* limit 0: half of the pool. */
void nvme_account_init(struct nvme_account *account, struct nvme_pool *pool, uint64_t limit);

/* bytes: 1 to NVME_BUFFER_MAX_BYTES. NULL: wait. */
struct nvme_buffer *nvme_buffer_get(struct nvme_account *account, size_t bytes, bool reserve);
void nvme_buffer_put(struct nvme_buffer *buffer);
size_t nvme_buffer_bytes(const struct nvme_buffer *buffer);

/* After nvme_buffer_get() with the same arguments gave none. Served in order for each account, and among accounts in
 * turn, from nvme_buffer_put(). */
void nvme_buffer_wait(struct nvme_account *account, struct nvme_waiter *waiter, size_t bytes, bool reserve);
/* Nothing if it does not wait. */
void nvme_buffer_wait_cancel(struct nvme_waiter *waiter);
