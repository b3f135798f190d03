/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a rule: installed or refused, unlinked, and freed after a grace period. All by the one writer. */
#include "device/flow/flow_priv.h"

#include <stdarg.h>
#include <stdio.h>

static struct flow_rule *rule_at(const struct flow_client *client, uint32_t index)
{
	return &client->sw->rules[flow_number(client, index)];
}

static void tell(struct flow_client *client, uint32_t index, uint32_t generation, uint32_t state)
{
	atomic_store_explicit(&client->states[index], generation << 8 | state, memory_order_release);
}

static void keep_refusal(struct flow_client *client, const struct eswitch_rule *rule, uint64_t now_ns,
			 enum eswitch_refusal refusal, const char *sentence)
{
	struct flow_switch *sw = client->sw;

	/* Whoever reads the list keeps no worker waiting: then this one is not in it. */
	if (pthread_mutex_trylock(&sw->refusals_lock))
		return;
	struct flow_refusal *kept = &sw->refusals[sw->refusals_count++ % FLOW_REFUSALS_KEPT];
	*kept = (struct flow_refusal){
		.time_ns = now_ns,
		.client = client,
		.index = rule->index,
		.generation = rule->generation,
		.refusal = refusal,
		.match = rule->match,
		.mask = rule->mask,
	};
	snprintf(kept->sentence, sizeof(kept->sentence), "%s", sentence);
	pthread_mutex_unlock(&sw->refusals_lock);
}

static void raise_top(struct flow_client *client, uint32_t index)
{
	if (index >= atomic_load_explicit(&client->top_index, memory_order_relaxed))
		atomic_store_explicit(&client->top_index, index + 1, memory_order_relaxed);
}

/* The index is the rule's from now on, though it is not in force: the client must destroy it. */
static void refuse(struct flow_client *client, const struct eswitch_rule *rule, uint64_t now_ns,
		   enum eswitch_refusal refusal, const char *sentence)
{
	atomic_fetch_add_explicit(&client->sw->refused[refusal], 1, memory_order_relaxed);
	keep_refusal(client, rule, now_ns, refusal, sentence);
	if (refusal == ESWITCH_REFUSED_INDEX) /* whatever holds the index stays as it is */
		return;
	struct flow_rule *record = rule_at(client, rule->index);
	raise_top(client, rule->index);
	record->state = FLOW_RULE_REFUSED;
	record->generation = rule->generation;
	atomic_fetch_add_explicit(&client->refused, 1, memory_order_relaxed);
	tell(client, rule->index, rule->generation, ESWITCH_RULE_REFUSED + refusal);
}

/* ---- installing ---- */

struct installing {
	struct flow_client *client;
	const struct eswitch_rule *rule;
	union flow_fields key, mask;
	struct flow_action action;
	uint64_t now_ns;
	char sentence[FLOW_SENTENCE_BYTES];
};

__attribute__((format(printf, 3, 4))) static int say(struct installing *in, enum eswitch_refusal refusal,
						     const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(in->sentence, sizeof(in->sentence), format, arguments);
	va_end(arguments);
	return (int)refusal + 1;
}

/* The port's binding if the client has it open, or 0. */
static uint16_t binding_of(const struct flow_client *client, uint16_t number)
{
	const struct flow_switch *sw = client->sw;

	if (number >= FLOW_PORTS)
		return 0;
	uint16_t binding = atomic_load_explicit(&sw->open[number], memory_order_acquire);
	return atomic_load_explicit(&sw->port_slot[number], memory_order_relaxed) == client->slot ? binding : 0;
}

static int check_ports(struct installing *in)
{
	const struct eswitch_rule *rule = in->rule;

	in->key.f.in_port = binding_of(in->client, rule->match.in_port);
	if (!in->key.f.in_port)
		return say(in, ESWITCH_REFUSED_PORT, "The in-port %u is no port that this client has open.",
			   rule->match.in_port);
	for (unsigned i = 0; i < rule->op_count; i++)
		if (rule->ops[i].code == ESWITCH_OP_OUTPUT && !binding_of(in->client, rule->ops[i].port))
			return say(in, ESWITCH_REFUSED_PORT, "The output %u is no port that this client has open.",
				   rule->ops[i].port);
	return 0;
}

static int check_index(struct installing *in)
{
	const struct eswitch_rule *rule = in->rule;

	if (rule->index >= in->client->max_rules)
		return say(in, ESWITCH_REFUSED_INDEX, "The index %u is out of range: there are %u.", rule->index,
			   in->client->max_rules);
	if (rule_at(in->client, rule->index)->state != FLOW_RULE_IDLE)
		return say(in, ESWITCH_REFUSED_INDEX, "The index %u is in use.", rule->index);
	if (!(rule->generation & 0xffffff))
		return say(in, ESWITCH_REFUSED_INDEX, "A generation whose lower 24 bits are 0.");
	return 0;
}

static uint32_t next_serial(struct flow_switch *sw)
{
	if (++sw->serial == 0)
		sw->serial = 1;
	return sw->serial;
}

/* Frames for which no rule was found look again. */
static void forget_none(struct flow_switch *sw)
{
	atomic_store_explicit(&sw->actions[FLOW_NO_RULE].generation, next_serial(sw), memory_order_release);
}

/* Counters are never set back; nobody counts for a free index. */
static void read_base(const struct flow_client *client, uint32_t index, uint64_t ret[2])
{
	ret[0] = ret[1] = 0;
	if (index >= atomic_load_explicit(&client->top_index, memory_order_relaxed))
		return; /* of an index that is used for the first time nobody has touched them */
	for (unsigned i = 0; i < client->sw->options.workers; i++) {
		struct eswitch_counter *counter =
			atomic_load_explicit(&client->sw->counters[i][client->slot], memory_order_relaxed) + index;
		ret[0] += atomic_load_explicit(&counter->packets, memory_order_relaxed);
		ret[1] += atomic_load_explicit(&counter->bytes, memory_order_relaxed);
	}
}

/* Puts the rule in force, if its subtable and index have room. */
static int enter(struct installing *in, uint16_t subtable)
{
	struct flow_client *client = in->client;
	struct flow_switch *sw = client->sw;
	uint32_t index = in->rule->index, number = flow_number(client, index), hash;

	if (flow_classifier_find(sw, subtable, &in->key, &hash))
		return say(in, ESWITCH_REFUSED_DUPLICATE, "There is a rule of the same match already.");
	struct flow_rule *record = &sw->rules[number];
	struct flow_action *action = &sw->actions[number];
	*record = (struct flow_rule){
		.key = in->key,
		.subtable = subtable,
		.port = in->rule->match.in_port,
		.hash = hash,
		.generation = in->rule->generation,
		.installed_ns = in->now_ns,
	};
	read_base(client, index, record->base);
	memcpy((uint8_t *)action + sizeof(action->generation), (uint8_t *)&in->action + sizeof(action->generation),
	       sizeof(*action) - sizeof(action->generation));
	atomic_store_explicit(&action->generation, next_serial(sw), memory_order_release);
	if (!flow_classifier_insert(sw, number)) {
		atomic_store_explicit(&action->generation, 0, memory_order_release);
		return say(in, ESWITCH_REFUSED_MEMORY, "There is no memory for another rule.");
	}
	record->state = FLOW_RULE_ACTIVE;
	raise_top(client, index);
	forget_none(sw);
	return 0;
}

static int install(struct installing *in)
{
	struct flow_switch *sw = in->client->sw;
	uint16_t subtable;
	int rc = flow_compile(in->rule, &in->key, &in->mask, &in->action, in->sentence);

	in->action.program = flow_program_share(sw, in->action.program);
	if (!rc)
		rc = check_ports(in);
	if (rc)
		return rc;
	if (flow_subtable_get(sw, &in->mask, &subtable))
		return say(in, ESWITCH_REFUSED_MASKS, "There are %u different masks already.",
			   sw->classifier.max_masks);
	rc = enter(in, subtable);
	if (rc)
		flow_subtable_put(sw, subtable);
	return rc;
}

bool flow_rule_install(struct flow_client *client, const struct eswitch_rule *rule, uint64_t now_ns)
{
	struct flow_switch *sw = client->sw;
	struct installing in = { .client = client, .rule = rule, .now_ns = now_ns };
	int rc = check_index(&in);

	if (!rc)
		rc = install(&in);
	if (rc) {
		flow_program_put(in.action.program);
		refuse(client, rule, now_ns, (enum eswitch_refusal)(rc - 1), in.sentence);
		return false;
	}
	atomic_fetch_add_explicit(&sw->rule_count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&sw->installed, 1, memory_order_relaxed);
	tell(client, rule->index, rule->generation, ESWITCH_RULE_ACTIVE);
	return true;
}

/* ---- destroying ---- */

void flow_rule_unlink(struct flow_client *client, uint32_t index)
{
	struct flow_switch *sw = client->sw;
	uint32_t number = flow_number(client, index);
	struct flow_rule *record = &sw->rules[number];

	/* First no new entries, then none of the old ones: what is left are bursts at work. */
	flow_classifier_remove(sw, number);
	atomic_store_explicit(&sw->actions[number].generation, 0, memory_order_release);
	record->state = FLOW_RULE_DYING;
	record->token = rte_rcu_qsbr_start(sw->qsbr);
	record->next_dying = 0;
	if (client->dying_last)
		sw->rules[client->dying_last].next_dying = number;
	else
		client->dying_first = number;
	client->dying_last = number;
	atomic_fetch_add_explicit(&client->leaving, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&sw->rule_count, 1, memory_order_relaxed);
}

void flow_rule_destroy(struct flow_client *client, uint32_t index, uint32_t generation)
{
	if (index >= client->max_rules)
		return;
	struct flow_rule *record = rule_at(client, index);
	if (record->generation != generation)
		return;
	if (record->state == FLOW_RULE_REFUSED) {
		record->state = FLOW_RULE_IDLE;
		atomic_fetch_sub_explicit(&client->refused, 1, memory_order_relaxed);
		tell(client, index, generation, ESWITCH_RULE_FREE);
	} else if (record->state == FLOW_RULE_ACTIVE) {
		flow_rule_unlink(client, index);
		atomic_fetch_add_explicit(&client->sw->destroyed, 1, memory_order_relaxed);
	}
}

unsigned flow_rules_reap(struct flow_client *client, unsigned budget)
{
	struct flow_switch *sw = client->sw;
	const uint32_t indices = (UINT32_C(1) << sw->shift) - 1;
	unsigned reaped = 0;

	while (client->dying_first && reaped < budget) {
		uint32_t number = client->dying_first;
		struct flow_rule *record = &sw->rules[number];
		if (rte_rcu_qsbr_check(sw->qsbr, record->token, false) != 1)
			break;
		client->dying_first = record->next_dying;
		if (!client->dying_first)
			client->dying_last = 0;
		flow_program_put(sw->actions[number].program);
		sw->actions[number].program = NULL;
		record->state = FLOW_RULE_IDLE;
		atomic_fetch_sub_explicit(&client->leaving, 1, memory_order_relaxed);
		tell(client, number & indices, record->generation, ESWITCH_RULE_FREE);
		reaped++;
	}
	return reaped;
}
