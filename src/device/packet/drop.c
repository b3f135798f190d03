/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and explanations of drop reasons. */
#include "device/packet/drop.h"

static const struct {
	const char *name, *doc;
} reasons[DROP_REASON_COUNT] = {
#define X(name, text, doc) [DROP_##name] = { text, doc },
	DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(enum drop_reason reason)
{
	return (unsigned)reason < DROP_REASON_COUNT ? reasons[reason].name : "unknown";
}

const char *drop_reason_doc(enum drop_reason reason)
{
	return (unsigned)reason < DROP_REASON_COUNT ? reasons[reason].doc : "Not a known drop reason.";
}
