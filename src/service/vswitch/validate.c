/* SPDX-License-Identifier: BSD-3-Clause */
/* Address arithmetic and checks that several classes share. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "service/vswitch/objects.h"

bool subnet_holds(const struct subnet *subnet, const struct ip_addr *address)
{
	return ip_prefix_contains(&subnet->prefix_v4, address) || ip_prefix_contains(&subnet->prefix_v6, address);
}

int same_tenants(const struct object *object, const struct ref_list *targets, const char *field, struct dpu_error *err)
{
	for (size_t i = 0; i < targets->count; i++) {
		int rc = object_same_tenant(object, targets->items[i].object, field, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* The network and its broadcast address in IPv4, the routers' anycast address in IPv6 (RFC 4291 2.6.1). */
bool address_is_reserved(const struct ip_prefix *prefix, const struct ip_addr *address)
{
	unsigned bits = address->family == IP_V4 ? 32 : 128;

	if (ip_equal(&prefix->addr, address))
		return true;
	for (unsigned bit = prefix->length; bit < bits; bit++)
		if (!(address->bytes[bit / 8] & 0x80 >> bit % 8))
			return false;
	return address->family == IP_V4;
}

bool address_is_host(const struct ip_addr *address)
{
	static const struct ip_addr none_v4 = { .family = IP_V4 }, none_v6 = { .family = IP_V6 },
				    loopback_v6 = { .family = IP_V6, .bytes = { [15] = 1 } };

	if (address->family == IP_NONE || ip_is_multicast(address) || ip_equal(address, &none_v4) ||
	    ip_equal(address, &none_v6))
		return false;
	if (address->family == IP_V4)
		return address->bytes[0] != 127 && address->bytes[0] < 224;
	return !ip_equal(address, &loopback_v6);
}

struct ip_addr prefix_address(const struct ip_prefix *prefix, uint32_t number)
{
	struct ip_addr address = prefix->addr;
	unsigned last = address.family == IP_V4 ? 3 : 15;

	for (unsigned i = 0; i < 4; i++) {
		unsigned sum = address.bytes[last - i] + (number & 0xff);

		address.bytes[last - i] = sum;
		number = (number >> 8) + (sum >> 8);
	}
	return address;
}

int host_route_parse(const char *text, struct ip_prefix *ret_prefix, struct ip_addr *ret_next_hop)
{
	char prefix_text[PREFIX_TEXT], address_text[IP_TEXT], rest;
	struct ip_prefix prefix;
	struct ip_addr next_hop;

	if (sscanf(text, "%49s via %45s %c", prefix_text, address_text, &rest) != 2)
		return -EINVAL;
	if (ip_prefix_parse(prefix_text, &prefix) != 0 || ip_parse(address_text, &next_hop) != 0)
		return -EINVAL;
	if (prefix.addr.family != IP_V4 || next_hop.family != IP_V4)
		return -EINVAL;
	*ret_prefix = prefix;
	*ret_next_hop = next_hop;
	return 0;
}

bool interface_name_valid(const char *text)
{
	return *text && strlen(text) < 16 && strcmp(text, ".") && strcmp(text, "..") &&
	       strpbrk(text, "/: \t\n") == NULL;
}
