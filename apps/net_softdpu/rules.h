/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules that this process has at a dpud: installed and removed by command rings, counted in shared memory, and
 * installed again at a dpud that has come back.
 *
 * Installing is asynchronous: a rule that was created is on its way; rule_state() tells what dpud made of it. Frames of
 * a rule that is not in force go up to the application, so nothing is lost meanwhile. Any thread may call; queries take
 * no lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "dpu/eswitch_abi.h"
#include "link.h"

struct rules;
struct rule;

enum rule_state { RULE_UNDER_WAY, RULE_ACTIVE, RULE_REFUSED, RULE_AWAY /* dpud is, or its port is not open there */ };

int rules_new(struct rules **ret);
void rules_free(struct rules *rules); /* with all that are left */
/* The region of a connection, which stays mapped until the next but one; NULL = dpud is gone. A new one has no rules:
 * they are under way again by rules_retry(). Creating fails meanwhile; counters keep what they had. */
void rules_attach(struct rules *rules, const struct link_region *region);
/* A port is about to be closed at a dpud that goes on: its rules are taken out of force, and keep their counters, until
 * rules_retry(). */
void rules_suspend(struct rules *rules, uint16_t in_port);
/* A port was opened: rules that are not in force are tried again. */
void rules_retry(struct rules *rules);

/* match, mask, ops and encap of `wanted` are copied. 0, or -ENODEV (dpud is away), -ENOSPC (as many as there can be),
 * -EAGAIN (the command ring stays full), -ENOMEM, with a sentence that lives for ever. */
int rules_create(struct rules *rules, const struct eswitch_rule *wanted, struct rule **ret, const char **ret_sentence);
/* Never fails; nothing counts once dpud has seen it. */
void rules_destroy(struct rules *rules, struct rule *rule);
/* Of the port; all that are left when it is closed. */
void rules_destroy_port(struct rules *rules, uint16_t in_port, void (*gone)(void *ctx, struct rule *rule), void *ctx);

enum rule_state rule_state(struct rules *rules, const struct rule *rule, enum eswitch_refusal *ret_refusal);
/* Since it was created, or since the last query with reset. Exact but for frames that are being counted just now. */
void rule_query(struct rules *rules, struct rule *rule, bool reset, uint64_t *ret_packets, uint64_t *ret_bytes);
