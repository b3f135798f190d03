/* SPDX-License-Identifier: BSD-3-Clause */
/* Listing and clearing sessions: each worker looks through its own tables, a slice at a time, so that traffic goes on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/actions.h"
#include "service/vswitch/vswitch_priv.h"

enum { SLICE = 2048 /* records looked at between two bursts: some 50 µs */ };

/* By enum tcp_state, but for the first. */
static const char *const session_states[] = { "any",     "syn-sent",  "syn-received", "established", "fin-wait",
					      "closing", "time-wait", "closed",       NULL };

/* What both actions choose sessions by. */
#define FILTER_FIELDS                                                                                                  \
	FIELD(struct session_filter, tenant, .target = "tenant", .doc = "Only sessions charged to this tenant."),      \
		FIELD(struct session_filter, vpc, .target = "vpc",                                                     \
		      .doc = "Only sessions of this VPC, as TENANT/NAME."),                                            \
		FIELD(struct session_filter, vnic, .target = "vnic",                                                   \
		      .doc = "Only sessions from or to this vNIC, as TENANT/NAME."),                                   \
		FIELD(struct session_filter, address, .doc = "Only sessions from or to this address."),                \
		FIELD(struct session_filter, protocol, .max = 16,                                                      \
		      .doc = "Only sessions of this IP protocol, by name or number."),                                 \
		FIELD_ENUM_ROW(struct session_filter, state, session_states, .def = "any",                             \
			       .doc = "Only TCP sessions in this state."),                                             \
		FIELD(struct session_filter, port, .max = 65535, .def = "0",                                           \
		      .doc = "Only sessions with this port at either end; 0 means any.")

const struct field session_filter_fields[] = { FILTER_FIELDS, { 0 } };

const struct field session_list_fields[] = {
	FILTER_FIELDS,
	FIELD(struct session_filter, limit, .min = 1, .max = 100000, .def = "1000",
	      .doc = "How many sessions to list at most."),
	FIELD(struct session_filter, cursor, .max = 64, .doc = "Goes on behind another listing: what it gave as next."),
	{ 0 },
};

struct found {
	struct session session;
	struct flow_key key; /* of the initiator's direction */
	unsigned worker;
};

struct query {
	struct vswitch *vswitch;
	struct action_reply *reply;
	struct flow_key match; /* vpc, proto; 0 = any */
	uint16_t iface, tenant, port;
	uint8_t state; /* enum tcp_state; 0 = any */
	struct ip_addr address;
	uint32_t limit;
	bool clear;
	/* where it has got to */
	unsigned worker, table;
	uint32_t cursor;
	bool later; /* not the first page */
	bool full;  /* the page is; what follows it begins at: */
	struct place {
		unsigned worker, table;
		uint32_t cursor;
	} next;
	struct session_table *current;
	struct found *found;
	size_t count, room;
	uint64_t matched;
};

static bool has_address(const struct flow_key *key, const struct ip_addr *address)
{
	bool v6 = flow_key_is_v6(key);

	if (address->family == IP_NONE)
		return true;
	if (v6 != (address->family == IP_V6))
		return false;
	if (v6)
		return memcmp(key->v6.src, address->bytes, 16) == 0 || memcmp(key->v6.dst, address->bytes, 16) == 0;
	return memcmp(&key->v4.src, address->bytes, 4) == 0 || memcmp(&key->v4.dst, address->bytes, 4) == 0;
}

static bool matches(const struct query *query, const struct session *session, const struct flow_key *key)
{
	const struct session_dir *first = &session->dir[session->initiator];

	if (query->match.vpc && key->vpc != query->match.vpc)
		return false;
	if (query->match.proto && key->proto != query->match.proto)
		return false;
	if (query->state && session->tcp_state != query->state)
		return false;
	if (query->tenant && session->tenant != query->tenant)
		return false;
	if (query->iface && first->in_iface != query->iface && first->out_iface != query->iface)
		return false;
	if (query->port && key->src_port != htons(query->port) && key->dst_port != htons(query->port))
		return false;
	return has_address(key, &query->address);
}

static void visit(void *arg, struct session *session)
{
	struct query *query = arg;
	struct flow_key key;

	session_key(query->current, session, session->initiator, &key);
	if (!matches(query, session, &key))
		return;
	query->matched++;
	if (query->clear) {
		session_remove(query->current, session);
		return;
	}
	if (query->count < query->limit) /* query_go_on() has made room for a slice */
		query->found[query->count++] =
			(struct found){ .session = *session, .key = key, .worker = query->worker };
}

/* A slice of the current table, in parts that cannot hold more than what the page has room for, so that the place where
 * it is full is known. False at the table's end. */
static bool look_through(struct query *query)
{
	for (unsigned left = SLICE; left > 0;) {
		uint32_t room = query->limit - (uint32_t)query->count;
		unsigned part = !query->clear && !query->full && room < left ? room : left;

		if (!session_table_scan(query->current, &query->cursor, part, visit, query))
			return false;
		left -= part;
		if (!query->clear && !query->full && query->count == query->limit) {
			query->full = true;
			query->next = (struct place){ query->worker, query->table, query->cursor };
		}
	}
	return true;
}

/* In the worker: a slice of one of its tables. */
static void look(void *arg, struct worker *worker)
{
	struct query *query = arg;
	struct path *path = query->vswitch->dp.paths[query->worker];

	(void)worker;
	for (; query->table < 2 * PATH_SLOTS; query->table++, query->cursor = 0) {
		query->current = path_table_at(path, query->table);
		if (!query->current || session_table_count(query->current) == 0)
			continue;
		if (!look_through(query)) {
			query->table++;
			query->cursor = 0;
		}
		return;
	}
}

static const char *state_name(const struct session *session)
{
	return session->tcp_state > TCP_NONE && session->tcp_state <= TCP_CLOSED ? session_states[session->tcp_state]
										 : "";
}

static const char *proto_name(uint8_t proto, char *buf)
{
	static const struct {
		uint8_t number;
		const char *name;
	} names[] = { { IPPROTO_TCP, "tcp" },       { IPPROTO_UDP, "udp" },   { IPPROTO_ICMP, "icmp" },
		      { IPPROTO_ICMPV6, "icmpv6" }, { IPPROTO_SCTP, "sctp" }, { IPPROTO_ESP, "esp" },
		      { IPPROTO_GRE, "gre" } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].number == proto)
			return names[i].name;
	snprintf(buf, 8, "%u", proto);
	return buf;
}

const char *iface_name(const struct vswitch *vswitch, uint16_t iface, char *buf, size_t size)
{
	const char *class = iface >= PATH_FIRST_VNIC ? "vnic" : "port";

	if (iface >= PATH_FIRST_REPRESENTOR) {
		snprintf(buf, size, "%s", member_iface_name(vswitch, iface));
		return buf;
	}
	struct object *object = iface ? model_slot(vswitch->dpu->model, class,
						   iface >= PATH_FIRST_VNIC ? iface - PATH_FIRST_VNIC : iface)
				      : NULL;

	buf[0] = '\0';
	if (object && object->tenant)
		snprintf(buf, size, "%s/%s", object->tenant->name, object->name);
	else if (object)
		snprintf(buf, size, "%s", object->name);
	return buf;
}

static void put_traffic(json_t *json, const char *prefix, const struct session_dir *dir)
{
	char name[32];

	snprintf(name, sizeof(name), "%s_packets", prefix);
	json_object_set_new(json, name, json_integer(dir->packets));
	snprintf(name, sizeof(name), "%s_bytes", prefix);
	json_object_set_new(json, name, json_integer(dir->bytes));
}

json_t *session_json(const struct vswitch *vswitch, const struct session *session, const struct flow_key *key,
		     unsigned worker)
{
	const struct session_dir *forward = &session->dir[session->initiator],
				 *reverse = &session->dir[!session->initiator];
	const struct object *vpc = model_slot(vswitch->dpu->model, "vpc", key->vpc);
	int family = flow_key_is_v6(key) ? AF_INET6 : AF_INET;
	char src[IP_TEXT], dst[IP_TEXT], in[600], out[600], number[8], vpc_name[600] = "";
	session_tick_t now = path_now(vswitch->dp.paths[worker]), seen;

	inet_ntop(family, family == AF_INET6 ? (const void *)key->v6.src : &key->v4.src, src, sizeof(src));
	inet_ntop(family, family == AF_INET6 ? (const void *)key->v6.dst : &key->v4.dst, dst, sizeof(dst));
	if (vpc)
		snprintf(vpc_name, sizeof(vpc_name), "%s/%s", vpc->tenant->name, vpc->name);
	seen = (int32_t)(forward->last_seen - reverse->last_seen) > 0 || reverse->packets == 0 ? forward->last_seen
											       : reverse->last_seen;
	json_t *json =
		json_pack("{s:s, s:s, s:s, s:i, s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:b}", "vpc", vpc_name,
			  "protocol", proto_name(key->proto, number), "source", src, "source_port",
			  ntohs(key->src_port), "destination", dst, "destination_port", ntohs(key->dst_port), "state",
			  state_name(session), "in", iface_name(vswitch, forward->in_iface, in, sizeof(in)), "out",
			  iface_name(vswitch, forward->out_iface, out, sizeof(out)), "age_seconds",
			  (json_int_t)((now - session->created) / SESSION_TICKS_PER_SECOND), "idle_seconds",
			  (json_int_t)((int32_t)(now - seen) > 0 ? (now - seen) / SESSION_TICKS_PER_SECOND : 0),
			  "timeout_seconds", (json_int_t)(session->timeout_ticks / SESSION_TICKS_PER_SECOND), "worker",
			  (int)worker, "fragment", key->flags & FLOW_KEY_F_FRAGMENT);

	put_traffic(json, "forward", forward);
	put_traffic(json, "reverse", reverse);
	return json;
}

static json_t *page_json(const struct query *query)
{
	json_t *list = json_array(), *json;
	char next[64];

	for (size_t i = 0; i < query->count; i++)
		json_array_append_new(list, session_json(query->vswitch, &query->found[i].session, &query->found[i].key,
							 query->found[i].worker));
	json = json_pack("{s:o}", "sessions", list);
	/* Counting them all is the first page's work alone. */
	if (!query->later) {
		json_object_set_new(json, "matched", json_integer((json_int_t)query->matched));
		json_object_set_new(json, "truncated", json_boolean(query->matched > query->count));
	}
	if (query->full && (query->later || query->matched > query->count)) {
		snprintf(next, sizeof(next), "%u.%u.%u", query->next.worker, query->next.table, query->next.cursor);
		json_object_set_new(json, "next", json_string(next));
	}
	return json;
}

static void query_answer(struct query *query)
{
	bool complete = query->worker == query->vswitch->dp.worker_count || (query->later && query->full);
	struct dpu_error err = { 0 };
	json_t *result = NULL;
	int rc = complete ? 0 : error_set(&err, DPU_E_UNSUPPORTED, NULL, "the switch is being stopped");

	query->vswitch->questions--;
	if (!complete) {
		/* no result */
	} else if (query->clear) {
		result = json_pack("{s:I}", "cleared", (json_int_t)query->matched);
	} else {
		result = page_json(query);
	}
	action_answer(query->reply, rc, result, rc ? &err : NULL);
	free(query->found);
	free(query);
}

static void query_go_on(void *arg)
{
	struct query *query = arg;

	if (query->table == 2 * PATH_SLOTS) {
		query->worker++;
		query->table = 0;
	}
	/* Room is made here: the worker allocates nothing. */
	if (!query->clear && query->room - query->count < SLICE && query->room < query->limit + SLICE) {
		query->room = 2 * query->room + 2 * SLICE;
		query->found = realloc(query->found, query->room * sizeof(*query->found));
		if (!query->found)
			abort();
	}
	if (query->worker == query->vswitch->dp.worker_count || (query->later && query->full) ||
	    !query->vswitch->running ||
	    worker_call(workers_get(query->vswitch->dp.workers, query->worker), look, query, query_go_on) != 0)
		query_answer(query);
}

static bool place_parse(const char *text, unsigned workers, struct place *ret)
{
	char end;

	if (!text)
		return true;
	return sscanf(text, "%u.%u.%u%c", &ret->worker, &ret->table, &ret->cursor, &end) == 3 &&
	       ret->worker < workers && ret->table < 2 * PATH_SLOTS;
}

static int query_begin(struct vswitch *vswitch, const struct session_filter *filter, bool clear,
		       struct action_reply *reply, struct dpu_error *err)
{
	struct place place = { 0 };
	struct query *query;
	int proto = rule_protocol(filter->protocol, filter->address.family == IP_V6 ? RULE_IPV6 : RULE_IPV4);

	if (proto < 0)
		return error_set(err, DPU_E_INVALID, "protocol", "must be a protocol's name or a number up to 255");
	if (!place_parse(filter->cursor, vswitch->dp.worker_count, &place))
		return error_set(err, DPU_E_INVALID, "cursor", "must be what another listing gave as next");
	if (!vswitch->running)
		return error_set(err, DPU_E_UNSUPPORTED, NULL, "the switch is not running yet");
	query = control_alloc(sizeof(*query));
	query->worker = place.worker;
	query->table = place.table;
	query->cursor = place.cursor;
	query->later = filter->cursor != NULL;
	query->vswitch = vswitch;
	vswitch->questions++;
	query->reply = reply;
	query->clear = clear;
	query->limit = filter->limit;
	query->state = filter->state;
	query->port = filter->port;
	query->address = filter->address;
	query->match.proto = proto;
	query->match.vpc = filter->vpc.object ? filter->vpc.object->slot : 0;
	query->tenant = filter->tenant.object ? filter->tenant.object->slot : 0;
	query->iface = filter->vnic.object ? PATH_FIRST_VNIC + filter->vnic.object->slot : 0;
	query_go_on(query);
	return 0;
}

int session_list_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err)
{
	(void)object;
	return query_begin(ctx, args, false, reply, err);
}

int session_clear_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
			struct dpu_error *err)
{
	(void)object;
	return query_begin(ctx, args, true, reply, err);
}
