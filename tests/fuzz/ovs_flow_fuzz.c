/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes what dpuctl makes of a line of an Open vSwitch's: whatever it is, what it finds lies within the line, and the
 * normal form of a match is that of itself. */
#include "input.h"
#include <stdlib.h>
#include "ovs_flow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_port(void *ctx, const char *name)
{
	return strlen(name) < OVS_PORT_TEXT && name[0] == 'w';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1);
	struct text match = { 0 };
	struct ovs_flow flow;

	if (!line)
		return 0;
	memcpy(line, data, size);
	line[size] = '\0';
	if (ovs_flow_parse(line, &flow)) {
		const char *end = line + strlen(line);
		input_require(flow.match >= line && flow.match_end >= line && flow.match_end <= end);
		input_require(flow.actions >= line && flow.actions <= flow.actions_end && flow.actions_end <= end);
		input_require(strlen(flow.ufid) < OVS_UFID_TEXT && strlen(flow.in_port) < OVS_PORT_TEXT);
		ovs_match_normalise(flow.match, flow.match_end, &match);
		ovs_flow_obstacle(&flow, is_port, NULL);
	} else {
		ovs_match_normalise(line, NULL, &match);
	}
	text_free(&match);
	free(line);
	return 0;
}
