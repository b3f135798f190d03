/* SPDX-License-Identifier: BSD-3-Clause */
/* The objects of the eswitch as users declare them; field tables in class_*.c. */
#pragma once

#include "model/model.h"

struct eswitch_object {
	struct object base;
	uint32_t max_rules;
	bool bypass;
	/* observed */
	char *socket;
	struct string_list clients;
	uint64_t rules, rules_refused, rules_leaving, masks, entries, rule_bytes, entry_bytes, commands_pending;
	uint64_t installed, destroyed, refused, refused_by_driver;
	uint64_t hits, lookups, lookup_misses, upcalls, bypassed;
};

struct representor {
	struct object base;
	struct ref eswitch, vnic, port, tunnel_underlay;
	uint16_t number;
	struct ip_addr tunnel_remote;
	uint32_t vni;
	uint8_t encapsulation; /* enum encapsulation */
	/* observed */
	bool open, up;
	char *client;
	struct string_list queue_states;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_drops, tx_drops;
};

extern const struct object_class eswitch_class, representor_class;
