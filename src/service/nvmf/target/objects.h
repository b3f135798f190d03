/* SPDX-License-Identifier: BSD-3-Clause */
/* The objects of the target as users declare them; field tables in class_*.c. */
#pragma once

#include "model/model.h"

struct subsystem_object {
	struct object base;
	char *nqn, *serial, *model;
	bool allow_any_host;
	uint16_t max_queues, max_entries, max_controllers;
	uint64_t memory;
	/* observed */
	char *why;
	struct string_list controllers;
	uint32_t connections, connected_hosts;
	uint16_t served_by;
	uint64_t refused, keep_alive_expired, protocol_errors, buffer_waits;
	uint64_t header_digest_errors, data_digest_errors, queue_memory, memory_refusals;
};

struct namespace_object {
	struct object base;
	struct ref subsystem, volume, snapshot, medium, qos;
	uint32_t nsid;
	uint32_t ana_group;
	uint16_t block_size;
	struct uuid nguid;
	/* observed */
	uint8_t state; /* enum namespace_state */
	char *why;
	uint64_t size;
	uint64_t reads, writes, flushes, other_commands, read_bytes, written_bytes, errors, reservation_conflicts;
	uint64_t path_errors;
};

struct host_object {
	struct object base;
	char *nqn;
	struct ref_list subsystems;
};

struct listener_object {
	struct object base;
	struct ip_addr address;
	uint16_t port;
	struct ref_list subsystems;
	uint8_t ana_state; /* index of listener_ana_names */
	struct string_list ana_groups;
	/* observed */
	uint8_t state; /* enum listener_state */
	char *why;
	uint32_t handshakes;
	uint64_t accepted, dropped, accept_pauses, protocol_errors;
};

struct referral_object {
	struct object base;
	struct ip_addr address;
	uint16_t port;
};
