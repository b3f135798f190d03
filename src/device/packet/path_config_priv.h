/* SPDX-License-Identifier: BSD-3-Clause */
/* The maps inside a path's configuration, as readers see them. */
#pragma once

#include <string.h>
#include "device/packet/path.h"

/* Open addressing with linear probing. An entry is one word, key << 32 | VPC slot, so that readers see it whole. The
 * kind in a key is never 0, so no entry equals VNI_EMPTY or VNI_ERASED. At most half of the slots are used. */
enum { VNI_EMPTY = 0, VNI_ERASED = 1 };
struct path_vni_table {
	uint32_t mask;
	uint32_t count, used; /* the writer's; used counts erased entries, too */
	_Atomic uint64_t entries[];
};
struct path_vnis {
	struct path_vni_table *_Atomic table;
};

struct path_local {
	struct ip_addr address;
	uint16_t vlan;
};
struct path_local_list {
	unsigned count;
	struct path_local locals[];
};
enum { PATH_ANY_VLAN = UINT16_MAX };
struct path_locals {
	struct path_local_list *_Atomic list;
};

static inline uint32_t vni_key(enum tunnel_kind kind, uint32_t vni)
{
	return (uint32_t)kind << 24 | vni;
}

static inline uint32_t vni_hash(uint32_t key)
{
	return key * UINT32_C(0x9e3779b1) >> 8;
}

/* The VPC slot, or -1. */
static inline int path_vni_find(const struct path_config *config, enum tunnel_kind kind, uint32_t vni)
{
	const struct path_vni_table *table = atomic_load_explicit(&config->vnis->table, memory_order_acquire);
	uint32_t key = vni_key(kind, vni);

	for (uint32_t i = vni_hash(key);; i++) {
		uint64_t entry = atomic_load_explicit(&table->entries[i & table->mask], memory_order_acquire);
		if (entry >> 32 == key)
			return (uint16_t)entry;
		if (entry == VNI_EMPTY)
			return -1;
	}
}

/* Ours in frames of this VLAN (0: without a tag), or of any. */
static inline bool path_local_v4(const struct path_config *config, const void *address, uint16_t vlan)
{
	const struct path_local_list *list = atomic_load_explicit(&config->locals->list, memory_order_acquire);

	for (unsigned i = 0; i < list->count; i++)
		if (list->locals[i].address.family == IP_V4 && memcmp(list->locals[i].address.bytes, address, 4) == 0)
			return vlan == PATH_ANY_VLAN || list->locals[i].vlan == vlan;
	return false;
}

static inline bool path_local_v6(const struct path_config *config, const void *address, uint16_t vlan)
{
	const struct path_local_list *list = atomic_load_explicit(&config->locals->list, memory_order_acquire);

	for (unsigned i = 0; i < list->count; i++)
		if (list->locals[i].address.family == IP_V6 && memcmp(list->locals[i].address.bytes, address, 16) == 0)
			return vlan == PATH_ANY_VLAN || list->locals[i].vlan == vlan;
	return false;
}
