/* SPDX-License-Identifier: BSD-3-Clause */
/* Where metrics may be served. */
#include "daemon/metrics.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int parse_path(const char *text, struct metrics_address *ret, struct dpu_error *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret->storage;
	size_t length = strlen(text);
	if (length >= sizeof un->sun_path)
		return error_set(err, DPU_E_INVALID, NULL, "the path of a socket has at most %zu bytes, this one %zu",
				 sizeof un->sun_path - 1, length);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, text, length + 1);
	ret->length = sizeof *un;
	return 0;
}

static int parse_port(const char *text, in_port_t *ret)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || port == 0 || port > 65535)
		return -1;
	*ret = htons((uint16_t)port);
	return 0;
}

static int parse_v4(const char *text, struct sockaddr_in *ret)
{
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];
	if (!colon || (size_t)(colon - text) >= sizeof host)
		return -1;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	ret->sin_family = AF_INET;
	if (inet_pton(AF_INET, host, &ret->sin_addr) != 1 || parse_port(colon + 1, &ret->sin_port))
		return -1;
	return 0;
}

static int parse_v6(const char *text, struct sockaddr_in6 *ret)
{
	const char *bracket = strchr(text, ']');
	char host[INET6_ADDRSTRLEN];
	if (!bracket || bracket[1] != ':' || (size_t)(bracket - text - 1) >= sizeof host)
		return -1;
	memcpy(host, text + 1, (size_t)(bracket - text - 1));
	host[bracket - text - 1] = '\0';
	ret->sin6_family = AF_INET6;
	if (inet_pton(AF_INET6, host, &ret->sin6_addr) != 1 || parse_port(bracket + 2, &ret->sin6_port))
		return -1;
	return 0;
}

int metrics_address_parse(const char *text, struct metrics_address *ret, struct dpu_error *err)
{
	struct metrics_address address = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address.storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;
	int rc = 0;
	bool loopback = true;
	if (text[0] == '/') {
		rc = parse_path(text, &address, err);
	} else if (text[0] == '[' && !parse_v6(text, v6)) {
		loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
		address.length = sizeof *v6;
	} else if (text[0] != '[' && !parse_v4(text, v4)) {
		loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
		address.length = sizeof *v4;
	} else {
		rc = error_set(
			err, DPU_E_INVALID, NULL,
			"'%s' is neither ADDRESS:PORT, such as 127.0.0.1:9180 or [::1]:9180, nor an absolute path",
			text);
	}
	if (!rc && !loopback)
		rc = error_set(
			err, DPU_E_INVALID, NULL,
			"'%s' is not a loopback address; metrics carry tenants' names, so let a proxy that knows its "
			"clients serve them to others",
			text);
	if (!rc)
		*ret = address;
	return rc;
}
