/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow engine: forwarding by rules that clients (an Open vSwitch, through librte_net_softdpu) install over shared
 * memory, include/dpu/eswitch_abi.h. A frame of a member finds its one-way entry in the worker's own table and takes
 * the actions of the entry's rule; without an entry, a tuple space search finds the rule; without a rule the frame goes
 * up, as it came, by the member's representor.
 *
 * Threads. Control creates and frees everything, binds and opens ports, and lists. Every worker has its own struct
 * flow. One worker, always the same, serves the command rings of all clients: it is the only writer of rules; the
 * others read them under the switch's own grace periods (a burst is a critical section), so that a worker may sleep or
 * go away whenever it is not in flow_input(). What control replaces goes to the `retire` function of the options.
 *
 * Rules of one in-port are expected to be disjoint, as megaflows are: where several match a frame, any of them is
 * taken. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "device/packet/path.h"
#include "dpu/eswitch_abi.h"

struct flow_switch; /* one eswitch */
struct flow_client; /* one connection: a switch region with command rings, rule states, counters */
struct flow;        /* one worker's half */
struct rte_mempool;

enum {
	FLOW_MAX_CLIENTS = 8,
	FLOW_MAX_MASKS = 1024, /* different masks of a switch's rules */
	FLOW_SENTENCE_BYTES = 160,
	FLOW_REFUSALS_KEPT = 64,
};

/* ---- the switch; control ---- */

struct flow_switch_options {
	const struct path_config *config; /* tunnel records are read from it */
	unsigned workers;                 /* 1 … PATH_MAX_WORKERS: numbers that flow_new() may be given */
	uint32_t max_rules;               /* of each client; 1 … ESWITCH_MAX_RULES */
	uint32_t max_masks;               /* 1 … FLOW_MAX_MASKS; 0 = FLOW_MAX_MASKS */
	uint32_t max_entries;             /* five-tuples, so to speak, that a worker remembers; 0 = 2^20 */
	bool huge_pages;
	path_retire_fn *retire; /* NULL: there are no readers, free at once */
	void *retire_ctx;
};

/* err->path is the option's name. */
int flow_switch_new(const struct flow_switch_options *options, struct flow_switch **ret, struct dpu_error *err);
/* No worker's flow and no client is left. */
void flow_switch_free(struct flow_switch *sw);

/* While on, no rule is looked at and every frame goes up; clients see it in their region. */
void flow_switch_set_bypass(struct flow_switch *sw, bool on);

/* ---- ports; control ---- */

/* A representor and what it stands for. Exactly one of member and tunnel is set. */
struct flow_port {
	uint16_t number;      /* 1 … ESWITCH_MAX_PORTS; 0 = the trunk, which has neither member nor tunnel */
	uint16_t representor; /* interface that leads to the client's packet rings */
	uint16_t member;      /* interface of the vNIC or uplink */
	uint16_t mtu;         /* layer 3; longer frames are not sent to it */
	bool tunnelled;       /* frames for it leave by the tunnel record, with vni */
	uint32_t tunnel, vni;
};
/* Binds, or binds anew (another MTU, another tunnel record: it stays open and its rules stay); 0, -EINVAL or -ENOMEM.
 */
int flow_port_set(struct flow_switch *sw, const struct flow_port *port);
/* Closes and unbinds. */
void flow_port_clear(struct flow_switch *sw, uint16_t number);
/* The port is the client's: its rules may name it, and what no rule decides about goes up by its representor. 0,
 * -ENOENT (not bound) or -EBUSY (open, or opened too often while rules of the former times are still being removed). */
int flow_port_open(struct flow_switch *sw, uint16_t number, struct flow_client *client);
/* Rules with this in-port match nothing from now on, and are removed by and by, as are rules that output to it: their
 * frames go up. */
void flow_port_close(struct flow_switch *sw, uint16_t number);

/* ---- clients; control, but for poll, arm and disarm ---- */

/* Creates the switch region (a sealed memfd) and the eventfd by which the client wakes the worker. max_rules 0 = as
 * many as the switch allows. 0 or a negative errno with err filled. */
int flow_client_new(struct flow_switch *sw, unsigned command_rings, uint32_t max_rules, struct flow_client **ret,
		    struct dpu_error *err);
int flow_client_region(const struct flow_client *client, size_t *ret_bytes); /* the memfd; stays ours */
int flow_client_wake_fd(const struct flow_client *client);                   /* stays ours */
uint32_t flow_client_max_rules(const struct flow_client *client);
/* The client is gone: its ports are closed, its rules no longer match, commands are not served any more. The worker
 * goes on to call flow_client_poll(), which removes the rules; when drained it may stop, and the client be freed. */
void flow_client_close(struct flow_client *client);
bool flow_client_drained(const struct flow_client *client);
void flow_client_free(struct flow_client *client); /* no worker polls it any more */

/* In the one worker that serves commands; flow is its own. Installs and removes rules, a bounded number; returns how
 * much was done (0 = idle). */
unsigned flow_client_poll(struct flow_client *client, struct flow *flow);
/* For worker_source.arm and disarm: 1 = there is work, do not sleep; 0 = the eventfd will be written. */
int flow_client_arm(struct flow_client *client);
void flow_client_disarm(struct flow_client *client);

/* ---- per worker ---- */

/* pool: for the copies that several outputs take. */
int flow_new(struct flow_switch *sw, struct path *path, struct rte_mempool *pool, unsigned worker, struct flow **ret,
	     struct dpu_error *err);
void flow_free(struct flow *flow);
/* A burst (≤ PATH_BURST) of an interface of kind PATH_IFACE_MEMBER or PATH_IFACE_REPRESENTOR, in the worker, from
 * path_service.member. Consumes all packets. */
void flow_input(struct flow *flow, const struct path_iface *iface, struct rte_mbuf **packets, unsigned count);
/* The same for frames that the underlay has decapsulated, whose in-port is the tunnel's representor `number`. */
void flow_input_tunnel(struct flow *flow, uint16_t number, struct rte_mbuf **packets, unsigned count);
/* Ageing; about every millisecond when busy and before sleeping. Returns the ns until it wants to run again. */
uint64_t flow_tick(struct flow *flow, uint64_t now_ns);

/* ---- memory ahead of need; one helper thread, every millisecond while one of them returns true ---- */

/* Makes memory ready for the entries to come; true if there are more than at the last call. */
bool flow_grow_ahead(struct flow *flow);
/* The same for rules of all clients. Clients may come and be freed meanwhile, the switch may not. */
bool flow_switch_grow_ahead(struct flow_switch *sw);

/* ---- to be looked at; control ---- */

struct flow_stats {
	uint32_t rules, masks, clients;
	uint64_t installed, destroyed, refused;    /* since the switch was made */
	uint64_t refusals[ESWITCH_REFUSALS];       /* enum eswitch_refusal */
	uint64_t hits, lookups, upcalls, bypassed; /* frames: by an entry; by search; sent up; of these, by bypass */
	uint64_t misses;                           /* lookups that found no rule */
	uint64_t subtables_searched;               /* in all lookups */
	uint32_t refused_now, leaving; /* rules: refused and not destroyed yet; destroyed and not free yet */
	uint32_t max_masks;
	uint64_t entries, max_entries;    /* of all workers, now */
	uint64_t rule_bytes, entry_bytes; /* memory of rules with counters and index; of entries and theirs */
};
void flow_switch_stats(const struct flow_switch *sw, struct flow_stats *ret);

/* Time from a command's writing, as the client says it, until its rule is in force: quarters of powers of two. */
enum { FLOW_LATENCY_BUCKETS = 97 };
struct flow_latency {
	_Atomic uint64_t counts[FLOW_LATENCY_BUCKETS];
	_Atomic uint64_t sum_ns;
};
uint64_t flow_latency_bound_ns(unsigned bucket); /* no time in it is longer; UINT64_MAX: of the last */
void flow_switch_latency(const struct flow_switch *sw, struct flow_latency *ret);

/* A command ring of a client, which is one of its threads. */
struct flow_ring_stats {
	uint32_t slots, pending;
	bool impossible; /* what the client says that it has written cannot be: the ring stands still */
	uint64_t installed, destroyed, refused; /* commands served */
	uint64_t last_ns;                       /* CLOCK_MONOTONIC when the last one was; 0 = none yet */
};
/* false: there is no such ring. */
bool flow_client_ring(const struct flow_client *client, unsigned ring, struct flow_ring_stats *ret);

enum flow_rule_states { FLOW_LIST_ACTIVE = 1 << 0, FLOW_LIST_REFUSED = 1 << 1, FLOW_LIST_LEAVING = 1 << 2 };
struct flow_rule_info {
	const struct flow_client *client;
	uint32_t index, generation;
	enum flow_rule_states state; /* one of them; what follows is known of active ones, but for the refusal */
	enum eswitch_refusal refusal;
	uint64_t installed_ns;             /* CLOCK_MONOTONIC */
	uint64_t used_ns;                  /* … when flow_uses_look() last saw that it had counted; 0 = never */
	struct eswitch_fields match, mask; /* match is zero where mask is */
	unsigned op_count, encap_bytes;
	struct eswitch_op ops[ESWITCH_MAX_OPS];
	uint8_t encap[ESWITCH_MAX_ENCAP_BYTES];
	uint64_t packets, bytes; /* of all workers */
};
/* Rules in these states (enum flow_rule_states) from *cursor on (0 at first), at most `budget` indices looked at; false
 * when that was the end. A rule that is installed or removed meanwhile may or may not be seen. */
bool flow_rules_list(const struct flow_switch *sw, unsigned states, uint64_t *cursor, unsigned budget,
		     void (*fn)(void *arg, const struct flow_rule_info *rule), void *arg);
/* Notes which rules have counted since the last look, so that used_ns is known: about once a second, from where the
 * last call ended, at most `budget` indices; false when all have been looked at. Costs the workers nothing but the
 * cache lines of counters. */
bool flow_uses_look(struct flow_switch *sw, unsigned budget, uint64_t now_ns);

struct flow_mask_info {
	struct eswitch_fields mask;
	uint32_t rules;
};
/* At most max of them; returns how many there are. */
unsigned flow_masks_list(const struct flow_switch *sw, struct flow_mask_info *ret, unsigned max);

struct flow_refusal {
	uint64_t time_ns;                 /* CLOCK_MONOTONIC */
	const struct flow_client *client; /* may have been freed since: to compare only */
	uint32_t index, generation;
	uint8_t refusal;                    /* enum eswitch_refusal */
	char sentence[FLOW_SENTENCE_BYTES]; /* what was wrong, and what would be right */
	struct eswitch_fields match, mask;
};
/* The last ones, the newest first; returns how many. */
unsigned flow_refusals_list(struct flow_switch *sw, struct flow_refusal *ret, unsigned max);
const char *flow_refusal_name(enum eswitch_refusal refusal); /* "port", "index", "match", … */

/* What would become of a frame. */
enum flow_fate {
	FLOW_FATE_UNBOUND,   /* dropped: nothing has that number */
	FLOW_FATE_NO_CLIENT, /* dropped: nobody has the representor open, nor the trunk */
	FLOW_FATE_BYPASS,    /* goes up */
	FLOW_FATE_MALFORMED, /* dropped: it has no Ethernet header */
	FLOW_FATE_NO_RULE,   /* goes up */
	FLOW_FATE_NEEDS,     /* goes up, because it lacks what the rule's actions need: a TTL above 1, whole headers */
	FLOW_FATE_RULE,
};
struct flow_explanation {
	enum flow_fate fate;
	uint16_t port;                    /* whose rules are looked at: the representor's number, or 0 = the trunk */
	const struct flow_client *client; /* that has it open; NULL: nobody */
	struct eswitch_fields fields;     /* of the frame, from NO_RULE on */
	unsigned masks_searched;
	struct flow_rule_info rule; /* NEEDS, RULE */
};
/* A frame that comes from the member or tunnel behind representor `number`, by the same functions that workers use.
 * *m may become another mbuf, or NULL; it stays the caller's. */
void flow_explain(struct flow_switch *sw, uint16_t number, struct rte_mbuf **m, struct flow_explanation *ret);
