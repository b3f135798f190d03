/* SPDX-License-Identifier: BSD-3-Clause */
/* A line of OVS's dpctl/dump-flows, and what makes it the same flow as a rule of dpud's. Pure functions; what they read
 * may be anything. */
#pragma once

#include <stdbool.h>
#include "base/str.h"

enum { OVS_UFID_TEXT = 37, OVS_PORT_TEXT = 64 };

struct ovs_flow {
	char ufid[OVS_UFID_TEXT];
	char in_port[OVS_PORT_TEXT];
	char offloaded[16]; /* "yes", "partial", "no" */
	unsigned long long recirculation, packets, bytes;
	const char *match, *actions; /* in the line; match ends at match_end */
	const char *match_end, *actions_end;
};

/* line: NUL-terminated, kept by the caller. False: it is no flow. */
bool ovs_flow_parse(const char *line, struct ovs_flow *ret);
/* The match as OVS and dpud write it, in one form: its fields in the order in which they come, but for the in-port and
 * what no rule has, masks applied, without those that are not looked at. Up to end, or the NUL. Takes nested parts. */
void ovs_match_normalise(const char *match, const char *end, struct text *ret);
/* Why OVS itself does not offload the flow, or NULL: nothing in it says so. is_port: whether dpud has a representor of
 * that name. */
const char *ovs_flow_obstacle(const struct ovs_flow *flow, bool (*is_port)(void *ctx, const char *name), void *ctx);
