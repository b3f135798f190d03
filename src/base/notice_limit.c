// SPDX-License-Identifier: BSD-3-Clause
/* Notices of one name, now and then. */
#include "base/notice_limit.h"

#include <stdio.h>
#include <string.h>
#include "base/clock.h"

static const uint64_t INTERVAL_NS = 10 * CLOCK_NS_PER_S;

bool notice_limit_pass(struct notice_limit *limit, const char *name, uint64_t now_ns)
{
	struct notice_limit_place *oldest = limit->places;

	for (unsigned i = 0; i < NOTICE_LIMIT_NAMES; i++) {
		struct notice_limit_place *place = &limit->places[i];
		if (place->at_ns && strncmp(place->name, name, NOTICE_LIMIT_BYTES - 1) == 0) {
			if (now_ns - place->at_ns < INTERVAL_NS)
				return false;
			oldest = place;
			break;
		}
		if (place->at_ns < oldest->at_ns)
			oldest = place;
	}
	snprintf(oldest->name, sizeof(oldest->name), "%s", name);
	oldest->at_ns = now_ns;
	return true;
}
