/* SPDX-License-Identifier: BSD-3-Clause */
/* Link-local addresses that follow from MACs: a vNIC has the modified EUI-64 one of its MAC, and so has the guest
 * behind a mapping, on another DPU.
 *
 * Several mappings share a MAC, one for each address of a guest: together they are one holder, as long as they agree
 * about the tunnel endpoint. If they do not, or if there are more than a vNIC can have addresses, the MAC is that of a
 * router or a bond rather than a guest's, and nobody has the address. */
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/vswitch_priv.h"

struct link_group {
	struct ip_addr address;
	LIST_HEAD(, link_holder) holders;
	unsigned count;
	struct dp_endpoint *endpoint; /* in force; NULL: nobody has the address */
};

/* True if a comes first: a vNIC before mappings, mappings by their address, whatever the order they were made in. */
static bool is_before(const struct dp_endpoint *a, const struct dp_endpoint *b)
{
	if (a->kind != b->kind)
		return a->kind == DP_ENDPOINT_LOCAL;
	return memcmp(&a->address, &b->address, sizeof(a->address)) < 0;
}

/* The endpoint that speaks for all, or NULL. */
static const struct dp_endpoint *group_speaker(const struct link_group *group)
{
	const struct dp_endpoint *first = NULL;
	const struct link_holder *holder;
	bool agreed = group->count <= DP_MAX_ADDRESSES;

	if (!agreed)
		return NULL;
	LIST_FOREACH(holder, &group->holders, link)
	{
		if (!first || is_before(holder->endpoint, first))
			first = holder->endpoint;
	}
	LIST_FOREACH(holder, &group->holders, link)
	{
		agreed &= first->kind == DP_ENDPOINT_LOCAL || ip_equal(&holder->endpoint->vtep, &first->vtep);
	}
	return agreed ? first : NULL;
}

static struct dp_endpoint *endpoint_derived(const struct link_group *group, const struct dp_endpoint *from)
{
	size_t groups = from->group_count * sizeof(from->groups[0]);
	struct dp_endpoint *derived = control_alloc(sizeof(*derived) + groups);

	memcpy(derived, from, sizeof(*from));
	memcpy(derived->groups, from->groups, groups);
	derived->home = from->address;
	derived->address = group->address;
	return derived;
}

static void group_publish(struct control_vpc *vpc, struct link_group *group)
{
	const struct dp_endpoint *speaker = group_speaker(group);
	struct dp_endpoint *old = group->endpoint;

	group->endpoint = speaker ? endpoint_derived(group, speaker) : NULL;
	if (group->endpoint && rcu_map_set(vpc->link_locals, &group->address, group->endpoint, NULL) != 0)
		abort();
	if (!group->endpoint)
		rcu_map_remove(vpc->link_locals, &group->address);
	if (old)
		retire(vpc->vswitch, old);
	vpc_mark(vpc);
	if (group->count > 0)
		return;
	rcu_map_remove(vpc->link_groups, &group->address);
	free(group);
}

static struct link_group *group_of(struct control_vpc *vpc, const struct ip_addr *address)
{
	struct link_group *group = rcu_map_find(vpc->link_groups, address);

	if (group)
		return group;
	group = control_alloc(sizeof(*group));
	group->address = *address;
	LIST_INIT(&group->holders);
	if (rcu_map_set(vpc->link_groups, address, group, NULL) != 0)
		abort();
	return group;
}

void link_local_drop(struct control_vpc *vpc, struct link_holder *holder)
{
	struct link_group *group = holder->group;

	if (!group)
		return;
	LIST_REMOVE(holder, link);
	holder->group = NULL;
	group->count--;
	group_publish(vpc, group);
}

void link_local_hold(struct control_vpc *vpc, struct link_holder *holder, const struct dp_endpoint *endpoint)
{
	struct ip_addr address = ip_link_local(&endpoint->mac);

	/* A mapped link-local address does not say which subnet it is in: another mapping of its MAC does. */
	if (endpoint->kind == DP_ENDPOINT_REMOTE && ip_is_link_local(&endpoint->address))
		return;
	if (holder->group && !ip_equal(&holder->group->address, &address))
		link_local_drop(vpc, holder);
	if (!holder->group) {
		holder->group = group_of(vpc, &address);
		holder->group->count++;
		LIST_INSERT_HEAD(&holder->group->holders, holder, link);
	}
	holder->endpoint = endpoint;
	group_publish(vpc, holder->group);
}
