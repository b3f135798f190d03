/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow engine from inside: what its files share. */
#pragma once

#include <pthread.h>
#include <sys/queue.h>
#include <rte_rcu_qsbr.h>
#include "device/flow/flow.h"
#include "device/packet/packet_priv.h"
#include "device/packet/record_priv.h"

enum {
	FLOW_WORDS = sizeof(struct eswitch_fields) / 8,
	FLOW_LOW_WORDS = 5, /* those that a frame other than IPv6 has */
	FLOW_PORTS = ESWITCH_MAX_PORTS + 1,
	FLOW_BINDINGS = 65536,
	FLOW_SLOTS =
		FLOW_MAX_CLIENTS + 1, /* of rule numbers: slot << shift | index; slot 0 holds the rule for "no rule" */
	FLOW_PROGRAM_LISTS = 4096,
	FLOW_NO_RULE = 0,
	FLOW_IDENTS = 256,
	FLOW_IPV4 = 4, /* eswitch_fields.spare inside the engine: the family, always part of a key */
	FLOW_IPV6 = 6,
	FLOW_UNREAD = 255, /* … of a frame that matches nothing */
};

/* Fields as words. in_port is the port's binding, a number that it got when it was opened, so that rules of former
 * times match nothing; spare is the family. */
union flow_fields {
	struct eswitch_fields f;
	uint64_t w[FLOW_WORDS];
} __attribute__((aligned(64)));

/* ---- what a rule does ---- */

enum flow_action_kind {
	FLOW_UPCALL, /* goes up; zero, so that the rule for "no rule" needs no care */
	FLOW_DROP,
	FLOW_FAST,    /* `sets`, then one output */
	FLOW_PROGRAM, /* `program`, op by op */
};

enum flow_set { /* in struct flow_action.sets */
		FLOW_SET_ETH_DST = 1 << 0,
		FLOW_SET_ETH_SRC = 1 << 1,
		FLOW_SET_IP4_SRC = 1 << 2,
		FLOW_SET_IP4_DST = 1 << 3,
		FLOW_SET_TTL = 1 << 4,
		FLOW_DEC_TTL = 1 << 5,
		FLOW_SET_DSCP = 1 << 6,
		FLOW_SET_TP_SRC = 1 << 7,
		FLOW_SET_TP_DST = 1 << 8,
};

enum flow_need { /* what a frame must have, or it goes up untouched */
		 FLOW_NEED_L3 = 1 << 0,
		 FLOW_NEED_L4 = 1 << 1,
		 FLOW_NEED_TTL = 1 << 2,  /* above 1 */
		 FLOW_NEED_TAG = 1 << 3,  /* a whole VLAN tag */
		 FLOW_NEED_TAGS = 1 << 4, /* two of them */
};

/* An encapsulation header, parsed. */
struct flow_encap {
	uint8_t bytes[ESWITCH_MAX_ENCAP_BYTES];
	uint8_t length;
	uint8_t l3, l4;    /* offsets */
	uint8_t proto;     /* UDP or GRE */
	bool v6, geneve;   /* geneve: for requests; VXLAN otherwise */
	bool checksum;     /* UDP's is to be filled in: over IPv6, or where the header has one */
	bool choose_port;  /* UDP source port from the flow's hash */
	uint8_t ident;     /* IPv4: which counter of identifications is that of the addresses */
	uint32_t ipv4_sum; /* of the header without length, identification and checksum */
};

/* Rules that do the same share it, so that it stays in the cache of who runs it. */
struct flow_program {
	LIST_ENTRY(flow_program) link; /* among those of the same hash; this and uses are the writer's */
	uint32_t uses;
	struct flow_encap *encap; /* behind ops; NULL = none */
	uint16_t op_count;
	uint16_t last_output; /* index of the op behind which nothing is sent */
	struct eswitch_op ops[];
};

/* What a hit reads of a rule: one cache line. Constant from publication (generation, release) until the grace period
 * after its generation was taken back. */
struct flow_action {
	_Atomic uint32_t generation; /* 0 = not in force */
	uint8_t kind;                /* enum flow_action_kind */
	uint8_t needs;               /* enum flow_need */
	uint16_t sets;               /* enum flow_set */
	uint16_t port;               /* of the output */
	uint8_t ttl, dscp;           /* dscp in place: the upper 6 bits */
	rte_be16_t tp_src, tp_dst;
	uint8_t eth_dst[6], eth_src[6];
	rte_be32_t ip4_src, ip4_dst;
	uint32_t mark; /* UPCALL: with it, if marked */
	bool marked;
	struct flow_program *program;
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct flow_action) == 64, "an action is one cache line");

enum flow_rule_state { FLOW_RULE_IDLE = 0, FLOW_RULE_REFUSED, FLOW_RULE_ACTIVE, FLOW_RULE_DYING };

/* The rest of a rule. key is constant as the action is; other threads read nothing else. */
struct flow_rule {
	union flow_fields key; /* match & mask */
	uint16_t subtable;
	uint16_t port;       /* in-port's number */
	uint8_t state;       /* enum flow_rule_state */
	uint32_t hash;       /* in the classifier's index */
	uint32_t generation; /* the client's */
	uint32_t next_dying; /* number */
	uint64_t token;      /* of the grace period that it waits for */
	uint64_t installed_ns;
	uint64_t base[2]; /* packets and bytes that former rules of the index have counted */
};
_Static_assert(sizeof(struct flow_rule) == 128, "a rule is two cache lines");

/* ---- classifier ---- */

enum flow_subtable_state { FLOW_SUBTABLE_FREE = 0, FLOW_SUBTABLE_USED, FLOW_SUBTABLE_DYING };

struct flow_subtable {
	union flow_fields mask; /* constant while readers can see it in a port's list */
	uint64_t salt;          /* of its rules' hashes; constant as the mask is */
	_Atomic uint32_t rules;
	uint8_t state;  /* enum flow_subtable_state; the writer's */
	uint8_t words;  /* FLOW_LOW_WORDS or FLOW_WORDS: those behind are zero */
	uint64_t token; /* DYING */
};

/* Which subtables have rules for an in-port, those first that are found often. */
struct flow_port_masks {
	_Atomic uint32_t count;
	_Atomic uint16_t order[FLOW_MAX_MASKS];
} __attribute__((aligned(64)));

/* How often a subtable was found for an in-port: until the last look, and lately. The writer's. */
struct flow_rank {
	uint32_t seen, score;
};

struct flow_classifier {
	struct record_table index; /* its index only: rules are elsewhere */
	_Atomic uint32_t sequence; /* odd: the writer is at work; another: a search that found nothing proves nothing */
	uint32_t max_masks, top_mask; /* no subtable from top_mask on is in use */
	_Atomic uint32_t masks;
	_Atomic uint64_t all[FLOW_WORDS];   /* union of the masks; only grows before a rule is seen */
	struct flow_port_masks *ports;      /* by number */
	uint32_t (*counts)[FLOW_MAX_MASKS]; /* the writer's: rules by in-port's number and subtable */
	uint16_t *port_masks;               /* the writer's: subtables by in-port's number */
	struct flow_rank (*ranks)[FLOW_MAX_MASKS];
	_Atomic uint32_t (*found[PATH_MAX_WORKERS])[FLOW_MAX_MASKS]; /* each worker's: as ranks */
	uint32_t rank_cursor;                                        /* the writer's: in-port to be ranked next */
	uint64_t rank_due_ns;
	struct flow_subtable subtables[FLOW_MAX_MASKS];
};

/* ---- the switch ---- */

/* A worker's numbers, read by control. */
struct flow_worker_stats {
	uint64_t hits, lookups, upcalls, bypassed, searched, misses;
	uint64_t entries, entry_bytes;
} __attribute__((aligned(64)));

struct flow_switch {
	struct flow_switch_options options;
	uint64_t seed;
	unsigned shift;              /* of a slot in a rule's number */
	struct flow_action *actions; /* by number; address space for all, memory for those in use */
	struct flow_rule *rules;
	size_t action_bytes, rule_bytes;
	struct rte_rcu_qsbr *qsbr; /* workers, and control as the last one */
	_Atomic bool bypass;

	struct flow_port *_Atomic ports[FLOW_PORTS];
	_Atomic uint16_t open[FLOW_PORTS];     /* binding; 0 = closed */
	_Atomic uint8_t port_slot[FLOW_PORTS]; /* slot of the client that has it open */
	_Atomic uint32_t *bindings;            /* by binding: BINDING_*, or the purge that frees it */
	uint8_t *binding_slot;                 /* whose purge */
	uint16_t last_binding;

	struct flow_client *_Atomic clients[FLOW_SLOTS];
	/* Counters of slot 0 are nobody's. */
	struct eswitch_counter *_Atomic counters[PATH_MAX_WORKERS][FLOW_SLOTS];
	struct eswitch_counter nobody[PATH_MAX_WORKERS];

	struct flow_classifier classifier;
	uint32_t serial;                                        /* the writer's: generations of actions */
	LIST_HEAD(, flow_program) programs[FLOW_PROGRAM_LISTS]; /* the writer's */
	struct flow_latency latency;                            /* the writer's; control reads it */
	_Atomic uint32_t rule_count;
	_Atomic uint64_t installed, destroyed, refused[ESWITCH_REFUSALS];

	pthread_mutex_t grow_lock;     /* a client that memory is made ready for is not freed */
	pthread_mutex_t refusals_lock; /* the worker only tries it */
	struct flow_refusal refusals[FLOW_REFUSALS_KEPT];
	uint32_t refusals_count;
	struct flow_worker_stats stats[PATH_MAX_WORKERS];
};
enum { BINDING_FREE = 0 };
#define BINDING_USED UINT32_MAX

/* What is known of a rule's use: control's, by index. */
struct flow_use {
	uint64_t packets;
	uint32_t state; /* the rule's state when it was looked at: which one it was */
	uint32_t last;  /* time of the look that saw its counter move, in tenths of a second; 0 = never */
};

/* A command ring as it is served; the writer's, control reads it. */
struct flow_ring {
	_Atomic uint32_t tail; /* ours: the region's is what we tell the client */
	_Atomic uint64_t installed, destroyed, refused, last_ns;
};

/* Which indices memory is ready for, counters of each worker apart; the helper's. */
struct flow_grown {
	uint32_t seen, ahead; /* top_index at the last look; what the pace asks for */
	uint32_t ready, counters[PATH_MAX_WORKERS];
};

struct flow_client {
	struct flow_switch *sw;
	uint8_t slot;
	uint32_t max_rules;
	_Atomic uint32_t top_index; /* the writer's: no index from top_index on was ever used */
	int fd, wake_fd;
	size_t bytes;
	struct eswitch_region *region;
	_Atomic uint32_t *states;
	uint32_t command_rings, ring_slots, next_ring;
	struct flow_ring rings[ESWITCH_MAX_COMMAND_RINGS];
	_Atomic uint32_t purge_wanted; /* purges asked for by control */
	/* The writer's: of the purge under way, and what is behind it. */
	bool purging, purge_closed, purged_closed;
	uint32_t purge, purge_done, purge_cursor;
	_Atomic bool closed, drained;
	uint32_t dying_first, dying_last;
	_Atomic uint32_t refused, leaving; /* rules: refused and not destroyed yet; destroyed and not free yet */
	struct flow_grown grown;
	struct flow_use *uses; /* control's; address space for all, memory for those in use */
	uint32_t use_cursor;
};

static inline uint32_t flow_number(const struct flow_client *client, uint32_t index)
{
	return (uint32_t)client->slot << client->sw->shift | index;
}

static inline uint64_t flow_secret(const struct flow_switch *sw, unsigned n)
{
	return flow_key_secret(sw->seed, n);
}

/* ---- flow_fields.c ---- */

/* Where a frame's headers are. 0 = there is none, or it is malformed. */
struct flow_layout {
	uint16_t l3, l4;
	uint8_t family; /* FLOW_IPV4, FLOW_IPV6 or 0 */
	uint8_t proto;
	bool routed; /* IPv6: the destination is one that a routing header leads by */
	bool unread; /* there are more headers than are looked at: the frame goes up, whatever the fields are */
};

/* Headers made contiguous; false when the frame has not even an Ethernet header, or no buffer could be had. in_port is
 * left 0. */
bool flow_fields_read(struct rte_mbuf *m, union flow_fields *ret, struct flow_layout *ret_layout);

/* ---- flow_classifier.c: one writer; readers in a critical section ---- */

int flow_classifier_init(struct flow_switch *sw, struct dpu_error *err);
void flow_classifier_fini(struct flow_switch *sw);
/* The subtable of a mask, made if need be: 0 or -ENOSPC. It is kept by its rules: one that has none may be dropped. */
int flow_subtable_get(struct flow_switch *sw, const union flow_fields *mask, uint16_t *ret);
void flow_subtable_put(struct flow_switch *sw, uint16_t subtable);
/* The number of the rule of this key in this subtable, or FLOW_NO_RULE. */
uint32_t flow_classifier_find(const struct flow_switch *sw, uint16_t subtable, const union flow_fields *key,
			      uint32_t *ret_hash);
/* The rule's record is filled. false: no memory. */
bool flow_classifier_insert(struct flow_switch *sw, uint32_t number);
void flow_classifier_remove(struct flow_switch *sw, uint32_t number);
/* Searches this in-port's subtables in this order from now on: a permutation of ports[port].order. */
void flow_classifier_reorder(struct flow_switch *sw, unsigned port, const uint16_t *order);
/* A rule that matches, or FLOW_NO_RULE; *ret_certain is false when a rule may have been overlooked. */
uint32_t flow_classify(const struct flow_switch *sw, const union flow_fields *fields, uint16_t port, bool *ret_certain,
		       uint64_t *ret_searched);

/* ---- flow_rank.c: the writer, about once a millisecond ---- */

void flow_rank(struct flow_switch *sw, uint64_t now_ns);

/* ---- flow_compile.c ---- */

/* Checks a rule that a client has written (a copy) and compiles it. 0, or enum eswitch_refusal + 1 with sentence
 * filled. Fills match & mask into *ret_key and *ret_mask (in_port not yet); *ret_action is complete but for its
 * generation and owns its program. */
int flow_compile(const struct eswitch_rule *rule, union flow_fields *ret_key, union flow_fields *ret_mask,
		 struct flow_action *ret_action, char sentence[FLOW_SENTENCE_BYTES]);
/* The rule's ops, as installed but for what has no effect. */
unsigned flow_decompile(const struct flow_action *action, struct eswitch_op ops[ESWITCH_MAX_OPS]);
/* ---- flow_encap.c ---- */

/* NULL, or what is wrong. */
const char *flow_encap_parse(const uint8_t *bytes, unsigned length, struct flow_encap *ret);

/* ---- flow_rule.c: the writer ---- */

/* In the worker that serves commands. */
bool flow_rule_install(struct flow_client *client, const struct eswitch_rule *rule, uint64_t now_ns);
void flow_rule_destroy(struct flow_client *client, uint32_t index, uint32_t generation);
/* Unlinks an active rule: it is freed by flow_rules_reap(). */
void flow_rule_unlink(struct flow_client *client, uint32_t index);
/* Frees rules whose grace period is over, at most `budget`; returns how many. */
unsigned flow_rules_reap(struct flow_client *client, unsigned budget);

/* flow_latency.c: the writer. */
void flow_latency_add(struct flow_latency *latency, uint32_t ns);
/* flow_use.c: control. */
int flow_uses_init(struct flow_client *client);
void flow_uses_fini(struct flow_client *client);
uint64_t flow_used_ns(const struct flow_client *client, uint32_t index); /* flow_rule_info.used_ns */
/* flow_list.c: in a critical section; false when the rule is not in force. */
bool flow_rule_describe(const struct flow_switch *sw, uint32_t number, struct flow_rule_info *ret);

/* flow_client.c: from any thread, makes the worker look. */
void flow_client_wake(struct flow_client *client);

/* ---- per worker ---- */

/* One-way entry: key and rule, one line; the rest of the key and the table's links, another. */
struct flow_entry {
	uint64_t key[FLOW_LOW_WORDS];
	uint32_t rule, generation; /* good while the rule's action has this generation */
	uint32_t last_seen;
	uint32_t spare[3];
	/* as struct record_tail */
	uint32_t own0, hash, own1, deadline, own2, wheel_next, wheel_prev;
	uint8_t high[8 * (FLOW_WORDS - FLOW_LOW_WORDS)]; /* of the key */
	uint32_t own3[2];
	uint32_t wheel_ahead;
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct flow_entry) == 128, "an entry is two cache lines");

struct flow_burst {
	union flow_fields key[PATH_BURST]; /* masked */
	struct rte_mbuf *m[PATH_BURST];
	struct flow_layout layout[PATH_BURST];
	uint32_t hash[PATH_BURST]; /* of the key */
	const struct record_bucket *bucket[PATH_BURST];
	struct flow_entry *entry[PATH_BURST];
	unsigned missed[PATH_BURST];
	unsigned count, missed_count;
	uint64_t all[FLOW_WORDS]; /* the union of masks that the keys are masked with */
};

struct flow {
	struct flow_switch *sw;
	struct path *path;
	struct rte_mempool *pool;
	unsigned worker;
	bool writes;               /* it has served commands: the writer */
	struct record_table table; /* entries */
	/* Identifications of IPv4 headers, by flow_encap.ident: the worker's own part of them, from ident_base on. */
	uint16_t idents[FLOW_IDENTS];
	uint32_t ident_base, ident_count;
	struct flow_worker_stats *stats;
	uint32_t entries_seen; /* flow_grow.c: the helper's */
	/* Of the burst at work: the in-port that frames go up by, and its number. */
	const struct flow_port *up;
	uint16_t key_port, port;
	struct flow_burst burst;
};

/* flow_entry.c */
int flow_entries_init(struct flow *flow, struct dpu_error *err);
uint32_t flow_entries_max(const struct flow_switch_options *options); /* of a worker */
void flow_entries_fini(struct flow *flow);
struct flow_entry *flow_entry_find(struct flow *flow, const union flow_fields *key, uint32_t hash);
/* NULL when full. */
struct flow_entry *flow_entry_new(struct flow *flow, const union flow_fields *key, uint32_t hash);

/* flow_output.c: the interface that drops and misses of the burst count for; where frames go. Consume m. */
uint16_t flow_in_iface(const struct flow *flow);
void flow_send(struct flow *flow, uint16_t number, struct rte_mbuf *m);
void flow_send_trunk(struct flow *flow, struct rte_mbuf *m); /* to whom the outermost tag names */
void flow_send_up(struct flow *flow, struct rte_mbuf *m);
/* Puts frames of the member `number` on the trunk's way. NULL if there was no buffer; m is freed and counted. */
struct rte_mbuf *flow_tag(struct flow *flow, struct rte_mbuf *m, uint16_t number);

/* flow_share.c; by the writer. share: takes what flow_compile() has made, gives what is to be used instead. put: one
 * rule less uses it, after that rule's grace period. Both take NULL. */
struct flow_program *flow_program_share(struct flow_switch *sw, struct flow_program *program);
void flow_program_put(struct flow_program *program);

/* flow_program.c: runs the program on a frame that has what it needs. Consumes m. */
void flow_program_run(struct flow *flow, const struct flow_action *action, struct rte_mbuf *m,
		      struct flow_layout layout);
/* flow_encap.c */
void flow_idents_init(struct flow *flow);
/* NULL if there was no buffer or requests are impossible; m is freed and counted. */
struct rte_mbuf *flow_encap_push(struct flow *flow, struct rte_mbuf *m, const struct flow_encap *encap);
/* flow_edit.c: NULL if there was no buffer; m is freed, not counted. Offsets of layout are moved, and requests. */
struct rte_mbuf *flow_vlan_push(struct rte_mbuf *m, struct flow_layout *layout, uint16_t tpid, uint16_t tci);
void flow_vlan_pop(struct rte_mbuf *m, struct flow_layout *layout);

static inline void flow_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline bool flow_is_vlan(uint16_t type)
{
	return type == RTE_BE16(RTE_ETHER_TYPE_VLAN) || type == RTE_BE16(RTE_ETHER_TYPE_QINQ);
}
