/* SPDX-License-Identifier: BSD-3-Clause */
/* The eswitch from inside: its objects in force, its clients, their ports. Control thread only, but for the arrays that
 * workers read. */
#pragma once

#include <sys/queue.h>
#include "device/flow/flow.h"
#include "service/eswitch/message.h"
#include "service/eswitch/objects.h"
#include "service/vswitch/objects.h"
#include "service/vswitch/vswitch.h"

enum {
	CONNECTIONS_MAX = 16,  /* of these FLOW_MAX_CLIENTS can have said HELLO */
	MESSAGES_AT_ONCE = 16, /* of one client, before others have their turn */
	COMMAND_WORKER = 0,
	REPORTS_KEPT = 64, /* different sentences */
};

struct client;
struct eswitch;
struct engine;
struct sampler;
struct listing;

/* A representor that a client has open: the port with its packet rings. */
struct open_port {
	struct attachment attachment; /* first */
	struct eswitch *eswitch;
	struct client *client;
	uint16_t number;
	uint16_t queue_pairs, to_host_queues;
	uint32_t slots;
	uint64_t offloads; /* that the client takes in frames */
	uint32_t request;  /* to be answered when the port is open at last; 0 = answered */
	char name[ESWITCH_NAME_BYTES];
};

/* A representor in force, and in place 0 the trunk. */
struct control_representor {
	struct representor *object; /* NULL: the trunk */
	struct open_port *open;
	struct tunnel *tunnel;
	uint16_t vni_slot;
	bool up; /* as the client was last told */
};

/* A command ring as it was a second ago. */
struct ring_watch {
	uint64_t served;
	bool pending, stuck; /* stuck: since the look before nothing was served, though something waited */
};

struct client {
	struct worker_source source; /* of its commands, first */
	struct eswitch *eswitch;
	struct engine *engine;
	int fd; /* -1: gone, its rules are being removed */
	struct loop_fd *watch;
	struct loop_timer *timer; /* HELLO must come; later: rules must go */
	struct flow_client *flow; /* NULL before HELLO */
	uint32_t pid;
	char program[64];
	char name[96]; /* "ovs-vswitchd (pid 123)" */
	uint64_t since_ns;
	struct ring_watch rings[ESWITCH_MAX_COMMAND_RINGS];
	LIST_ENTRY(client) link;
};

/* The forwarding of one eswitch object; outlives it until nobody uses it. */
struct engine {
	struct eswitch *eswitch;
	struct flow_switch *sw;
	unsigned clients;
	unsigned sources; /* ticks with the workers */
	bool ending;
	struct sampler *sampler;
	struct growth *growth; /* memory ahead of need */
	struct tick {
		struct worker_source source;
		struct flow *flow;
		_Atomic uint64_t runs;
	} ticks[DP_MAX_WORKERS];
};

struct vni_group {
	uint8_t encapsulation;
	uint32_t vni;
	uint32_t users;
};

/* Flows that clients have refused by themselves, for one reason. */
struct report {
	char sentence[sizeof(((struct eswitch_message *)NULL)->sentence)];
	uint32_t what; /* enum eswitch_report */
	uint64_t count, time_ns;
	struct eswitch_fields match, mask; /* of the last one, as far as it was read */
	char client[96];
};

struct eswitch {
	struct dpu *dpu;
	struct vswitch *vswitch;
	unsigned workers;
	struct eswitch_object *object; /* NULL: there is none */
	struct engine *engine;
	struct flow *_Atomic flows[DP_MAX_WORKERS]; /* read by workers */
	struct rcu_map *tunnels;                    /* struct tunnel_key → number; read by workers */
	struct vni_group groups[ESWITCH_MAX_PORTS + 1];
	struct control_representor *representors[ESWITCH_MAX_PORTS + 1];
	int listen_fd;
	struct loop_fd *listen_watch;
	unsigned connections;
	LIST_HEAD(, client) clients; /* also those that are gone but not drained */
	unsigned closing;            /* open_ports on their way out */
	unsigned engines;            /* not freed yet */
	struct report reports[REPORTS_KEPT];
	unsigned report_count;
	uint64_t reported[ESWITCH_REPORTS];
	LIST_HEAD(, listing) listings; /* of rules, under way */
	struct loop_timer *stop_timer;
	void (*stopped)(void *arg);
	void *stopped_arg;
	bool started, stopping;
};

/* How a decapsulated frame finds its representor. */
struct tunnel_key {
	uint32_t slot, tag;
};

void *eswitch_alloc(size_t bytes); /* zeroed; running out is fatal */

/* engine.c */
int engine_start(struct eswitch *eswitch, struct dpu_error *err);
void engine_end(struct eswitch *eswitch);   /* clients have been told to go */
void engine_release(struct engine *engine); /* one client less */
extern const struct dp_members engine_members;

/* server.c */
int server_start(struct eswitch *eswitch, struct dpu_error *err);
void server_stop(struct eswitch *eswitch);
/* Sends, with descriptors; a client that does not read is let go. */
void eswitch_tell(struct client *client, const struct eswitch_message *message, const int *fds, unsigned count);
void eswitch_dismiss(struct client *client, const char *why);

/* request.c */
void eswitch_request(struct client *client, const struct eswitch_message *request, size_t bytes);
/* Texts of the client's are shown to people: what terminals obey becomes '?'. */
void copy_printable(char *to, size_t room, const char *from);

/* opening.c */
void representor_open(struct client *client, const struct eswitch_message *request, struct control_representor *to,
		      uint16_t number);
void representor_close(struct control_representor *representor);
void representor_info(struct eswitch *eswitch, uint16_t number, struct eswitch_port_info *ret);
void representor_tell(struct eswitch *eswitch, uint16_t number); /* PORT_CHANGED, if it has changed */

/* control.c */
int control_eswitch_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_eswitch_remove(void *ctx, struct object *object);
int control_representor_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err);
void control_representor_remove(void *ctx, struct object *object);
const struct object *control_tunnel_holder(void *ctx, uint8_t encapsulation, uint32_t vni);
const char *control_iface_name(void *ctx, uint16_t iface);
void control_changed(void *ctx, uint16_t number);
int control_flow_port(struct eswitch *eswitch, uint16_t number);

/* observe.c */
void eswitch_observe(void *ctx, const struct object *object, struct object *copy);
void representor_observe(void *ctx, const struct object *object, struct object *copy);
extern const struct action eswitch_actions[];
const char *client_name(const struct eswitch *eswitch, const struct flow_client *flow); /* "" if it has gone */
const char *representor_name(const struct eswitch *eswitch, uint16_t number);           /* "" if there is none */
int engine_of(const struct eswitch *eswitch, struct dpu_error *err);                    /* or there is no eswitch */

/* flows.c: offload-flows */
struct flows_args {
	struct ref representor;
	uint32_t in_port, limit;
	uint64_t cursor, min_packets;
	char *protocol;
	struct ip_addr address;
	uint8_t state, sort;
};
extern const struct field flows_fields[];
int flows_start(void *ctx, struct object *object, const void *args, struct action_reply *reply, struct dpu_error *err);
void flows_end(struct eswitch *eswitch); /* the engine ends: who waits is told */

/* refusals.c: offload-refused */
void report_take(struct client *client, const struct eswitch_message *message);
const char *report_name(enum eswitch_report what);
uint64_t reported_count(const struct eswitch *eswitch);
int refused_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);

/* stats.c: offload-stats, offload-threads */
int stats_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
int threads_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err);
uint32_t commands_pending(const struct eswitch *eswitch);

/* sampler.c: what is measured over time, once a second */
struct rates {
	double seconds; /* that they were really measured over; 0 = not yet */
	double installed, destroyed, refused, hits, lookups, upcalls; /* per second */
};
enum { SAMPLER_SECONDS = 60 };
void sampler_start(struct engine *engine);
void sampler_stop(struct engine *engine);
void sampler_rates(const struct engine *engine, unsigned seconds, struct rates *ret);
/* Commands in force within the last minute. */
void sampler_latency(const struct engine *engine, struct flow_latency *ret);
struct worker_watch {
	double busy; /* share of the last second */
	bool worked, stuck;
};
void sampler_worker(const struct engine *engine, unsigned worker, struct worker_watch *ret);

/* metrics.c */
char *eswitch_metrics(void *state);

/* explain.c: `dpuctl why` of members; vswitch_members.why */
int explain_member(void *ctx, uint16_t number, struct rte_mbuf **frame, json_t **ret, struct dpu_error *err);
