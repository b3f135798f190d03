/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows as OVS prints them, taken apart. */
#include "ovs_flow.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/netaddr.h"

/* ---- values ---- */

struct value {
	uint8_t bytes[16];
	size_t length; /* 0: it is a word */
};

static struct value value_of(const char *text)
{
	struct value value = { .length = 0 };
	struct mac_addr mac;
	struct ip_addr ip;
	char *end;

	if (mac_parse(text, &mac) == 0) {
		memcpy(value.bytes, mac.bytes, 6);
		value.length = 6;
	} else if (ip_parse(text, &ip) == 0) {
		value.length = ip.family == IP_V6 ? 16 : 4;
		memcpy(value.bytes, ip.bytes, value.length);
	} else if (isdigit((unsigned char)*text)) {
		unsigned long long number = strtoull(text, &end, 0);
		value.length = *end ? 0 : 8;
		for (size_t i = 0; i < value.length; i++)
			value.bytes[i] = (uint8_t)(number >> (56 - 8 * i));
	}
	return value;
}

static void add_hex(struct text *text, const struct value *value)
{
	for (size_t i = 0; i < value->length; i++)
		text_printf(text, "%02x", value->bytes[i]);
}

/* name=value/mask, or nothing when the mask is zero. */
static void add_field(struct text *text, const char *section, const char *name, char *word)
{
	char *slash = strchr(word, '/');
	struct value value, mask = { .length = 0 };
	uint8_t any = 0, all = 0xff;

	if (slash) {
		*slash = '\0';
		mask = value_of(slash + 1);
	}
	value = value_of(word);
	for (size_t i = 0; i < mask.length; i++) {
		any |= mask.bytes[i];
		all &= mask.bytes[i];
	}
	if (slash && mask.length && !any)
		return;
	text_printf(text, "%s.%s=", section, name);
	if (!value.length || (slash && mask.length != value.length)) {
		text_printf(text, "%s%s%s;", word, slash ? "/" : "", slash ? slash + 1 : "");
		return;
	}
	for (size_t i = 0; slash && i < value.length; i++)
		value.bytes[i] &= mask.bytes[i];
	add_hex(text, &value);
	if (slash && all != 0xff) {
		text_add(text, "/");
		add_hex(text, &mask);
	}
	text_add(text, ";");
}

/* ---- match ---- */

/* What a rule of dpud's can have. */
static bool is_kept(const char *section)
{
	static const char *const kept[] = { "eth", "eth_type", "vlan", "ipv4", "ipv6",
					    "tcp", "udp",      "sctp", "icmp", "icmpv6" };

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (strcmp(section, kept[i]) == 0)
			return true;
	return false;
}

/* The words of a section, up to its closing parenthesis. */
static void add_section(struct text *text, const char *section, const char *from, const char *end)
{
	while (from < end) {
		const char *stop = memchr(from, ',', (size_t)(end - from));
		char name[32] = "", word[96];
		size_t length = (size_t)((stop ? stop : end) - from);
		const char *equals = memchr(from, '=', length);

		if (length < sizeof(word) && (!equals || equals - from < (long)sizeof(name))) {
			size_t skip = equals ? (size_t)(equals - from) + 1 : 0;
			memcpy(name, from, skip ? skip - 1 : 0);
			memcpy(word, from + skip, length - skip);
			word[length - skip] = '\0';
			if (strcmp(name, "label") != 0)
				add_field(text, section, name, word);
		}
		from += length + 1;
	}
}

/* The parenthesis that closes what begins at from. */
static const char *closing(const char *from, const char *end)
{
	unsigned depth = 1;

	for (; from < end; from++) {
		depth += *from == '(';
		depth -= *from == ')';
		if (!depth)
			return from;
	}
	return end;
}

/* inner: of an encap(), whose Ethernet type has a name of its own. */
static void add_sections(struct text *text, const char *at, const char *end, bool inner)
{
	while (at < end) {
		const char *open = memchr(at, '(', (size_t)(end - at)), *close;
		char section[24];

		while (at < end && (*at == ',' || *at == ' '))
			at++;
		if (!open || open <= at)
			return;
		close = closing(open + 1, end);
		size_t length = (size_t)(open - at);
		if (length < sizeof(section)) {
			memcpy(section, at, length);
			section[length] = '\0';
			if (strcmp(section, "encap") == 0 && !inner)
				add_sections(text, open + 1, close, true);
			else if (is_kept(section))
				add_section(text, inner && strcmp(section, "eth_type") == 0 ? "inner_type" : section,
					    open + 1, close);
		}
		at = close + (close < end);
	}
}

void ovs_match_normalise(const char *match, const char *end, struct text *ret)
{
	add_sections(ret, match, end ? end : match + strlen(match), false);
}

/* ---- a line ---- */

/* What stands behind key in [from, end), up to one of the ends. */
static bool find(const char *from, const char *end, const char *key, const char *ends, char *ret, size_t room)
{
	const char *at = memmem(from, (size_t)(end - from), key, strlen(key));

	if (!at)
		return false;
	at += strlen(key);
	size_t length = strcspn(at, ends);
	if (length >= room || at + length > end)
		return false;
	memcpy(ret, at, length);
	ret[length] = '\0';
	return true;
}

bool ovs_flow_parse(const char *line, struct ovs_flow *ret)
{
	const char *end = line + strlen(line), *packets = strstr(line, ", packets:");
	const char *actions = packets ? strstr(packets, ", actions:") : NULL, *extra;
	char number[24];

	*ret = (struct ovs_flow){ .match = line };
	if (!actions || !find(line, packets, "in_port(", ")", ret->in_port, sizeof(ret->in_port)))
		return false;
	ret->match_end = packets;
	ret->actions = actions + strlen(", actions:");
	extra = strstr(ret->actions, ", dp-extra-info:");
	ret->actions_end = extra ? extra : end;
	if (!find(line, packets, "ufid:", ",", ret->ufid, sizeof(ret->ufid)))
		ret->ufid[0] = '\0';
	/* The ufid is no part of the match. */
	if (ret->ufid[0])
		ret->match = strstr(line, "ufid:") + 5 + strlen(ret->ufid);
	if (!find(packets, actions, "offloaded:", ",", ret->offloaded, sizeof(ret->offloaded)))
		strcpy(ret->offloaded, "no");
	if (find(line, packets, "recirc_id(", ")", number, sizeof(number)))
		ret->recirculation = strtoull(number, NULL, 0);
	if (find(packets, actions, "packets:", ",", number, sizeof(number)))
		ret->packets = strtoull(number, NULL, 10);
	if (find(packets, actions, "bytes:", ",", number, sizeof(number)))
		ret->bytes = strtoull(number, NULL, 10);
	return true;
}

/* ---- why not ---- */

/* With or without arguments, at any depth. */
static bool has_action(const struct ovs_flow *flow, const char *name)
{
	const char *end = flow->actions_end;
	size_t length = strlen(name);

	for (const char *at = flow->actions; at < end; at++) {
		at = memmem(at, (size_t)(end - at), name, length);
		if (!at)
			return false;
		bool begins = at == flow->actions || at[-1] == ',' || at[-1] == '(';
		if (begins && (at + length == end || at[length] == '(' || at[length] == ',' || at[length] == ')'))
			return true;
	}
	return false;
}

/* Whether all outputs, the words without parentheses, are representors; drop is none. */
static bool outputs_known(const struct ovs_flow *flow, bool (*is_port)(void *ctx, const char *name), void *ctx)
{
	const char *at = flow->actions, *end = flow->actions_end;

	while (at < end) {
		size_t length = strcspn(at, ",(");
		char name[OVS_PORT_TEXT];

		if (at + length > end)
			length = (size_t)(end - at);
		if (at + length < end && at[length] == '(') {
			at = closing(at + length + 1, end) + 1;
		} else if (length > 0 && length < sizeof(name)) {
			memcpy(name, at, length);
			name[length] = '\0';
			if (strcmp(name, "drop") != 0 && strcmp(name, "pop_vlan") != 0 && !is_port(ctx, name))
				return false;
			at += length;
		} else {
			at += length;
		}
		while (at < end && *at == ',')
			at++;
	}
	return true;
}

const char *ovs_flow_obstacle(const struct ovs_flow *flow, bool (*is_port)(void *ctx, const char *name), void *ctx)
{
	static const struct {
		const char *name, *why;
	} words[] = {
		{ "ct", "OVS does not offload connection tracking (ct)" },
		{ "meter", "OVS does not offload meters" },
		{ "userspace", "it goes to the controller, is sampled or has a slow path" },
		{ "recirc", "OVS does not offload recirculation" },
		{ "hash", "OVS does not offload select groups" },
		{ "sample", "OVS does not offload sampling" },
		{ "tnl_pop", "OVS's own tunnel ends are not offloaded; a tunnel representor is" },
	};

	if (flow->recirculation)
		return "it is a recirculated flow, which OVS does not offload";
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (has_action(flow, words[i].name))
			return words[i].why;
	if (!is_port(ctx, flow->in_port))
		return "it comes in by a port that is no representor";
	if (!outputs_known(flow, is_port, ctx))
		return "it leaves by a port that is no representor";
	return NULL;
}
