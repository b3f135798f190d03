/* SPDX-License-Identifier: BSD-3-Clause */
/* Network addresses as values: MAC, IPv4/IPv6 address, prefix, UUID, and their text forms. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A 48-bit MAC address in wire order; all zero means "not set". */
struct mac_addr {
	uint8_t bytes[6];
};

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

/* An address of either family in wire order. IPv4 sits in bytes[0..3], the rest is zero, so that
 * two equal addresses are equal byte by byte. A zeroed struct is "not set". */
struct ip_addr {
	uint8_t family; /* enum ip_family */
	uint8_t bytes[16];
};

/* addr/length; bits of addr beyond length are zero once ip_prefix_parse() accepted it. */
struct ip_prefix {
	struct ip_addr addr;
	uint8_t length;
};

struct uuid {
	uint8_t bytes[16];
};

/* Room that the formatted text needs, terminator included. */
enum {
	MAC_TEXT = 18,
	IP_TEXT = 46,
	PREFIX_TEXT = 50,
	UUID_TEXT = 37,
};

/* Parsers take the whole string and return 0 or -EINVAL, leaving *ret untouched on failure.
 * MAC: six hex pairs separated by ':' (or '-'). Addresses: RFC 4291 and dotted quad.
 * Prefix: "address/length"; host bits must be zero (-ERANGE when they are not). UUID: RFC 9562 text. */
int mac_parse(const char *text, struct mac_addr *ret);
int ip_parse(const char *text, struct ip_addr *ret);
int ip_prefix_parse(const char *text, struct ip_prefix *ret);
int uuid_parse(const char *text, struct uuid *ret);

/* Formatters fill buf (of at least the size above) and return it. IPv6 in RFC 5952 form. */
const char *mac_format(const struct mac_addr *mac, char *buf);
const char *ip_format(const struct ip_addr *ip, char *buf);
const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf);
const char *uuid_format(const struct uuid *uuid, char *buf);

/* Random version-4 UUIDs (RFC 9562 5.4), up to UUID_GENERATE_MAX of them in one system call. */
enum { UUID_GENERATE_MAX = 16 };
void uuid_generate(struct uuid *ret, unsigned count);

bool mac_is_zero(const struct mac_addr *mac);
bool mac_is_multicast(const struct mac_addr *mac);
bool mac_equal(const struct mac_addr *a, const struct mac_addr *b);
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
bool ip_is_multicast(const struct ip_addr *ip);
bool ip_is_link_local(const struct ip_addr *ip); /* IPv6: fe80::/10 */
/* The link-local address that an interface with this MAC gives itself: modified EUI-64, RFC 4291 appendix A. */
struct ip_addr ip_link_local(const struct mac_addr *mac);
bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b);
/* True if ip has the family of prefix and lies in it. */
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *ip);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);
bool uuid_is_zero(const struct uuid *uuid);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
