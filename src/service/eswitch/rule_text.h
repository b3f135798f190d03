/* SPDX-License-Identifier: BSD-3-Clause */
/* Rules in words: Open vSwitch's syntax of datapath flows, as `ovs-appctl dpctl/dump-flows` has it. */
#pragma once

#include <stddef.h>
#include "dpu/eswitch_abi.h"

enum { RULE_TEXT = 1024 };

/* Both return buf, cut to size. Ports are shown by number. */
const char *rule_match_text(const struct eswitch_fields *match, const struct eswitch_fields *mask, char *buf,
			    size_t size);
const char *rule_actions_text(const struct eswitch_op *ops, unsigned count, unsigned encap_bytes, char *buf,
			      size_t size);
