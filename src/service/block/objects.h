/* SPDX-License-Identifier: BSD-3-Clause */
/* The objects of block storage as users declare them; field tables in class_*.c. */
#pragma once

#include "model/model.h"

enum medium_kind { MEDIUM_FILE, MEDIUM_RAM, MEDIUM_NULL, MEDIUM_MODULE };

/* Of media, pools, volumes and snapshots, as people see it. */
enum block_state {
	BLOCK_WAITING, /* for what it stands on */
	BLOCK_OPENING, /* medium: opened and locked; pool: formatted or recovered */
	BLOCK_READY,
	BLOCK_READ_ONLY,   /* pool: a medium fails writes */
	BLOCK_QUARANTINED, /* volume: its map is damaged */
	BLOCK_FAILED,
	BLOCK_CLOSING,
};
extern const char *const block_state_names[];

struct medium_object {
	struct object base;
	uint8_t kind; /* enum medium_kind */
	char *path, *module, *arguments;
	struct ref below, below_remote;
	uint64_t size;
	bool read_only, cached;
	/* observed */
	uint8_t state; /* enum block_state */
	char *why, *used_by;
	uint64_t bytes, errors;
	uint16_t served_by;
	bool direct;
};

struct pool_object {
	struct object base;
	struct ref_list media, remotes;
	uint16_t worker;
	uint32_t cache_mb, max_volumes;
	/* observed */
	uint8_t state; /* enum block_state */
	char *why;
	uint64_t bytes, free_bytes, allocated_bytes, map_pages, free_map_pages, log_bytes, log_used_bytes, checkpoint;
	uint64_t replayed_records, dropped_records, integrity_errors, flushes, checkpoints, medium_errors;
	uint64_t second_reads, page_loads, page_evictions;
	uint32_t cached_pages, dirty_pages;
	uint32_t volumes, snapshots, unclaimed;
	struct string_list unclaimed_names;
	uint8_t scrub_state, scrub_progress, fill;
	uint64_t scrub_damaged;
};

enum qos_scope { QOS_OF_VOLUME, QOS_OF_TENANT };

struct qos_policy_object {
	struct object base;
	uint8_t scope; /* enum qos_scope */
	uint64_t guarantee_iops, guarantee_bandwidth, cap_iops, cap_bandwidth;
	uint32_t burst_ms, weight;
	/* observed */
	uint32_t volumes;
};

struct volume_object {
	struct object base;
	struct ref pool, from_snapshot, from_volume, qos;
	char *from_unclaimed;
	uint64_t size;
	bool shrinkable;
	/* observed */
	uint8_t state; /* enum block_state */
	char *why;
	uint32_t attachments;
	uint64_t read_p50_us, read_p99_us, write_p50_us, write_p99_us;
	char *image;
	char *measured;
	uint64_t allocated_bytes, exclusive_bytes, shared_bytes, reads, writes, integrity_errors, second_reads;
};

struct snapshot_object {
	struct object base;
	struct ref volume, qos;
	/* observed */
	uint8_t state; /* enum block_state */
	char *why, *created, *image, *measured;
	uint32_t attachments;
	uint64_t bytes, allocated_bytes, exclusive_bytes, shared_bytes, reads, integrity_errors, second_reads;
};

extern const struct object_class medium_class, pool_class, qos_policy_class, volume_class, snapshot_class;
