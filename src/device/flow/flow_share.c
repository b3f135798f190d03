/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that several rules have in common: thousands of flows into one tunnel differ in what they match only, and
 * their programs would each take four cache lines of the workers. */
#include "device/flow/flow_priv.h"

#include <stdlib.h>
#include <rte_jhash.h>

/* A list is not searched further: a client that makes programs which never repeat costs no more than that. */
enum { LOOKS_MAX = 8 };

static size_t ops_bytes(const struct flow_program *program)
{
	return program->op_count * sizeof(program->ops[0]);
}

static uint32_t hash_of(const struct flow_program *program)
{
	uint32_t hash = rte_jhash(program->ops, (uint32_t)ops_bytes(program), program->last_output);

	return program->encap ? rte_jhash(program->encap->bytes, program->encap->length, hash) : hash;
}

/* The rest of an encapsulation follows from its bytes. */
static bool is_same(const struct flow_program *a, const struct flow_program *b)
{
	if (a->op_count != b->op_count || a->last_output != b->last_output || !a->encap != !b->encap ||
	    memcmp(a->ops, b->ops, ops_bytes(a)) != 0)
		return false;
	return !a->encap || (a->encap->length == b->encap->length && a->encap->ipv4_sum == b->encap->ipv4_sum &&
			     memcmp(a->encap->bytes, b->encap->bytes, a->encap->length) == 0);
}

struct flow_program *flow_program_share(struct flow_switch *sw, struct flow_program *program)
{
	struct flow_program *other;
	unsigned looks = 0;

	if (!program)
		return NULL;
	uint32_t list = hash_of(program) % FLOW_PROGRAM_LISTS;
	LIST_FOREACH(other, &sw->programs[list], link)
	{
		if (is_same(other, program)) {
			free(program);
			other->uses++;
			return other;
		}
		if (++looks == LOOKS_MAX)
			break;
	}
	program->uses = 1;
	LIST_INSERT_HEAD(&sw->programs[list], program, link);
	return program;
}

void flow_program_put(struct flow_program *program)
{
	if (!program || --program->uses)
		return;
	LIST_REMOVE(program, link);
	free(program);
}
