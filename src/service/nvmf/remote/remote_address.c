// SPDX-License-Identifier: BSD-3-Clause
/* The text form of a path's address. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/netaddr.h"
#include "device/nvme/nvme_tcp.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

/* Decimal digits up to the end, 1 to 65535. */
static int port_parse(const char *text, uint16_t *ret)
{
	unsigned long value = 0;

	if (strlen(text) < 1 || strlen(text) > 5)
		return -EINVAL;
	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*at - '0');
	}
	if (value < 1 || value > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)value;
	return 0;
}

static void address_fill(const struct ip_addr *ip, uint16_t port, struct remote_address *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->address;

	memset(ret, 0, sizeof(*ret));
	if (ip->family == IP_V4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip->bytes, sizeof(v4->sin_addr));
		ret->bytes = sizeof(*v4);
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, ip->bytes, sizeof(v6->sin6_addr));
		ret->bytes = sizeof(*v6);
	}
}

int remote_address_parse(const char *text, struct remote_address *ret)
{
	char host[IP_TEXT + 2];
	const char *end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	const char *first = text + (text[0] == '[');
	size_t length = end ? (size_t)(end - first) : strlen(first);
	uint16_t port = NVME_TCP_PORT;
	struct ip_addr ip;

	if (text[0] != '[' && end && strchr(end + 1, ':')) { /* IPv6 without brackets: no port */
		end = NULL;
		length = strlen(first);
	}
	if (length == 0 || length >= sizeof(host) || (text[0] == '[' && !end))
		return -EINVAL;
	memcpy(host, first, length);
	host[length] = 0;
	if (end && *end == ']')
		end++;
	if (end && *end == ':') {
		if (port_parse(end + 1, &port) < 0)
			return -EINVAL;
	} else if (end && *end) {
		return -EINVAL;
	}
	if (ip_parse(host, &ip) < 0 || (text[0] == '[' && ip.family != IP_V6))
		return -EINVAL;
	address_fill(&ip, port, ret);
	return 0;
}

const char *remote_address_format(const struct remote_address *address, char buf[REMOTE_ADDRESS_TEXT])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->address;
	bool is_v4 = v4->sin_family == AF_INET;
	struct ip_addr ip = { .family = is_v4 ? IP_V4 : IP_V6 };
	char text[IP_TEXT];

	memcpy(ip.bytes, is_v4 ? (const void *)&v4->sin_addr : &v6->sin6_addr,
	       is_v4 ? sizeof(v4->sin_addr) : sizeof(v6->sin6_addr));
	snprintf(buf, REMOTE_ADDRESS_TEXT, is_v4 ? "%s:%u" : "[%s]:%u", ip_format(&ip, text),
		 ntohs(is_v4 ? v4->sin_port : v6->sin6_port));
	return buf;
}
