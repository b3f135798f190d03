/* SPDX-License-Identifier: BSD-3-Clause */
/* Security groups in force: their rules, compiled per vNIC, direction and family. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/vswitch/vswitch_priv.h"

/* All groups of a vNIC together compile to one set. */
enum { GROUP_MAX_RULES = DP_MAX_RULES / DP_MAX_GROUPS };

/* A group is its rules; but the number of a deleted one is free only when its transaction is over. */
int control_group_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	(void)ctx, (void)old;
	if (new->slot < CONTROL_MAX_GROUPS)
		return 0;
	return error_set(err, DPU_E_LIMIT, "name",
			 "there are %u groups, those that are deleted at once counted in: delete them first",
			 CONTROL_MAX_GROUPS - 1);
}

static struct control_group *group_of(struct vswitch *vswitch, const struct object *group)
{
	struct control_group **place = &vswitch->groups[group->slot];

	if (!*place)
		*place = control_alloc(sizeof(**place));
	return *place;
}

static struct security_group_rule **rule_place(struct control_group *group, const struct object *rule)
{
	for (size_t i = 0; i < group->count; i++)
		if (uuid_equal(&group->rules[i]->base.uuid, &rule->uuid))
			return &group->rules[i];
	return NULL;
}

int control_rule_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct vswitch *vswitch = ctx;
	struct security_group_rule *rule = (struct security_group_rule *)new, **place;
	struct control_group *group = group_of(vswitch, rule->group.object);

	group->dirty = vswitch->groups_dirty = true;
	place = old ? rule_place(group, old) : NULL;
	if (place) {
		*place = rule;
		return 0;
	}
	if (group->count == GROUP_MAX_RULES)
		return error_set(err, DPU_E_LIMIT, "group", "has %u rules already; use another one besides",
				 GROUP_MAX_RULES);
	if (group->count == group->room) {
		group->room = group->room ? 2 * group->room : 16;
		group->rules = realloc(group->rules, group->room * sizeof(*group->rules));
		if (!group->rules)
			abort();
	}
	group->rules[group->count++] = rule;
	return 0;
}

void control_rule_remove(void *ctx, struct object *object)
{
	struct vswitch *vswitch = ctx;
	struct control_group *group = group_of(vswitch, ((struct security_group_rule *)object)->group.object);
	struct security_group_rule **place = rule_place(group, object);

	group->dirty = vswitch->groups_dirty = true;
	if (!place)
		return;
	memmove(place, place + 1, (group->rules + group->count - place - 1) * sizeof(*place));
	group->count--;
}

static bool uses_dirty(const struct vswitch *vswitch, const struct vnic *vnic)
{
	for (size_t i = 0; i < vnic->security_groups.count; i++) {
		const struct control_group *group = vswitch->groups[vnic->security_groups.items[i].object->slot];
		if (group && group->dirty)
			return true;
	}
	return false;
}

static int mark_user(void *arg, struct object *object)
{
	struct control_vnic *vnic = object->runtime;

	if (vnic && uses_dirty(arg, vnic->object)) {
		vnic->dirty = true;
		vpc_mark(vnic->vpc);
	}
	return 0;
}

void rules_commit(struct vswitch *vswitch)
{
	if (!vswitch->groups_dirty)
		return;
	vswitch->groups_dirty = false;
	model_each(vswitch->dpu->model, "vnic", NULL, mark_user, vswitch);
	for (unsigned i = 0; i < CONTROL_MAX_GROUPS; i++) {
		struct control_group *group = vswitch->groups[i];
		if (!group || !group->dirty)
			continue;
		group->dirty = false;
		if (group->count == 0) { /* it may have gone, too */
			free(group->rules);
			free(group);
			vswitch->groups[i] = NULL;
		}
	}
}

static void rule_input(const struct security_group_rule *rule, struct dp_rule_input *ret)
{
	bool any_port = rule->port_range_min == 0 && rule->port_range_max == 0;
	int proto = rule_protocol(rule->protocol, rule->ethertype);

	*ret = (struct dp_rule_input){ .rule_slot = rule->base.slot,
				       .family = rule->ethertype == RULE_IPV4 ? IP_V4 : IP_V6,
				       .proto = proto,
				       .port_min = rule->port_range_min,
				       .port_max = any_port               ? 65535
						   : rule->port_range_max ? rule->port_range_max
									  : rule->port_range_min,
				       .remote = rule->remote_ip_prefix,
				       .remote_group =
					       rule->remote_group.object ? rule->remote_group.object->slot : 0 };
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		ret->port_min = rule->icmp_type == ICMP_ANY
					? 0
					: rule->icmp_type << 8 | (rule->icmp_code == ICMP_ANY ? 0 : rule->icmp_code);
		ret->port_max = rule->icmp_type == ICMP_ANY
					? 65535
					: rule->icmp_type << 8 | (rule->icmp_code == ICMP_ANY ? 255 : rule->icmp_code);
	}
}

static struct dp_rules *compile(struct vswitch *vswitch, const struct vnic *vnic, uint8_t direction, uint8_t ethertype)
{
	struct dp_rule_input *input;
	struct dp_rules *rules = NULL;
	unsigned count = 0, room = 0;
	int rc;

	for (size_t i = 0; i < vnic->security_groups.count; i++) {
		struct control_group *group = vswitch->groups[vnic->security_groups.items[i].object->slot];

		room += group ? group->count : 0;
	}
	if (room == 0)
		return NULL;
	input = control_alloc(room * sizeof(*input));
	for (size_t i = 0; i < vnic->security_groups.count; i++) {
		struct control_group *group = vswitch->groups[vnic->security_groups.items[i].object->slot];

		for (size_t j = 0; group && j < group->count; j++)
			if (group->rules[j]->direction == direction && group->rules[j]->ethertype == ethertype)
				rule_input(group->rules[j], &input[count++]);
	}
	rc = count ? dp_rules_new(input, count, &rules) : 0;
	free(input);
	if (rc != 0) { /* nothing is allowed then: the safe side */
		log_error("vswitch", "security group rules do not compile", "vnic=\"%s\" error=%d", vnic->base.name,
			  rc);
		return NULL;
	}
	return rules;
}

void vnic_rules(struct vswitch *vswitch, const struct vnic *vnic, struct dp_vnic *ret)
{
	for (uint8_t family = 0; family < 2; family++) {
		ret->egress[family] = compile(vswitch, vnic, RULE_EGRESS, family);
		ret->ingress[family] = compile(vswitch, vnic, RULE_INGRESS, family);
	}
}

void rules_release(struct vswitch *vswitch, struct dp_vnic *record)
{
	for (unsigned family = 0; family < 2; family++) {
		const struct dp_rules *both[] = { record->egress[family], record->ingress[family] };

		for (unsigned i = 0; i < 2; i++)
			if (both[i])
				retire_with(vswitch, dp_rules_free, (void *)(uintptr_t)both[i]);
	}
}
