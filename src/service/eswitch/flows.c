/* SPDX-License-Identifier: BSD-3-Clause */
/* `dpuctl offload flows`: rules that match a filter, in pages or in order. There may be a million: they are looked at
 * in portions, between which control does its other work. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "service/eswitch/eswitch_priv.h"
#include "service/eswitch/rule_text.h"

enum { LOOKS_AT_ONCE = 4096, LIMIT_MAX = 10000 };

enum order { ORDER_NONE, ORDER_PACKETS, ORDER_BYTES, ORDER_AGE, ORDER_IDLE };
static const char *const orders[] = { "rule", "packets", "bytes", "age", "idle", NULL };
static const char *const states[] = { "active", "refused", "leaving", "any", NULL };
static const unsigned state_bits[] = { FLOW_LIST_ACTIVE, FLOW_LIST_REFUSED, FLOW_LIST_LEAVING,
				       FLOW_LIST_ACTIVE | FLOW_LIST_REFUSED | FLOW_LIST_LEAVING };

static bool protocol_valid(const char *text)
{
	return rule_protocol(text, RULE_IPV4) >= 0;
}

const struct field flows_fields[] = {
	FIELD(struct flows_args, representor, .target = "representor",
	      .doc = "Only rules for what comes in by this representor."),
	FIELD(struct flows_args, in_port, .max = ESWITCH_MAX_PORTS, .def = "0",
	      .doc = "The same by its number; 0 means any."),
	FIELD(struct flows_args, protocol, .max = 16, .check = protocol_valid,
	      .check_doc = "must be a protocol's name or a number up to 255",
	      .doc = "Only rules that match this IP protocol, by name or number."),
	FIELD(struct flows_args, address, .doc = "Only rules that match packets from or to this address."),
	FIELD_ENUM_ROW(struct flows_args, state, states, .def = "active",
		       .doc = "Rules in force, refused and not yet destroyed, or on their way out."),
	FIELD(struct flows_args, min_packets, .def = "0", .unit = "packets",
	      .doc = "Only rules that so many packets have met."),
	FIELD_ENUM_ROW(
		struct flows_args, sort, orders, .def = "rule",
		.doc = "By number; or those with most packets, most bytes, the oldest, those longest unused first."),
	FIELD(struct flows_args, limit, .min = 1, .max = LIMIT_MAX, .def = "100", .unit = "rules",
	      .doc = "Shows so many at most."),
	FIELD(struct flows_args, cursor, .def = "0", .doc = "Goes on where another listing ended, from its next."),
	{ 0 },
};

/* One that is under way. */
struct listing {
	struct eswitch *eswitch;
	struct flow_switch *sw;
	struct action_reply *reply;
	struct loop_timer *timer;
	unsigned states;
	uint16_t in_port;
	int protocol;
	struct ip_addr address;
	uint64_t min_packets, cursor, now_ns;
	enum order order;
	uint32_t limit;
	bool more;
	struct flow_refusal *refusals; /* NULL unless refused rules are wanted */
	unsigned refusal_count;
	struct flow_rule_info *rules; /* room for twice the limit where there is an order */
	size_t count;
	LIST_ENTRY(listing) link;
};

/* ---- filter ---- */

static bool covers(const void *match, const void *mask, const uint8_t *address, size_t bytes)
{
	const uint8_t *value = match, *bits = mask;
	uint8_t any = 0, difference = 0;

	for (size_t i = 0; i < bytes; i++) {
		any |= bits[i];
		difference |= (value[i] ^ address[i]) & bits[i];
	}
	return any && !difference;
}

static bool has_address(const struct flow_rule_info *rule, const struct ip_addr *address)
{
	bool tagged = rule->match.flags & ESWITCH_FIELD_VLAN;
	uint16_t type = tagged ? rule->match.inner_type : rule->match.eth_type;

	if (address->family == IP_V4)
		return type == RTE_BE16(0x0800) &&
		       (covers(&rule->match.ip4_src, &rule->mask.ip4_src, address->bytes, 4) ||
			covers(&rule->match.ip4_dst, &rule->mask.ip4_dst, address->bytes, 4));
	return type == RTE_BE16(0x86dd) && (covers(rule->match.ip6_src, rule->mask.ip6_src, address->bytes, 16) ||
					    covers(rule->match.ip6_dst, rule->mask.ip6_dst, address->bytes, 16));
}

static bool is_wanted(const struct listing *listing, const struct flow_rule_info *rule)
{
	if (listing->in_port && rule->match.in_port != listing->in_port)
		return false;
	if (listing->protocol &&
	    (rule->mask.ip_proto != UINT8_MAX || rule->match.ip_proto != (uint8_t)listing->protocol))
		return false;
	if (listing->address.family != IP_NONE && !has_address(rule, &listing->address))
		return false;
	return rule->packets >= listing->min_packets;
}

/* ---- order ---- */

/* What is larger comes first. */
static uint64_t rank(const struct listing *listing, const struct flow_rule_info *rule)
{
	switch (listing->order) {
	case ORDER_PACKETS:
		return rule->packets;
	case ORDER_BYTES:
		return rule->bytes;
	case ORDER_AGE:
		return listing->now_ns - rule->installed_ns;
	case ORDER_IDLE:
		return listing->now_ns - (rule->used_ns ? rule->used_ns : rule->installed_ns);
	default:
		return 0;
	}
}

static int by_rank(const void *a, const void *b, void *arg)
{
	uint64_t left = rank(arg, a), right = rank(arg, b);

	return left < right ? 1 : left > right ? -1 : 0;
}

/* The first `limit` in order stay. */
static void keep_first(struct listing *listing)
{
	qsort_r(listing->rules, listing->count, sizeof(listing->rules[0]), by_rank, listing);
	listing->count = RTE_MIN(listing->count, (size_t)listing->limit);
}

/* What was refused is known from the list of refusals, as long as that remembers it. */
static void complete_refused(const struct listing *listing, struct flow_rule_info *rule)
{
	for (unsigned i = 0; i < listing->refusal_count; i++) {
		const struct flow_refusal *refusal = &listing->refusals[i];

		if (refusal->client != rule->client || refusal->index != rule->index ||
		    refusal->generation != rule->generation)
			continue;
		rule->match = refusal->match;
		rule->mask = refusal->mask;
		return;
	}
}

static void take(void *arg, const struct flow_rule_info *found)
{
	struct listing *listing = arg;
	struct flow_rule_info *rule = &listing->rules[listing->count];

	*rule = *found;
	if (rule->state == FLOW_LIST_REFUSED)
		complete_refused(listing, rule);
	if (!is_wanted(listing, rule))
		return;
	listing->count++;
	if (listing->order && listing->count == 2 * (size_t)listing->limit)
		keep_first(listing);
}

/* ---- answer ---- */

static json_t *seconds(const struct listing *listing, uint64_t then_ns)
{
	if (!then_ns)
		return json_null();
	return json_integer(then_ns < listing->now_ns ? (json_int_t)((listing->now_ns - then_ns) / CLOCK_NS_PER_S) : 0);
}

static json_t *rule_json(const struct listing *listing, const struct flow_rule_info *rule)
{
	char match[RULE_TEXT], actions[RULE_TEXT];
	bool active = rule->state == FLOW_LIST_ACTIVE;
	json_t *row = json_pack(
		"{s:I, s:s, s:s, s:s, s:s}", "rule", (json_int_t)rule->index, "state",
		active                             ? "active"
		: rule->state == FLOW_LIST_REFUSED ? "refused"
						   : "leaving",
		"representor", representor_name(listing->eswitch, rule->match.in_port), "match",
		rule_match_text(&rule->match, &rule->mask, match, sizeof(match)), "actions",
		active ? rule_actions_text(rule->ops, rule->op_count, rule->encap_bytes, actions, sizeof(actions))
		       : "");

	json_object_set_new(row, "packets", json_integer((json_int_t)rule->packets));
	json_object_set_new(row, "bytes", json_integer((json_int_t)rule->bytes));
	json_object_set_new(row, "age_seconds", seconds(listing, rule->installed_ns));
	json_object_set_new(row, "idle_seconds", seconds(listing, rule->used_ns));
	if (rule->state == FLOW_LIST_REFUSED)
		json_object_set_new(row, "reason", json_string(flow_refusal_name(rule->refusal)));
	json_object_set_new(row, "client", json_string(client_name(listing->eswitch, rule->client)));
	return row;
}

static void listing_free(struct listing *listing)
{
	LIST_REMOVE(listing, link);
	loop_timer_remove(listing->timer);
	free(listing->refusals);
	free(listing->rules);
	free(listing);
}

static void answer(struct listing *listing)
{
	json_t *list = json_array(), *result;

	if (listing->order)
		keep_first(listing);
	for (size_t i = 0; i < listing->count; i++)
		json_array_append_new(list, rule_json(listing, &listing->rules[i]));
	result = json_pack("{s:o}", "flows", list);
	if (listing->more)
		json_object_set_new(result, "next", json_integer((json_int_t)listing->cursor));
	action_answer(listing->reply, 0, result, NULL);
	listing_free(listing);
}

static void portion(void *arg)
{
	struct listing *listing = arg;
	unsigned looks = LOOKS_AT_ONCE;

	/* Without an order a page ends where it is full. */
	if (!listing->order)
		looks = RTE_MIN(looks, listing->limit - (unsigned)listing->count);
	listing->more = flow_rules_list(listing->sw, listing->states, &listing->cursor, looks, take, listing);
	if (listing->more && (listing->order || listing->count < listing->limit))
		loop_timer_rearm(listing->timer, 0);
	else
		answer(listing);
}

void flows_end(struct eswitch *eswitch)
{
	struct listing *listing;
	struct dpu_error err = { 0 };

	while ((listing = LIST_FIRST(&eswitch->listings)) != NULL) {
		int rc = error_set(&err, DPU_E_NOT_FOUND, NULL, "the eswitch was deleted meanwhile");

		action_answer(listing->reply, rc, NULL, &err);
		listing_free(listing);
	}
}

int flows_start(void *ctx, struct object *object, const void *arguments, struct action_reply *reply,
		struct dpu_error *err)
{
	const struct flows_args *args = arguments;
	struct eswitch *eswitch = ctx;
	int rc = engine_of(eswitch, err);

	(void)object;
	if (rc != 0)
		return rc;
	if (args->sort != ORDER_NONE && args->cursor)
		return error_set(err, DPU_E_INVALID, "cursor",
				 "goes on in the order of rules; what is sorted has one page: raise limit");
	struct listing *listing = eswitch_alloc(sizeof(*listing));
	*listing = (struct listing){ .eswitch = eswitch,
				     .sw = eswitch->engine->sw,
				     .reply = reply,
				     .states = state_bits[args->state],
				     .in_port = (uint16_t)args->in_port,
				     .protocol = rule_protocol(args->protocol,
							       args->address.family == IP_V6 ? RULE_IPV6 : RULE_IPV4),
				     .address = args->address,
				     .min_packets = args->min_packets,
				     .cursor = args->cursor,
				     .now_ns = clock_ns(),
				     .order = args->sort,
				     .limit = args->limit };
	if (args->representor.object)
		listing->in_port = ((const struct representor *)args->representor.object)->number;
	listing->rules = calloc(2 * (size_t)listing->limit, sizeof(listing->rules[0]));
	if (listing->states & FLOW_LIST_REFUSED) {
		listing->refusals = eswitch_alloc(FLOW_REFUSALS_KEPT * sizeof(*listing->refusals));
		listing->refusal_count = flow_refusals_list(listing->sw, listing->refusals, FLOW_REFUSALS_KEPT);
	}
	LIST_INSERT_HEAD(&eswitch->listings, listing, link);
	if (!listing->rules || loop_timer_add(eswitch->dpu->loop, 0, 0, portion, listing, &listing->timer) != 0) {
		listing_free(listing);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	return 0;
}
