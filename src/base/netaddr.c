/* SPDX-License-Identifier: BSD-3-Clause */
/* Network addresses as values: parsing, formatting, comparing. */
#include "base/netaddr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One byte from two hex digits, or -1. Never reads past the terminator. */
static int hex_pair(const char *text)
{
	int high = hex_digit(text[0]);
	int low = high < 0 ? -1 : hex_digit(text[1]);

	return low < 0 ? -1 : high << 4 | low;
}

int mac_parse(const char *text, struct mac_addr *ret)
{
	struct mac_addr mac;
	char separator = 0;

	for (unsigned i = 0; i < sizeof(mac.bytes); i++) {
		if (i > 0) {
			if (*text != ':' && *text != '-')
				return -EINVAL;
			if (separator && *text != separator)
				return -EINVAL;
			separator = *text++;
		}
		int byte = hex_pair(text);
		if (byte < 0)
			return -EINVAL;
		mac.bytes[i] = (uint8_t)byte;
		text += 2;
	}
	if (*text)
		return -EINVAL;
	*ret = mac;
	return 0;
}

int ip_parse(const char *text, struct ip_addr *ret)
{
	struct ip_addr ip = { 0 };

	if (inet_pton(AF_INET, text, ip.bytes) == 1)
		ip.family = IP_V4;
	else if (inet_pton(AF_INET6, text, ip.bytes) == 1)
		ip.family = IP_V6;
	else
		return -EINVAL;
	*ret = ip;
	return 0;
}

static unsigned family_bits(uint8_t family)
{
	return family == IP_V4 ? 32 : family == IP_V6 ? 128 : 0;
}

/* Keeps the first length bits of addr; returns true if that changed nothing. */
static bool prefix_mask(struct ip_addr *addr, unsigned length)
{
	bool clean = true;

	for (unsigned i = 0; i < sizeof(addr->bytes); i++) {
		unsigned kept = length > i * 8 ? length - i * 8 : 0;
		uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00 >> kept);

		if (addr->bytes[i] & ~mask)
			clean = false;
		addr->bytes[i] &= mask;
	}
	return clean;
}

int ip_prefix_parse(const char *text, struct ip_prefix *ret)
{
	struct ip_prefix prefix = { 0 };
	const char *slash = strchr(text, '/');
	char addr[IP_TEXT];
	unsigned length = 0;

	if (!slash || (size_t)(slash - text) >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, (size_t)(slash - text));
	addr[slash - text] = 0;
	if (ip_parse(addr, &prefix.addr) < 0)
		return -EINVAL;
	const char *digits = slash + 1;
	if (!digits[0] || (digits[0] == '0' && digits[1]))
		return -EINVAL;
	for (; *digits; digits++) {
		if (*digits < '0' || *digits > '9')
			return -EINVAL;
		length = length * 10 + (unsigned)(*digits - '0');
		if (length > family_bits(prefix.addr.family))
			return -EINVAL;
	}
	if (!prefix_mask(&prefix.addr, length))
		return -ERANGE;
	prefix.length = (uint8_t)length;
	*ret = prefix;
	return 0;
}

int uuid_parse(const char *text, struct uuid *ret)
{
	struct uuid uuid;

	for (unsigned i = 0; i < sizeof(uuid.bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10) {
			if (*text++ != '-')
				return -EINVAL;
		}
		int byte = hex_pair(text);
		if (byte < 0)
			return -EINVAL;
		uuid.bytes[i] = (uint8_t)byte;
		text += 2;
	}
	if (*text)
		return -EINVAL;
	*ret = uuid;
	return 0;
}

const char *mac_format(const struct mac_addr *mac, char *buf)
{
	const uint8_t *b = mac->bytes;

	snprintf(buf, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
	return buf;
}

/* Start and length of the run of zero groups that "::" stands for: the first longest of at least two (RFC 5952 4.2). */
static void zero_run(const uint16_t *groups, unsigned count, unsigned *ret_start, unsigned *ret_length)
{
	unsigned best = 0, best_length = 0;

	for (unsigned i = 0; i < count;) {
		unsigned end = i;
		while (end < count && groups[end] == 0)
			end++;
		if (end - i > best_length) {
			best = i;
			best_length = end - i;
		}
		i = end + 1;
	}
	*ret_start = best;
	*ret_length = best_length >= 2 ? best_length : 0;
}

static void format_v6(const uint8_t *bytes, char *buf)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool dotted = memcmp(bytes, mapped, sizeof(mapped)) == 0;
	unsigned count = dotted ? 6 : 8, start, length;
	uint16_t groups[8];
	char *out = buf;

	for (unsigned i = 0; i < 8; i++)
		groups[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
	zero_run(groups, count, &start, &length);
	for (unsigned i = 0; i < count;) {
		if (length && i == start) {
			out += sprintf(out, "::");
			i += length;
			continue;
		}
		bool first = i == 0 || (length && i == start + length);
		out += sprintf(out, first ? "%x" : ":%x", groups[i++]);
	}
	if (dotted)
		sprintf(out, ":%u.%u.%u.%u", bytes[12], bytes[13], bytes[14], bytes[15]);
}

const char *ip_format(const struct ip_addr *ip, char *buf)
{
	const uint8_t *b = ip->bytes;

	buf[0] = 0;
	if (ip->family == IP_V4)
		snprintf(buf, IP_TEXT, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	else if (ip->family == IP_V6)
		format_v6(b, buf);
	return buf;
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf)
{
	ip_format(&prefix->addr, buf);
	if (prefix->addr.family != IP_NONE)
		sprintf(buf + strlen(buf), "/%u", prefix->length);
	return buf;
}

const char *uuid_format(const struct uuid *uuid, char *buf)
{
	static const char digits[] = "0123456789abcdef";
	char *out = buf;

	for (unsigned i = 0; i < sizeof(uuid->bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[uuid->bytes[i] >> 4];
		*out++ = digits[uuid->bytes[i] & 15];
	}
	*out = 0;
	return buf;
}

void uuid_generate(struct uuid *ret, unsigned count)
{
	const size_t bytes = count * sizeof(*ret);

	assert(count <= UUID_GENERATE_MAX);
	/* Up to 256 bytes are given whole once the kernel's pool is ready; only a signal before that interrupts. */
	while (getrandom(ret, bytes, 0) != (ssize_t)bytes) {
		if (errno != EINTR)
			abort();
	}
	for (unsigned i = 0; i < count; i++) {
		ret[i].bytes[6] = (ret[i].bytes[6] & 0x0f) | 0x40;
		ret[i].bytes[8] = (ret[i].bytes[8] & 0x3f) | 0x80;
	}
}

bool mac_is_zero(const struct mac_addr *mac)
{
	static const struct mac_addr zero;

	return mac_equal(mac, &zero);
}

bool mac_is_multicast(const struct mac_addr *mac)
{
	return mac->bytes[0] & 1;
}

bool mac_equal(const struct mac_addr *a, const struct mac_addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool ip_is_multicast(const struct ip_addr *ip)
{
	if (ip->family == IP_V4)
		return (ip->bytes[0] & 0xf0) == 0xe0;
	return ip->family == IP_V6 && ip->bytes[0] == 0xff;
}

bool ip_is_link_local(const struct ip_addr *ip)
{
	return ip->family == IP_V6 && ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

struct ip_addr ip_link_local(const struct mac_addr *mac)
{
	const uint8_t *m = mac->bytes;

	return (struct ip_addr){
		.family = IP_V6,
		.bytes = { 0xfe, 0x80, [8] = m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] },
	};
}

bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->length == b->length && ip_equal(&a->addr, &b->addr);
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *ip)
{
	struct ip_addr masked = *ip;

	if (ip->family == IP_NONE)
		return false;
	prefix_mask(&masked, prefix->length);
	return ip_equal(&masked, &prefix->addr);
}

bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->length <= b->length ? ip_prefix_contains(a, &b->addr) : ip_prefix_contains(b, &a->addr);
}

bool uuid_is_zero(const struct uuid *uuid)
{
	static const struct uuid zero;

	return uuid_equal(uuid, &zero);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
