/* SPDX-License-Identifier: BSD-3-Clause */
/* The path's configuration: arrays of records, the map of VNIs to VPCs, the set of local tunnel addresses. One writer,
 * any number of lock-free readers. */
#include "device/packet/path_config_priv.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

enum { VNI_MIN_SLOTS = 64, VNI_LIMIT = 1 << 24 };

static void retire_now(void *ctx, void (*free_fn)(void *), void *memory)
{
	free_fn(memory);
}

static void retire_memory(path_retire_fn *retire, void *ctx, void *memory)
{
	if (memory)
		(retire ? retire : retire_now)(ctx, free, memory);
}

static struct path_vni_table *vni_table_new(uint32_t slots)
{
	struct path_vni_table *table = calloc(1, sizeof(*table) + slots * sizeof(table->entries[0]));

	if (table)
		table->mask = slots - 1;
	return table;
}

int path_config_new(struct path_config **ret)
{
	/* Large enough for the C library to map it: untouched pages cost nothing. */
	struct path_config *config = calloc(1, sizeof(*config));
	if (!config)
		return -ENOMEM;
	config->vnis = calloc(1, sizeof(*config->vnis));
	config->locals = calloc(1, sizeof(*config->locals));
	struct path_vni_table *table = vni_table_new(VNI_MIN_SLOTS);
	struct path_local_list *list = calloc(1, sizeof(*list));
	if (!config->vnis || !config->locals || !table || !list) {
		free(table);
		free(list);
		free(config->vnis);
		free(config->locals);
		free(config);
		return -ENOMEM;
	}
	if (getrandom(&config->vtep_secret, sizeof(config->vtep_secret), 0) != sizeof(config->vtep_secret))
		config->vtep_secret = (uintptr_t)config; /* before the kernel has random numbers: few can guess it */
	atomic_init(&config->vnis->table, table);
	atomic_init(&config->locals->list, list);
	*ret = config;
	return 0;
}

void path_config_free(struct path_config *config)
{
	if (!config)
		return;
	free(atomic_load(&config->vnis->table));
	free(config->vnis);
	free(atomic_load(&config->locals->list));
	free(config->locals);
	free(config);
}

/* The entry that holds key, or the first one where it may go: an erased one on the way, else the empty one at the
 * end. */
static _Atomic uint64_t *vni_slot(struct path_vni_table *table, uint32_t key, bool *ret_found)
{
	_Atomic uint64_t *free_slot = NULL;

	for (uint32_t i = vni_hash(key);; i++) {
		_Atomic uint64_t *slot = &table->entries[i & table->mask];
		uint64_t entry = atomic_load_explicit(slot, memory_order_relaxed);
		*ret_found = entry >> 32 == key;
		if (*ret_found)
			return slot;
		if (entry == VNI_ERASED && !free_slot)
			free_slot = slot;
		if (entry == VNI_EMPTY)
			return free_slot ? free_slot : slot;
	}
}

/* A table with room for at least one more, without erased entries. */
static struct path_vni_table *vni_table_rebuild(const struct path_vni_table *old)
{
	uint32_t slots = VNI_MIN_SLOTS;

	while (slots < 4 * (old->count + 1))
		slots *= 2;
	struct path_vni_table *table = vni_table_new(slots);
	if (!table)
		return NULL;
	for (uint32_t i = 0; i <= old->mask; i++) {
		uint64_t entry = atomic_load_explicit(&old->entries[i], memory_order_relaxed);
		bool found;
		if (entry != VNI_EMPTY && entry != VNI_ERASED)
			atomic_init(vni_slot(table, (uint32_t)(entry >> 32), &found), entry);
	}
	table->count = table->used = old->count;
	return table;
}

static bool vni_valid(enum tunnel_kind kind, uint32_t vni)
{
	return (kind == TUNNEL_VXLAN || kind == TUNNEL_GENEVE) && vni < VNI_LIMIT;
}

int path_vni_set(struct path_config *config, enum tunnel_kind kind, uint32_t vni, uint16_t vpc_slot,
		 path_retire_fn *retire, void *ctx)
{
	struct path_vni_table *table = atomic_load_explicit(&config->vnis->table, memory_order_relaxed);
	bool found;

	if (!vni_valid(kind, vni))
		return -EINVAL;
	if (table->used >= (table->mask + 1) / 2) {
		struct path_vni_table *bigger = vni_table_rebuild(table);
		if (!bigger)
			return -ENOMEM;
		atomic_store_explicit(&config->vnis->table, bigger, memory_order_release);
		retire_memory(retire, ctx, table);
		table = bigger;
	}
	uint32_t key = vni_key(kind, vni);
	_Atomic uint64_t *slot = vni_slot(table, key, &found);
	if (!found) {
		table->count++;
		table->used += atomic_load_explicit(slot, memory_order_relaxed) == VNI_EMPTY;
	}
	atomic_store_explicit(slot, (uint64_t)key << 32 | vpc_slot, memory_order_release);
	return 0;
}

void path_vni_clear(struct path_config *config, enum tunnel_kind kind, uint32_t vni, path_retire_fn *retire, void *ctx)
{
	struct path_vni_table *table = atomic_load_explicit(&config->vnis->table, memory_order_relaxed);
	bool found;

	if (!vni_valid(kind, vni))
		return;
	_Atomic uint64_t *slot = vni_slot(table, vni_key(kind, vni), &found);
	if (!found)
		return;
	table->count--;
	atomic_store_explicit(slot, VNI_ERASED, memory_order_release);
}

/* A copy of the list without address, with room for one more. */
static struct path_local_list *local_list_without(const struct path_local_list *old, const struct ip_addr *address)
{
	struct path_local_list *list = calloc(1, sizeof(*list) + (old->count + 1) * sizeof(list->locals[0]));

	if (!list)
		return NULL;
	for (unsigned i = 0; i < old->count; i++)
		if (old->locals[i].address.family != IP_NONE && !ip_equal(&old->locals[i].address, address))
			list->locals[list->count++] = old->locals[i];
	return list;
}

/* new NULL: nothing comes in its place. */
static int local_replace(struct path_config *config, const struct ip_addr *address, const struct path_local *new,
			 path_retire_fn *retire, void *ctx)
{
	struct path_local_list *old = atomic_load_explicit(&config->locals->list, memory_order_relaxed);
	struct path_local_list *list = local_list_without(old, address);

	if (!list)
		return -ENOMEM;
	if (new)
		list->locals[list->count++] = *new;
	atomic_store_explicit(&config->locals->list, list, memory_order_release);
	retire_memory(retire, ctx, old);
	return 0;
}

int path_local_set(struct path_config *config, const struct ip_addr *address, uint16_t vlan, path_retire_fn *retire,
		   void *ctx)
{
	const struct path_local local = { .address = *address, .vlan = vlan };

	if (address->family != IP_V4 && address->family != IP_V6)
		return -EINVAL;
	return local_replace(config, address, &local, retire, ctx);
}

void path_local_clear(struct path_config *config, const struct ip_addr *address, path_retire_fn *retire, void *ctx)
{
	/* Without memory for a shorter list the entry is blanked in place, by one byte. */
	if (local_replace(config, address, NULL, retire, ctx) == 0)
		return;
	struct path_local_list *list = atomic_load_explicit(&config->locals->list, memory_order_relaxed);
	for (unsigned i = 0; i < list->count; i++)
		if (ip_equal(&list->locals[i].address, address))
			__atomic_store_n(&list->locals[i].address.family, IP_NONE, __ATOMIC_RELAXED);
}
