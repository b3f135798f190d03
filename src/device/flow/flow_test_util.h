/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of rules and frames share: the world of one test, rules by hand, and what is expected to come out. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <netinet/in.h>
#include "device/flow/flow_world.h"

extern struct flow_world *w;

int flow_test_setup(void **state);
int flow_test_teardown(void **state); /* every buffer has come back */
#define flow_test(name) cmocka_unit_test_setup_teardown(name, flow_test_setup, flow_test_teardown)

/* A rule for frames of port 1, without ops; for IPv4 or IPv6 alone; for those with an outermost tag of this type and
 * id. */
struct eswitch_rule rule_any(uint32_t index);
struct eswitch_rule rule_for(uint32_t index, bool v6);
struct eswitch_rule rule_tagged(uint32_t index, uint16_t type, uint16_t vid);
void match_proto(struct eswitch_rule *rule, uint8_t proto);
/* value: for an output the port. */
struct eswitch_op *add(struct eswitch_rule *rule, enum eswitch_op_code code, uint32_t value);
void add_address(struct eswitch_rule *rule, enum eswitch_op_code code, const char *ip);
void add_mac(struct eswitch_rule *rule, enum eswitch_op_code code, const char *mac);
void add_encap(struct eswitch_rule *rule, const uint8_t *header, uint32_t length);
void must_install(struct eswitch_rule *rule);

/* Offset 12 for a VLAN tag. */
void frame_insert(struct frame *frame, uint32_t offset, const void *bytes, uint32_t length);
void frame_remove(struct frame *frame, uint32_t offset, uint32_t length);
void frame_tag(struct frame *frame, uint16_t type, uint16_t tci);

/* The n-th frame that came out went there, and is this one to the byte. */
void expect_frame(unsigned n, uint16_t iface, const struct frame *wanted);
/* The same for what comes of one frame of port 1; then what came out is freed. */
void expect_one(const struct frame *in, uint16_t iface, const struct frame *wanted);
/* It was dropped for that reason. */
void expect_drop(const struct frame *in, enum drop_reason reason);
