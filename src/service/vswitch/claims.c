/* SPDX-License-Identifier: BSD-3-Clause */
/* Two maps from a claim to the identity of an object: what is in force, and notes of the last validations. */
#include "service/vswitch/claims.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/packet/rcu_map.h"

struct claims {
	struct rcu_map *held, *noted; /* claim → struct uuid */
};

static_assert(sizeof(struct claim) == 48, "no padding in the key");

void claim_ip(struct claim *claim, const struct ip_addr *address)
{
	claim->value[0] = address->family;
	memcpy(claim->value + 1, address->bytes, sizeof(address->bytes));
}

static uint64_t mix(uint64_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(1099511628211);
	return (hash ^ 0xff) * UINT64_C(1099511628211); /* texts do not run into each other */
}

void claim_text(struct claim *claim, const char *first, const char *second)
{
	uint64_t hash[2] = { UINT64_C(14695981039346656037), UINT64_C(0x9e3779b97f4a7c15) };

	for (unsigned i = 0; i < 2; i++)
		hash[i] = mix(mix(hash[i], first), second);
	memcpy(claim->value, hash, sizeof(hash));
}

int claims_new(struct claims **ret)
{
	struct claims *claims = calloc(1, sizeof(*claims));

	if (!claims)
		return -ENOMEM;
	if (rcu_map_new(sizeof(struct claim), NULL, NULL, &claims->held) ||
	    rcu_map_new(sizeof(struct claim), NULL, NULL, &claims->noted)) {
		claims_free(claims);
		return -ENOMEM;
	}
	*ret = claims;
	return 0;
}

static int free_value(void *arg, const void *key, void *value)
{
	free(value);
	return 0;
}

static void map_free(struct rcu_map *map)
{
	if (!map)
		return;
	rcu_map_each(map, free_value, NULL);
	rcu_map_free(map);
}

void claims_free(struct claims *claims)
{
	if (!claims)
		return;
	map_free(claims->held);
	map_free(claims->noted);
	free(claims);
}

static void map_put(struct rcu_map *map, const struct claim *claim, const struct uuid *owner)
{
	struct uuid *value = rcu_map_find(map, claim);

	if (value) {
		*value = *owner; /* no readers but us */
		return;
	}
	value = malloc(sizeof(*value));
	if (!value || rcu_map_set(map, claim, value, NULL) != 0)
		abort();
	*value = *owner;
}

/* The object behind an entry, if it is another than `object` and has the value in the transaction's outcome. */
static const struct object *claimant(const struct model *model, const struct rcu_map *map, const struct claim *claim,
				     const struct object *object)
{
	struct claim theirs[CLAIMS_PER_OBJECT];
	const struct uuid *owner = rcu_map_find(map, claim);

	if (!owner || uuid_equal(owner, &object->uuid))
		return NULL;
	const struct object *other = model_find_uuid(model, owner);
	unsigned count = other ? claims_of_object(other, theirs, CLAIMS_PER_OBJECT) : 0;
	for (unsigned i = 0; i < count; i++)
		if (memcmp(&theirs[i], claim, sizeof(*claim)) == 0)
			return other;
	return NULL;
}

const struct object *claims_conflict(struct claims *claims, const struct model *model, const struct object *object,
				     unsigned *ret_index)
{
	struct claim mine[CLAIMS_PER_OBJECT];
	unsigned count = claims_of_object(object, mine, CLAIMS_PER_OBJECT);

	for (unsigned i = 0; i < count; i++) {
		const struct object *other = claimant(model, claims->held, &mine[i], object);
		if (!other)
			other = claimant(model, claims->noted, &mine[i], object);
		if (other) {
			*ret_index = i;
			return other;
		}
	}
	for (unsigned i = 0; i < count; i++)
		map_put(claims->noted, &mine[i], &object->uuid);
	return NULL;
}

void claims_hold(struct claims *claims, const struct object *object)
{
	struct claim mine[CLAIMS_PER_OBJECT];
	unsigned count = claims_of_object(object, mine, CLAIMS_PER_OBJECT);

	for (unsigned i = 0; i < count; i++) {
		free(rcu_map_remove(claims->noted, &mine[i]));
		map_put(claims->held, &mine[i], &object->uuid);
	}
}

void claims_drop(struct claims *claims, const struct object *object)
{
	struct claim mine[CLAIMS_PER_OBJECT];
	unsigned count = claims_of_object(object, mine, CLAIMS_PER_OBJECT);

	for (unsigned i = 0; i < count; i++) {
		const struct uuid *owner = rcu_map_find(claims->held, &mine[i]);
		if (owner && uuid_equal(owner, &object->uuid))
			free(rcu_map_remove(claims->held, &mine[i]));
	}
}

static int drop_note(void *arg, const void *key, void *value)
{
	free(value);
	rcu_map_remove(arg, key);
	return 0;
}

void claims_settle(struct claims *claims)
{
	if (rcu_map_count(claims->noted) > 0)
		rcu_map_each(claims->noted, drop_note, claims->noted);
}
