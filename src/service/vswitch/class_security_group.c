/* SPDX-License-Identifier: BSD-3-Clause */
/* The classes "security_group" and "security_group_rule": what may be sent to and from vNICs, as in OpenStack. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <strings.h>
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

static const char *const direction_names[] = { "ingress", "egress", NULL };
static const char *const ethertype_names[] = { "ipv4", "ipv6", NULL };

static const struct field group_fields[] = {
	FIELD(struct security_group, description, .max = 255, .doc = "Note for people."),
	{ 0 },
};

const struct object_class security_group_class = {
	.name = "security_group",
	.plural = "security_groups",
	.doc = "A set of rules that allow traffic; what no rule of a vNIC's groups allows is dropped. Stateful: "
	       "replies are allowed.",
	.size = sizeof(struct security_group),
	.fields = group_fields,
	.max_objects = 65535,
	.apply = control_group_apply,
};

static const struct {
	const char *name;
	uint8_t number;
} protocols[] = {
	{ "icmp", IPPROTO_ICMP }, { "icmpv6", IPPROTO_ICMPV6 },   { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP },
	{ "sctp", IPPROTO_SCTP }, { "dccp", IPPROTO_DCCP },       { "gre", IPPROTO_GRE }, { "esp", IPPROTO_ESP },
	{ "ah", IPPROTO_AH },     { "udplite", IPPROTO_UDPLITE }, { "any", 0 },
};

int rule_protocol(const char *text, uint8_t ethertype)
{
	char *end;
	unsigned long number;

	if (!text)
		return 0;
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (strcasecmp(text, protocols[i].name) == 0)
			return protocols[i].number == IPPROTO_ICMP && ethertype == RULE_IPV6 ? IPPROTO_ICMPV6
											     : protocols[i].number;
	number = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && number <= 255 ? (int)number : -EINVAL;
}

static bool protocol_valid(const char *text)
{
	return rule_protocol(text, RULE_IPV4) >= 0;
}

static const struct field rule_fields[] = {
	FIELD(struct security_group_rule, group, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_PARENT,
	      .target = "security_group", .doc = "The group that the rule belongs to."),
	FIELD_ENUM_ROW(struct security_group_rule, direction, direction_names, .flags = FIELD_F_REQUIRED,
		       .doc = "Whether the rule is about packets to the vNIC or from it."),
	FIELD_ENUM_ROW(struct security_group_rule, ethertype, ethertype_names, .def = "ipv4",
		       .doc = "Address family of the packets."),
	FIELD(struct security_group_rule, protocol, .def = "any", .max = 16, .check = protocol_valid,
	      .check_doc =
		      "must be any, tcp, udp, icmp, icmpv6, sctp, dccp, udplite, gre, esp, ah or a number up to 255",
	      .doc = "IP protocol, by name or number."),
	FIELD(struct security_group_rule, port_range_min, .max = 65535, .def = "0",
	      .doc = "First destination port, for protocols with ports."),
	FIELD(struct security_group_rule, port_range_max, .max = 65535, .def = "0",
	      .doc = "Last destination port; 0 means the same as port_range_min, and with that 0, too, all ports."),
	FIELD(struct security_group_rule, icmp_type, .max = ICMP_ANY, .def = "256", .doc = "ICMP type; 256 means any."),
	FIELD(struct security_group_rule, icmp_code, .max = ICMP_ANY, .def = "256", .doc = "ICMP code; 256 means any."),
	FIELD(struct security_group_rule, remote_ip_prefix, .doc = "Addresses of the other end; by default any."),
	FIELD(struct security_group_rule, remote_group, .target = "security_group",
	      .doc = "The other end must be a member of this group, in place of remote_ip_prefix."),
	{ 0 },
};

static bool has_ports(int proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP ||
	       proto == IPPROTO_UDPLITE;
}

static int ports_validate(const struct security_group_rule *rule, int proto, struct dpu_error *err)
{
	bool icmp = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;

	if ((rule->port_range_min || rule->port_range_max) && !has_ports(proto))
		return error_set(err, DPU_E_INVALID, "port_range_min",
				 "goes with protocol tcp, udp, sctp, dccp or udplite only");
	if (rule->port_range_max && rule->port_range_max < rule->port_range_min)
		return error_set(err, DPU_E_INVALID, "port_range_max", "is below port_range_min (%u)",
				 rule->port_range_min);
	if ((rule->icmp_type != ICMP_ANY || rule->icmp_code != ICMP_ANY) && !icmp)
		return error_set(err, DPU_E_INVALID, "icmp_type", "and icmp_code go with protocol icmp or icmpv6 only");
	if (rule->icmp_code != ICMP_ANY && rule->icmp_type == ICMP_ANY)
		return error_set(err, DPU_E_INVALID, "icmp_code", "needs icmp_type");
	return 0;
}

static int rule_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct security_group_rule *rule = (const struct security_group_rule *)new;
	int proto = rule_protocol(rule->protocol, rule->ethertype);
	int rc = object_same_tenant(new, rule->group.object, "group", err);

	(void)old;
	if (rc == 0)
		rc = object_same_tenant(new, rule->remote_group.object, "remote_group", err);
	if (rc == 0)
		rc = control_check_memory(ctx, new, "group", err);
	if (rc != 0)
		return rc;
	if (proto == (rule->ethertype == RULE_IPV4 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return error_set(err, DPU_E_INVALID, "protocol", "does not go with ethertype %s",
				 ethertype_names[rule->ethertype]);
	if (rule->remote_ip_prefix.addr.family != IP_NONE && rule->remote_group.object)
		return error_set(err, DPU_E_INVALID, "remote_group", "and remote_ip_prefix exclude each other");
	if (rule->remote_ip_prefix.addr.family != IP_NONE &&
	    rule->remote_ip_prefix.addr.family != (rule->ethertype == RULE_IPV4 ? IP_V4 : IP_V6))
		return error_set(err, DPU_E_INVALID, "remote_ip_prefix", "must be of ethertype %s",
				 ethertype_names[rule->ethertype]);
	return ports_validate(rule, proto, err);
}

const struct object_class security_group_rule_class = {
	.name = "security_group_rule",
	.plural = "security_group_rules",
	.doc = "One thing that a security group allows.",
	.size = sizeof(struct security_group_rule),
	.fields = rule_fields,
	.validate = rule_validate,
	.apply = control_rule_apply,
	.remove = control_rule_remove,
	.commit = control_commit,
};
