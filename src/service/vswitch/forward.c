/* SPDX-License-Identifier: BSD-3-Clause */
/* Lookups of the policy path: who has an address, which subnet holds it, which route covers it. */
#include "service/vswitch/dp.h"

#include <stdlib.h>
#include <string.h>

const struct dp_endpoint *dp_endpoint_find(const struct dp_vpc *vpc, const struct ip_addr *address)
{
	const struct dp_endpoint *endpoint = rcu_map_find(vpc->endpoints, address);
	/* An address that was configured stands before one that follows from a MAC. */
	return endpoint || !ip_is_link_local(address) ? endpoint : rcu_map_find(vpc->link_locals, address);
}

const struct dp_subnet *dp_endpoint_subnet(const struct dp *dp, const struct dp_vpc *vpc,
					   const struct dp_endpoint *endpoint)
{
	if (endpoint->kind == DP_ENDPOINT_LOCAL) {
		const struct dp_vnic *vnic = dp_vnic_of(dp, endpoint->iface);
		return vnic ? vnic->subnet : NULL;
	}
	if (!ip_is_link_local(&endpoint->address))
		return dp_subnet_find(vpc, &endpoint->address);
	struct ip_addr derived = ip_link_local(&endpoint->mac);
	const struct dp_endpoint *owner = rcu_map_find(vpc->link_locals, &derived);
	return owner && owner->kind == DP_ENDPOINT_REMOTE ? dp_subnet_find(vpc, &owner->home) : NULL;
}

static int by_v4(const void *a, const void *b)
{
	const struct dp_subnet *const *left = a, *const *right = b;
	return memcmp((*left)->v4.addr.bytes, (*right)->v4.addr.bytes, 4);
}

static int by_v6(const void *a, const void *b)
{
	const struct dp_subnet *const *left = a, *const *right = b;
	return memcmp((*left)->v6.addr.bytes, (*right)->v6.addr.bytes, 16);
}

struct dp_subnets *dp_subnets_new(struct dp_subnet *const *subnets, unsigned count)
{
	struct dp_subnets *made = calloc(1, sizeof(*made) + 2 * (size_t)count * sizeof(made->sorted[0]));
	if (!made)
		return NULL;
	for (unsigned i = 0; i < count; i++)
		if (subnets[i]->v4.addr.family == IP_V4)
			made->sorted[made->v4_count++] = subnets[i];
	struct dp_subnet **v6 = made->sorted + made->v4_count;
	for (unsigned i = 0; i < count; i++)
		if (subnets[i]->v6.addr.family == IP_V6)
			v6[made->v6_count++] = subnets[i];
	qsort(made->sorted, made->v4_count, sizeof(made->sorted[0]), by_v4);
	qsort(v6, made->v6_count, sizeof(v6[0]), by_v6);
	return made;
}

/* The last one that begins at the address or before it is the only one that can hold it. */
const struct dp_subnet *dp_subnet_find(const struct dp_vpc *vpc, const struct ip_addr *address)
{
	const struct dp_subnets *subnets = atomic_load_explicit(&vpc->subnets, memory_order_acquire);
	bool v4 = address->family == IP_V4;
	unsigned low = 0, high = !subnets ? 0 : v4 ? subnets->v4_count : subnets->v6_count;
	struct dp_subnet *const *sorted = subnets ? subnets->sorted + (v4 ? 0 : subnets->v4_count) : NULL;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct ip_prefix *prefix = v4 ? &sorted[middle]->v4 : &sorted[middle]->v6;
		if (memcmp(prefix->addr.bytes, address->bytes, v4 ? 4 : 16) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	const struct dp_subnet *subnet = low ? sorted[low - 1] : NULL;
	return subnet && ip_prefix_contains(v4 ? &subnet->v4 : &subnet->v6, address) ? subnet : NULL;
}

static struct ip_prefix prefix_of(const struct ip_addr *address, unsigned length)
{
	struct ip_prefix prefix = { .length = length };
	unsigned whole = length / 8, rest = length % 8;
	prefix.addr.family = address->family;
	memcpy(prefix.addr.bytes, address->bytes, whole);
	if (rest)
		prefix.addr.bytes[whole] = address->bytes[whole] & (uint8_t)(0xff00 >> rest);
	return prefix;
}

/* Longest first among the lengths 64 * word … 64 * word + 63 that are in use. */
static const struct dp_route *find_in_word(const struct dp_vpc *vpc, const struct ip_addr *address, unsigned word,
					   uint64_t lengths)
{
	while (lengths) {
		unsigned bit = 63 - __builtin_clzll(lengths);
		lengths &= ~(UINT64_C(1) << bit);
		unsigned length = 64 * word + bit;
		if (length > (address->family == IP_V4 ? 32 : 128))
			continue;
		struct ip_prefix prefix = prefix_of(address, length);
		const struct dp_route *route = rcu_map_find(vpc->routes, &prefix);
		if (route)
			return route;
	}
	return NULL;
}

const struct dp_route *dp_route_find(const struct dp_vpc *vpc, const struct ip_addr *address)
{
	if (address->family == IP_V4)
		return find_in_word(vpc, address, 0,
				    atomic_load_explicit(&vpc->route_lengths_v4, memory_order_acquire));
	for (unsigned word = 3; word-- > 0;) {
		uint64_t lengths = atomic_load_explicit(&vpc->route_lengths_v6[word], memory_order_acquire);
		const struct dp_route *route = find_in_word(vpc, address, word, lengths);
		if (route)
			return route;
	}
	return NULL;
}
