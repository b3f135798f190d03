/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client writes to its command ring, and frames of members through whatever rules come of it. The input: rules
 * as struct eswitch_rule has them, as many as its first byte says (two at most), then a frame. */
#include <stdlib.h>
#include <string.h>
#include "device/flow/flow_world.h"

static struct flow_world *w;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame frame;
	struct eswitch_rule rules[2] = { 0 };
	unsigned count = 0;

	if (!w)
		w = flow_world_new();
	if (size < 1)
		return 0;
	unsigned want = data[0] & 3;
	data++, size--;
	for (; count < want && count < 2 && size > 0; count++) {
		size_t part = RTE_MIN(size, sizeof(rules[0]));
		memcpy(&rules[count], data, part);
		data += part, size -= part;
		flow_world_command(w, ESWITCH_INSTALL, &rules[count]);
	}
	frame.length = (uint32_t)RTE_MIN(size, (size_t)4096);
	memcpy(frame.bytes, data, frame.length);
	for (unsigned port = 1; port <= WORLD_PORTS; port++)
		flow_world_input(w, port, &frame);
	flow_world_clear(w);
	for (unsigned i = 0; i < count; i++)
		flow_world_command(w, ESWITCH_DESTROY, &rules[i]);
	struct flow_stats stats;
	flow_switch_stats(w->sw, &stats);
	if (stats.rules || test_pool_used())
		abort();
	return 0;
}
