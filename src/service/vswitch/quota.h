/* SPDX-License-Identifier: BSD-3-Clause */
/* Session quotas of vNICs and tenants: shared counts that workers draw on in batches.
 *
 * A worker takes a batch from the shared count (bounded by the limit) and hands sessions out of it with no shared
 * write. The batch shrinks with the limit, so that what all workers hold back is a small part of it and a limit of a
 * few sessions is exact. Sessions remember under which incarnation their holders were charged: a vNIC that has its
 * number from a removed one is never credited with that one's sessions. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include "device/packet/drop.h"

struct dp;
struct dp_bucket;
struct dp_verdict;
struct session;

struct quota_credit {
	_Atomic int32_t sessions; /* taken from the shared count and not in use; written by the worker alone */
	uint16_t rate;            /* tokens left over: of new sessions (tenants), of misses (vNICs) */
	uint8_t incarnation;
};

struct quota {
	struct dp *dp;
	struct quota_credit *vnics;   /* by interface number */
	struct quota_credit *tenants; /* by slot */
};

int quota_init(struct quota *quota, struct dp *dp);
void quota_fini(struct quota *quota);

/* May a packet without a session that came from this interface have policy's attention? Asked before it is given, so
 * that packets which are refused count as well: they cost the worker as much. */
bool quota_may_miss(struct quota *quota, uint16_t iface, uint64_t now_ns);

/* Charges both vNICs and the tenant of a verdict for one session; *ret_flags is what the session must keep in
 * policy_flags. DROP_NONE or which limit is reached (then nothing is charged). */
enum drop_reason quota_take(struct quota *quota, const struct dp_verdict *verdict, uint64_t now_ns,
			    uint16_t *ret_flags);
/* Charges an existing session whatever the limits say (adoption, a moved vNIC): sets its policy_flags from its holders.
 */
void quota_charge(struct quota *quota, struct session *session);
void quota_give(struct quota *quota, const struct session *session);
/* Gives back what this worker has in hand of a vNIC's and a tenant's limit (0 = of none). In the worker. */
void quota_return(struct quota *quota, uint16_t vnic, uint16_t tenant);

/* Takes up to `want` tokens, returns how many. */
unsigned bucket_take(struct dp_bucket *bucket, uint32_t rate_per_second, uint32_t burst, uint64_t now_ns,
		     unsigned want);
