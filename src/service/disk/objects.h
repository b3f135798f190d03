/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "disk" as users declare it; its table is in class_disk.c. */
#pragma once

#include "model/model.h"

enum disk_backend { DISK_CLIENT, DISK_SERVER };

enum disk_state {
	DISK_WAITING, /* for its backing; requests wait, too */
	DISK_READY,
	DISK_FAILING, /* the backing was away for too long: requests fail */
	DISK_ERROR,   /* the socket cannot be had */
};

struct disk_object {
	struct object base;
	struct ref volume, snapshot, medium, remote, qos;
	uint8_t backend; /* enum disk_backend */
	char *socket, *serial;
	uint16_t queues, queue_size, wait_seconds;
	bool read_only;
	/* observed */
	uint8_t state; /* enum disk_state */
	char *why, *ring, *socket_path;
	bool connected, write_back;
	uint64_t features, size, inflight;
	struct string_list queue_states, statuses;
	uint64_t reads, writes, flushes, discards, write_zeroes, read_bytes, write_bytes, errors, bad_requests,
		bad_descriptors, unsupported;
};

extern const struct object_class disk_class;
