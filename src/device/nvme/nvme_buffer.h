/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory for the data of commands: one pool for each worker, in it a tenant's part, and in that an account for each
 * subsystem. A shortage never fails a command: who finds none waits.
 *
 * A tenant has a floor that nobody else can take; what it uses beyond that comes from the part that all share. Accounts
 * without a tenant are bounded by their own limit alone: an admin queue has one, so that its host can always connect,
 * keep itself alive and abort, whatever others hold.
 *
 * Asked buffers wait for data that a host still has to send. They get at most three quarters of an account, of a floor
 * and of the shared part: the host may be unable to send that data before a command that needs a buffer, too, has been
 * read. The last quarter is for those that need nothing more from anybody, so it always becomes free again.
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

enum nvme_buffer_use {
	NVME_BUFFER_DIRECT, /* its data is there, or the device gives it */
	NVME_BUFFER_ASKED,  /* a host has still to send it: until nvme_buffer_landed() */
	NVME_BUFFER_USES,
};

/* Contiguous, aligned to a page. */
struct nvme_buffer {
	uint8_t *data;
	struct nvme_account *account; /* who pays, or, once exempt, who is answerable for it */
	struct nvme_pool *pool;
	struct nvme_buffer *next;
	uint8_t class, use;
	bool exempt;
	uint32_t crc[]; /* one for each 4 KiB */
};

/* A tenant's part of a pool. Embedded by its owner. */
struct nvme_tenant {
	struct nvme_pool *pool;
	uint64_t used, asked; /* bytes */
	uint64_t queues;      /* … of its queues */
};

TAILQ_HEAD(nvme_waiters, nvme_waiter);

/* What somebody uses and may use. Embedded by its owner. */
struct nvme_account {
	struct nvme_pool *pool;
	struct nvme_tenant *tenant;  /* NULL: its own limit is the only one */
	uint64_t used, asked, limit; /* bytes */
	uint64_t exempt;             /* … beside them that nobody pays for */
	uint64_t queues;             /* … of its queues */
	uint64_t waits;              /* how often somebody had to wait */
	struct nvme_waiters waiting[NVME_BUFFER_USES];
	TAILQ_ENTRY(nvme_account) link; /* among the accounts where somebody waits */
	bool linked;
};

/* Somebody who waits for a buffer, and gets it once. */
struct nvme_waiter {
	void (*ready)(struct nvme_waiter *waiter, struct nvme_buffer *buffer);
	struct nvme_account *account;
	TAILQ_ENTRY(nvme_waiter) link;
	uint64_t order;
	size_t bytes;
	uint8_t use;
	bool waiting;
};

struct nvme_pool_options {
	uint64_t bytes;                          /* that all share; 0 = 64 MiB */
	uint64_t floor_bytes;                    /* of each tenant, beside them; 0 = 2 MiB */
	uint64_t queue_bytes, queue_floor_bytes; /* so for queues; 0 = 512 and 4 MiB */
};

struct nvme_pool *nvme_pool_new(const struct nvme_pool_options *options); /* NULL: no memory */
/* All buffers are back. */
void nvme_pool_free(struct nvme_pool *pool);
uint64_t nvme_pool_used(const struct nvme_pool *pool); /* bytes lent */
uint64_t nvme_pool_kept(const struct nvme_pool *pool); /* bytes that are not, and not given back to the system yet */
/* Housekeeping: who found no memory in the system is tried again, and what nobody has used for a second goes back.
 * Returns ns until it has to be called again, UINT64_MAX: never. */
uint64_t nvme_pool_tick(struct nvme_pool *pool, uint64_t now_ns);

void nvme_tenant_init(struct nvme_tenant *tenant, struct nvme_pool *pool);
void nvme_account_init(struct nvme_account *account, struct nvme_pool *pool, struct nvme_tenant *tenant,
		       uint64_t limit);

/* bytes: 1 to NVME_BUFFER_MAX_BYTES. NULL: wait. */
struct nvme_buffer *nvme_buffer_get(struct nvme_account *account, size_t bytes, enum nvme_buffer_use use);
/* Serves those who wait: their ready() may be called. */
void nvme_buffer_put(struct nvme_buffer *buffer);
/* An asked one has its data: it is a direct one now. May serve those who wait. */
void nvme_buffer_landed(struct nvme_buffer *buffer);
/* Nobody pays for it any more: for one of a fused pair that waits for the other, whose buffer else could be held up by
 * those who wait in the same manner. False: a quarter of the account's limit is exempt already, and it stays as it is.
 */
bool nvme_buffer_exempt(struct nvme_buffer *buffer);
size_t nvme_buffer_bytes(const struct nvme_buffer *buffer);

/* After nvme_buffer_get() with the same arguments gave none. Accounts are served in turn, and each of them in order,
 * but that asked ones do not hold up direct ones where only the limit of asked ones is reached. */
void nvme_buffer_wait(struct nvme_account *account, struct nvme_waiter *waiter, size_t bytes, enum nvme_buffer_use use);
/* Nothing if it does not wait. */
void nvme_buffer_wait_cancel(struct nvme_waiter *waiter);

/* Memory for a queue and its commands, which is not for data, and not waited for. A tenant has a floor here, too, and
 * beyond it what all share. Of both an eighth is for admin queues alone: a host can come in, look and end what it has,
 * whatever the I/O queues take. False: there is no room. */
bool nvme_queue_memory_take(struct nvme_account *account, uint64_t bytes, bool admin);
void nvme_queue_memory_give(struct nvme_account *account, uint64_t bytes);
