/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool of blocks on one or more media, and the thin volumes, snapshots and clones in it.
 *
 * Each volume is a block device (dpu/block.h) with 512-byte sectors that keeps a CRC32C of each block and checks it at
 * every read. A write of several blocks is not atomic as a whole; each block of it is. Discard and write zeroes give
 * space back and read as zeroes; DPU_BLOCK_KEEP is a hint without effect, because the next write takes new space
 * anyway. Snapshots are read-only devices.
 *
 * Threads: a store belongs to one worker, together with its media; every call and every callback happens there. All
 * work is done in store_poll(), which also polls the media: a done is never called from within a submit.
 *
 * Life: store_new → STORE_FORMAT or STORE_OPEN → any other commands and requests → STORE_CLOSE → store_free. A failed
 * format or open leaves only store_free. The media may have no request of the store any more when it is freed:
 * store_drained() says when; after that they may be closed by whoever made them. store_free without STORE_CLOSE is what
 * a crash would be: nothing that was acknowledged is lost while tail_path exists, nothing that was flushed otherwise.
 */
#pragma once

#include <dpu/block.h>
#include "base/error.h"

struct store;

enum { STORE_NAME_BYTES = 64, STORE_MAX_MEDIA = 64 };

/* What went wrong with stored data, as it is found. */
enum store_damage {
	STORE_DAMAGE_DATA,      /* a block contradicts its CRC */
	STORE_DAMAGE_VOLUME,    /* a page of a volume's map: the volume is quarantined */
	STORE_DAMAGE_COUNTS,    /* a page of reference counts: what it counted is never given back */
	STORE_DAMAGE_DIRECTORY, /* a page of the directory: its volumes are not there */
	STORE_DAMAGE_MEDIUM,    /* a medium fails writes: the pool is read-only from now on */
};

struct store_report {
	enum store_damage damage;
	uint64_t volume; /* id; 0 if unknown */
	uint64_t block;  /* of the volume; STORE_DAMAGE_DATA only */
	const char *medium;
	uint64_t offset; /* bytes, on the medium */
	const char *why;
};

struct store_options {
	const char *name;      /* for errors */
	const char *tail_path; /* file on a tmpfs that outlives the process, with what the log has not yet; NULL: none,
				* then a SIGKILL counts as a power failure */
	uint32_t cache_pages;  /* of 4 KiB, of maps and counts; 0: 16384. A floor applies. */
	void (*report)(void *ctx, const struct store_report *report); /* may be NULL */
	void *ctx;
};

/* The strings are copied; the media are lent until store_free, and are polled by the store alone. -ENOMEM, or the
 * media cannot be used (error). */
int store_new(const struct store_options *options, struct dpu_block_device *const *media, unsigned count,
	      struct store **ret, struct dpu_error *error);
void store_free(struct store *store);
/* From the first call on the store begins nothing any more; true when the media have nothing of it, which store_poll()
 * brings about. */
bool store_drained(struct store *store);
/* Bounded work, of which requests to media are a part; returns how much was done. The worker calls it every round while
 * anything is under way; when it returns 0, nothing more happens before a request to a medium ends, somebody submits
 * or cancels something, or store_due_ns(). */
unsigned store_poll(struct store *store);
/* When it wants to be polled even if nothing happens on its media (clock_ns()); UINT64_MAX: never. */
uint64_t store_due_ns(const struct store *store);

enum store_op {
	STORE_FORMAT, /* makes an empty pool of the media and opens it; log_bytes, max_volumes, max_bytes */
	STORE_OPEN,   /* finds the pool on the media, recovers it. A page that recovery needs and the medium cannot read
		       * is an error, since it may be there the next time; with force it counts as damaged, and what
		       * the log has for its volume is lost. A medium that is an older copy of itself is an error with
		       * force, too. DPU_E_NOT_FOUND: no place of a root has a whole one */
	STORE_CLOSE,  /* no request may be under way; writes a checkpoint. Commands that came before end first: those
		       * that can be cancelled are, others are carried out. Those that come after find no pool */
	STORE_GROW,   /* medium: is added. DPU_E_EXISTS if it holds another pool, which force erases */
	STORE_CREATE, /* name, bytes: a volume */
	STORE_SNAPSHOT, /* volume, name: a read-only copy of this instant */
	STORE_CLONE,    /* volume, name: a writable copy of this instant, of a volume or snapshot */
	STORE_RESIZE,   /* volume, bytes; what is cut off is gone */
	STORE_DELETE,   /* volume; its space comes back in the background */
	STORE_SCRUB,    /* checks every page and block against its CRC, at a rate; progress, cancel */
	STORE_REPAIR,   /* makes all reference counts again from the maps of the volumes; progress, cancel. Requests and
			 * commands wait meanwhile. Volumes that are quarantined and can be read after all are there
			 * again. While a map cannot be read nothing is given back, and the error names the volume:
			 * delete it first. force: volumes of a directory page that is lost are given up, and those that
			 * lack something that was acknowledged are there again, too. */
	STORE_CHECKPOINT,
	STORE_MEASURE, /* of each volume and snapshot: what it has alone, and deleting it would give back; progress,
			* cancel. Requests and commands go on meanwhile */
	STORE_LOCATE,  /* volume, bytes (an offset): where that block is; location */
	STORE_SEEK,    /* volume, bytes (an offset): ret_offset, where something is mapped next, that very offset if its
			* block is; the volume's size if nothing is. So it was at one time before done */
	STORE_OPS,
};

/* Where a block of a volume is. */
struct store_location {
	bool mapped; /* else it was never written, or discarded, and reads as zeroes */
	const struct dpu_block_device *medium;
	uint64_t offset; /* bytes, on the medium */
	uint32_t crc;
	uint32_t references; /* pages that refer to it; 0: their count was lost */
	bool shared;         /* with another volume or snapshot: through one of its pages, or by itself */
};

/* Owned by the submitter, lent from store_submit to done. A change is durable when it is done. */
struct store_command {
	uint8_t op;  /* enum store_op */
	bool cancel; /* STORE_SCRUB, STORE_REPAIR, STORE_MEASURE: may be set any time; the command then ends with
			DPU_E_CONFLICT */
	bool force;  /* STORE_OPEN, STORE_GROW, STORE_REPAIR */
	uint64_t volume;
	const char *name; /* lent until done */
	uint64_t bytes;   /* multiple of DPU_BLOCK_SECTOR */
	uint64_t rate;    /* STORE_SCRUB: bytes that are read in a second, at most, and a MiB; 0: 128 MiB */
	struct dpu_block_device *medium;
	struct store_location *location; /* STORE_LOCATE: filled in */
	/* STORE_FORMAT; 0 for each: chosen by the size */
	uint64_t log_bytes, max_bytes;
	uint32_t max_volumes;
	const uint8_t *owner; /* 16 bytes that the superblocks have from then on; NULL: zeroes */
	void (*done)(struct store_command *command);
	void *ctx; /* the submitter's */
	/* from the store */
	struct dpu_error error;   /* code DPU_OK: it is done */
	uint64_t ret_volume;      /* id of what was made */
	uint64_t ret_offset;      /* STORE_SEEK */
	uint64_t progress, total; /* STORE_SCRUB, STORE_MEASURE: bytes, an estimate; STORE_REPAIR: pages */
	bool repaired;            /* STORE_REPAIR went to its end; an error then names what is left */
	uint64_t damaged;         /* STORE_SCRUB: pages and blocks; STORE_REPAIR: counts that were wrong */
	/* the store's */
	struct store_command *next;
	int (*step)(struct store *store, struct store_command *command);
	uint64_t scratch[4];
};

void store_submit(struct store *store, struct store_command *command);

/* The device of a volume or snapshot; NULL if there is none. It stays until its volume is deleted; deletion and
 * quarantine make it DPU_BLOCK_GONE and call `changed`. close only waits for its requests. One that is cancelled ends
 * soon, as far as its medium lets go of it: each block is as before or as after it. */
struct dpu_block_device *store_device(struct store *store, uint64_t volume);

struct store_volume_info {
	uint64_t id, origin, bytes;
	uint64_t allocated_bytes; /* of blocks that it maps, its own and those that it shares with its copies */
	uint64_t created_s;       /* Unix time */
	/* By the last STORE_MEASURE: of what it mapped then, what nobody else did, and the rest. */
	uint64_t exclusive_bytes, shared_bytes, measured_s; /* Unix time; 0: there was none since the pool was opened */
	const char *name;
	bool snapshot, deleting, quarantined;
	uint64_t reads, writes, integrity_errors;
	uint64_t second_reads; /* of blocks that contradicted their CRC in the reader's memory, which it may change */
};

/* Of the next volume or snapshot with an id above `after`; false when there is none. The name lives until the next
 * call of the store. */
bool store_next(struct store *store, uint64_t after, struct store_volume_info *ret);
/* All, in no order, each at a constant price: cursor begins as 0. */
bool store_iterate(struct store *store, uint32_t *cursor, struct store_volume_info *ret);
/* Of a device of store_device(). */
void store_info(const struct dpu_block_device *device, struct store_volume_info *ret);

struct store_stats {
	uint64_t blocks, free_blocks; /* of data */
	uint32_t pages, free_pages;   /* of maps */
	uint64_t log_bytes, log_used_bytes;
	uint64_t generation;       /* of the last checkpoint */
	uint64_t replayed_records; /* at the last open */
	uint64_t dropped_records;  /* …of which not all data had reached a medium: were never flushed */
	uint64_t medium_errors;    /* requests to media that failed */
	uint64_t integrity_errors, second_reads, page_loads, page_evictions, flushes, sections, checkpoints;
	uint32_t cached_pages, dirty_pages;
	uint32_t max_volumes; /* snapshots are some; 0: it was not opened */
	bool full;            /* a write to a new place may fail */
	bool failed;          /* a medium fails writes: the pool is read-only */
};

void store_stats(const struct store *store, struct store_stats *ret);
/* Whether the pool has the medium. An opening leaves out those that a growth which came to nothing has marked. */
bool store_has(const struct store *store, const struct dpu_block_device *medium);

/* Compares every reference count with a walk through all trees. The store must be idle. Calls store_poll. 0, or
 * -EBADMSG and a sentence. For tests and the offline check of a pool. */
int store_check(struct store *store, struct dpu_error *error);
