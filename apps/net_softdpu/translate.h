/* SPDX-License-Identifier: BSD-3-Clause */
/* A flow of rte_flow as a rule of the eswitch, or why it cannot be one.
 *
 * Patterns match the port that they are created on; specs need not be masked. The classes of flows: attribute transfer,
 * group 0, priority 0, for forwarding in dpud; attribute ingress with MARK and RSS, for frames that go up marked.
 * Nothing is allocated or changed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <rte_flow.h>
#include "dpu/eswitch_abi.h"

struct translate_port {
	uint16_t dpdk_port; /* that the flow is created on */
	uint16_t number;    /* its representor's; 0 = the trunk */
	uint16_t rx_queues;
	/* The representor behind a DPDK port of the same switch, or -1. */
	int (*number_of)(void *ctx, uint16_t dpdk_port);
	void *ctx;
};

/* Fills match, mask, ops, op_count, encap and encap_bytes of *ret, whose other fields are the caller's. 0, or a
 * negative errno with error filled (and rte_errno set): -ENOTSUP for what the DPU does not do, -EINVAL for what
 * contradicts itself. */
int translate_flow(const struct translate_port *port, const struct rte_flow_attr *attr,
		   const struct rte_flow_item *pattern, const struct rte_flow_action *actions, struct eswitch_rule *ret,
		   struct rte_flow_error *error);

/* The two halves. */
int translate_pattern(const struct translate_port *port, const struct rte_flow_item *pattern, struct eswitch_rule *ret,
		      struct rte_flow_error *error);
int translate_actions(const struct translate_port *port, bool ingress, const struct rte_flow_action *actions,
		      struct eswitch_rule *ret, struct rte_flow_error *error);
