/* SPDX-License-Identifier: BSD-3-Clause */
/* Lookups of the policy path: who has an address, which subnet holds it, which route covers it. */
#include "service/vswitch/dp.h"

const struct dp_endpoint *dp_endpoint_find(const struct dp_vpc *vpc, const struct ip_addr *address)
{
	return rcu_map_find(vpc->endpoints, address);
}

const struct dp_subnet *dp_subnet_find(const struct dp_vpc *vpc, const struct ip_addr *address)
{
	struct dp_subnet **subnets = atomic_load_explicit(&vpc->subnets, memory_order_acquire);
	for (; subnets && *subnets; subnets++)
		if (ip_prefix_contains(address->family == IP_V4 ? &(*subnets)->v4 : &(*subnets)->v6, address))
			return *subnets;
	return NULL;
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
