/* SPDX-License-Identifier: BSD-3-Clause */
/* `why`: what would happen to a packet, by the same policy function that decides for real ones, and the session that it
 * would hit. */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/actions.h"
#include "service/vswitch/datapath_priv.h"
#include "service/vswitch/vswitch_priv.h"

const struct field why_fields[] = {
	FIELD(struct why_args, vnic, .target = "vnic", .doc = "The vNIC that sends the packet, as TENANT/NAME."),
	FIELD(struct why_args, vpc, .target = "vpc",
	      .doc = "In place of vnic: the packet comes out of a tunnel of this VPC."),
	FIELD(struct why_args, port, .target = "port",
	      .doc = "In place of vnic: the packet comes in by this uplink, which has a representor."),
	FIELD(struct why_args, vtep, .doc = "With vpc: the tunnel endpoint that sent it."),
	FIELD(struct why_args, src, .doc = "Source address; by default the vNIC's first of the destination's family."),
	FIELD(struct why_args, dst, .doc = "Destination address."),
	FIELD(struct why_args, protocol, .max = 16, .def = "tcp", .doc = "IP protocol, by name or number."),
	FIELD(struct why_args, src_port, .max = 65535, .def = "40000",
	      .doc = "Source port, or the identifier of an ICMP echo."),
	FIELD(struct why_args, dst_port, .max = 65535, .def = "0", .doc = "Destination port."),
	FIELD(struct why_args, dst_mac,
	      .doc = "Destination MAC address; under an eswitch, whose rules look at it, it must be given."),
	FIELD(struct why_args, src_mac, .doc = "Under an eswitch: source MAC address; by default the vNIC's."),
	FIELD(struct why_args, vlan, .max = 4094, .def = "0",
	      .doc = "Under an eswitch: VLAN identifier of the packet's tag; 0 means none."),
	FIELD(struct why_args, icmp_type, .max = 255, .def = "8",
	      .doc = "ICMP type; for ICMPv6 an echo request is taken in place of 8."),
	FIELD(struct why_args, icmp_code, .max = 255, .def = "0", .doc = "ICMP code."),
	FIELD(struct why_args, packet, .max = 4096,
	      .doc = "In place of addresses and ports: the Ethernet frame in hexadecimal."),
	{ 0 },
};

struct question {
	struct vswitch *vswitch;
	struct action_reply *reply;
	struct flow_key key;
	uint16_t iface;
	struct ip_addr vtep;
	struct rte_mbuf *frame;
	struct packet_info info; /* of frame */
	enum drop_reason unread; /* the frame does not get as far as policy; DROP_SERVICE_HANDLED: it need not */
	uint32_t hash;
	unsigned worker;
	bool found, current;
	struct session session;
	struct flow_key session_key;
};

static int hex_frame(struct vswitch *vswitch, const char *text, struct rte_mbuf **ret, struct dpu_error *err)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vswitch->dpu->pool);
	unsigned high, used;

	if (!m)
		return error_set(err, DPU_E_LIMIT, "packet", "no packet buffer is free");
	while (*text) {
		uint8_t *at;

		if (isspace((unsigned char)*text) || *text == ':') {
			text++;
			continue;
		}
		at = sscanf(text, "%2x%n", &high, (int *)&used) == 1 && used == 2 ? (uint8_t *)rte_pktmbuf_append(m, 1)
										  : NULL;
		if (!at) {
			rte_pktmbuf_free(m);
			return error_set(err, DPU_E_INVALID, "packet",
					 "must be pairs of hexadecimal digits, at most 2,048");
		}
		*at = high;
		text += 2;
	}
	*ret = m;
	return 0;
}

static int key_from_packet(struct question *question, const char *packet, uint16_t vpc, struct dpu_error *err)
{
	struct packet_info *info = &question->info;
	int rc = hex_frame(question->vswitch, packet, &question->frame, err);

	if (rc != 0)
		return rc;
	question->unread = packet_parse(question->frame, vpc, info);
	if (question->unread == DROP_NONE && info->flags & (PACKET_F_ARP | PACKET_F_SERVICE))
		question->unread = DROP_SERVICE_HANDLED;
	else if (question->unread == DROP_NONE && !(info->flags & (PACKET_F_IPV4 | PACKET_F_IPV6)))
		question->unread = DROP_NOT_IP;
	question->key = info->key;
	return 0;
}

const struct ip_addr *why_source(const struct vnic *vnic, uint8_t family)
{
	for (size_t i = 0; vnic && i < vnic->addresses.count; i++)
		if (vnic->addresses.items[i].family == family)
			return &vnic->addresses.items[i];
	return NULL;
}

static void key_ports(struct flow_key *key, const struct why_args *args)
{
	bool icmp = key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6;
	uint8_t type = key->proto == IPPROTO_ICMPV6 && args->icmp_type == 8 ? 128 : args->icmp_type;
	bool echo = type == (key->proto == IPPROTO_ICMPV6 ? 128 : 8);

	if (icmp) {
		key->src_port = echo ? htons(args->src_port) : 0;
		key->dst_port = htons(type << 8 | (echo ? 0 : args->icmp_code));
	} else if (key->proto == IPPROTO_TCP || key->proto == IPPROTO_UDP || key->proto == IPPROTO_SCTP ||
		   key->proto == IPPROTO_DCCP) {
		key->src_port = htons(args->src_port);
		key->dst_port = htons(args->dst_port);
	}
}

static int key_from_words(struct question *question, const struct why_args *args, uint16_t vpc, struct dpu_error *err)
{
	const struct ip_addr *src = args->src.family != IP_NONE
					    ? &args->src
					    : why_source((const struct vnic *)args->vnic.object, args->dst.family);
	struct flow_key *key = &question->key;
	int proto = rule_protocol(args->protocol, args->dst.family == IP_V6 ? RULE_IPV6 : RULE_IPV4);

	if (args->dst.family == IP_NONE)
		return error_set(err, DPU_E_INVALID, "dst", "must be given, or packet");
	if (proto < 0)
		return error_set(err, DPU_E_INVALID, "protocol", "must be a protocol's name or a number up to 255");
	if (!src || src->family != args->dst.family)
		return error_set(err, DPU_E_INVALID, "src", "must be given, of the family of dst");
	*key = (struct flow_key){ .vpc = vpc, .proto = proto };
	if (args->dst.family == IP_V6) {
		key->flags = FLOW_KEY_F_V6;
		memcpy(key->v6.src, src->bytes, 16);
		memcpy(key->v6.dst, args->dst.bytes, 16);
	} else {
		memcpy(&key->v4.src, src->bytes, 4);
		memcpy(&key->v4.dst, args->dst.bytes, 4);
	}
	key_ports(key, args);
	return 0;
}

/* In the worker that owns the flow. */
static void find_session(void *arg, struct worker *worker)
{
	struct question *question = arg;
	struct path *path = question->vswitch->dp.paths[question->worker];
	struct session_table *table = path_table(path, &question->key, question->hash);
	const struct path_vpc *vpc;
	struct session *session;
	unsigned direction;

	(void)worker;
	session = table ? session_find(table, &question->key, question->hash, &direction) : NULL;
	if (!session || session->dir[direction].in_iface != question->iface)
		return;
	vpc = atomic_load_explicit(&question->vswitch->dp.config->vpcs[question->key.vpc], memory_order_acquire);
	question->found = true;
	question->current = vpc && session->dir[direction].epoch == atomic_load(&vpc->epoch);
	question->session = *session;
	session_key(table, session, session->initiator, &question->session_key);
}

static const char *step_name(uint8_t kind)
{
	static const char *const names[] = { "input",  "source",  "session", "route", "destination",
					     "egress", "ingress", "quota",   "output" };

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "";
}

static const char *rule_name(const struct vswitch *vswitch, const struct dp_step *step)
{
	const struct object *rule = NULL;

	if ((step->kind == DP_STEP_EGRESS || step->kind == DP_STEP_INGRESS) && step->slot)
		rule = model_slot(vswitch->dpu->model, "security_group_rule", step->slot);
	return rule ? rule->name : NULL;
}

static json_t *steps_json(const struct vswitch *vswitch, const struct dp_verdict *verdict)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < verdict->step_count && i < DP_STEPS; i++) {
		const struct dp_step *step = &verdict->steps[i];

		json_array_append_new(list,
				      json_pack("{s:s, s:b, s:s, s:s?}", "decision", step_name(step->kind), "passed",
						step->passed, "text", step->text, "rule", rule_name(vswitch, step)));
	}
	return list;
}

/* What policy says; a packet that belongs to no session must also be one that may open one. */
static void question_evaluate(const struct question *question, struct dp_verdict *verdict)
{
	if (question->unread) {
		verdict->drop = question->unread;
		return;
	}
	dp_evaluate(&question->vswitch->dp, &question->key, question->iface,
		    question->vtep.family ? &question->vtep : NULL, question->frame, verdict);
	if (!verdict->drop && question->frame && !question->found)
		verdict->drop = packet_opens_flow(&question->info);
}

static const char *explanation(const struct dp_verdict *verdict)
{
	return verdict->drop == DROP_SERVICE_HANDLED
		       ? "A first-hop service gets it: ARP, ND, DHCP or the gateway's echo."
		       : drop_reason_doc(verdict->drop);
}

static void question_answer(void *arg)
{
	struct question *question = arg;
	struct dp_step steps[DP_STEPS];
	struct dp_verdict verdict = { .steps = steps };
	char text[FLOW_KEY_TEXT];
	json_t *result;

	question_evaluate(question, &verdict);
	result = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "packet",
			   question->unread ? "the frame" : flow_key_format(&question->key, text), "verdict",
			   verdict.drop == DROP_NONE              ? "forward"
			   : verdict.drop == DROP_SERVICE_HANDLED ? "answer"
								  : "drop",
			   "reason", drop_reason_name(verdict.drop), "explanation", explanation(&verdict), "steps",
			   steps_json(question->vswitch, &verdict), "session",
			   question->found ? session_json(question->vswitch, &question->session, &question->session_key,
							  question->worker)
					   : json_null());
	if (question->found)
		json_object_set_new(result, "session_says",
				    json_string(question->current ? "The packet hits this session and takes its "
								    "compiled action; policy is not asked."
								  : "This session was compiled before the last change: "
								    "its next packet asks policy again."));
	rte_pktmbuf_free(question->frame);
	question->vswitch->questions--;
	action_answer(question->reply, 0, result, NULL);
	free(question);
}

static int why_of_member(struct vswitch *vswitch, const struct object *member, const struct why_args *args,
			 struct action_reply *reply, struct dpu_error *err)
{
	struct rte_mbuf *frame = NULL;
	int rc = args->packet ? hex_frame(vswitch, args->packet, &frame, err) : 0;

	return rc != 0 ? rc : why_member(vswitch, member, args, frame, reply, err);
}

int why_start(void *ctx, struct object *object, const void *arguments, struct action_reply *reply,
	      struct dpu_error *err)
{
	const struct why_args *args = arguments;
	struct vswitch *vswitch = ctx;
	struct question *question;
	const struct vpc *vpc;
	int rc;

	(void)object;
	if (!!args->vnic.object + !!args->vpc.object + !!args->port.object != 1)
		return error_set(err, DPU_E_INVALID, "vnic",
				 "must be given, or vpc for a packet out of a tunnel, or port under an eswitch");
	if (!vswitch->running)
		return error_set(err, DPU_E_UNSUPPORTED, NULL, "the switch is not running yet");
	if (args->port.object)
		return why_of_member(vswitch, args->port.object, args, reply, err);
	if (args->vnic.object && !((const struct vnic *)args->vnic.object)->subnet.object)
		return why_of_member(vswitch, args->vnic.object, args, reply, err);
	vpc = (const struct vpc *)(args->vpc.object ? args->vpc.object
						    : ((const struct subnet *)((const struct vnic *)args->vnic.object)
							       ->subnet.object)
							      ->vpc.object);
	if (args->vpc.object && !vpc->underlay.object)
		return error_set(err, DPU_E_INVALID, "vpc", "has no underlay: nothing comes out of a tunnel");
	question = control_alloc(sizeof(*question));
	question->vswitch = vswitch;
	question->reply = reply;
	question->vtep = args->vtep;
	question->iface = args->vnic.object ? PATH_FIRST_VNIC + args->vnic.object->slot
					    : ((const struct underlay *)vpc->underlay.object)->port.object->slot;
	rc = args->packet ? key_from_packet(question, args->packet, vpc->base.slot, err)
			  : key_from_words(question, args, vpc->base.slot, err);
	if (rc != 0) {
		free(question);
		return rc;
	}
	vswitch->questions++;
	if (question->unread) {
		question_answer(question);
		return 0;
	}
	question->hash = flow_key_hash(&question->key, path_seed(vswitch->dp.paths[0]));
	question->worker = worker_of_hash(vswitch->workers[0], question->hash);
	if (worker_call(workers_get(vswitch->dp.workers, question->worker), find_session, question, question_answer) !=
	    0)
		question_answer(question);
	return 0;
}
