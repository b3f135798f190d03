/* SPDX-License-Identifier: BSD-3-Clause */
/* Values that only one object may have although no single field says so: an address in a VPC, a VNI of an
 * encapsulation, a socket path of the machine.
 *
 * What is in force is kept exactly (claims_hold, claims_drop). Within a transaction, each object validated leaves a
 * note besides. Both lead only to candidates: whether one still has the value is asked of the candidate as it would be
 * after the transaction, so that objects may swap values, and notes of transactions that came to nothing do no harm. */
#pragma once

#include "model/model.h"

struct claims;

enum claim_kind {
	CLAIM_VPC_ADDRESS,
	CLAIM_VPC_MAC,
	CLAIM_ROUTE,
	CLAIM_VNI,
	CLAIM_SOCKET,
	CLAIM_TAP,
	CLAIM_DEVICE,
};

/* Compared byte by byte: start from { 0 }. */
struct claim {
	uint8_t kind;
	struct uuid scope; /* the VPC, or zero */
	uint8_t value[24];
	char pad[7];
};

void claim_ip(struct claim *claim, const struct ip_addr *address);
/* Texts of any length, by a 128-bit hash of both. */
void claim_text(struct claim *claim, const char *first, const char *second);

/* Lists what an object claims, up to room; returns how many (claims_of.c). */
enum { CLAIMS_PER_OBJECT = 48 };
unsigned claims_of_object(const struct object *object, struct claim *claims, unsigned room);

int claims_new(struct claims **ret);
void claims_free(struct claims *claims);
/* In validate(): another object that would have one of these values after the transaction, or NULL; *ret_index says
 * which claim of `object`. */
const struct object *claims_conflict(struct claims *claims, const struct model *model, const struct object *object,
				     unsigned *ret_index);

/* In apply() and remove(). Dropping what another object holds by now does nothing. */
void claims_hold(struct claims *claims, const struct object *object);
void claims_drop(struct claims *claims, const struct object *object);
/* A transaction is over, done or not: forgets its notes. */
void claims_settle(struct claims *claims);
