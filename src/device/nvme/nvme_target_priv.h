/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the target: queues, commands, controllers, subsystems, namespaces. */
#pragma once

#include <sys/queue.h>
#include "device/nvme/nvme_reservation.h"
#include "device/nvme/nvme_target.h"
#include "device/nvme/nvme_tcp.h"
#include "engine/crc32c/crc32c.h"

enum {
	COMMAND_CHUNK = 8,
	ERROR_ENTRIES = 16,
	RESERVATION_NOTICES = 16,
	CHANGED_NAMESPACES_MAX = 1024, /* entries of the log */
	HOLD_MS = 10000,               /* that commands wait for a device that is away; Linux gives up after 30 s */
	TEMPERATURE_K = 300,           /* there is none to be measured; kelvin, as the two that Identify says: */
	WARNING_K = 343,
	CRITICAL_K = 353,
	RETRY_DELAY_MS = 1000,      /* of hosts, after that */
	WATCH_MS = 1000,            /* queues are looked at, at most so often */
	STALL_MS = 20000,           /* a connection ends whose host takes nothing, or sends nothing of what it owes */
	DISCOVERY_KATO_MS = 120000, /* of hosts that ask for none: discovery is open to everybody */
	ADMIN_OWN_BYTES = 16 << 10, /* of an admin queue: longer transfers are the subsystem's */
	NVME_COPY_RANGES_MAX = 128,
	NVME_COPY_RANGES_BYTES =
		4096, /* of so many: at the beginning of a Copy's only buffer, what is copied behind them */
	NVME_COPY_BUFFER_BYTES = 128 << 10,
	NVME_COPY_RANGE_BLOCKS_MAX = (1 << 16) - 1, /* of a range, … */
	NVME_COPY_BLOCKS_MAX = 1 << 16,             /* … and of all */
	NVME_ATOMIC_WRITE_UNIT = 0x014,             /* generic status: Atomic Write Unit Exceeded */
};

/* ---- commands ---- */

enum command_state {
	COMMAND_FREE,
	COMMAND_RECEIVING,   /* its data is coming */
	COMMAND_WAITING,     /* for a buffer, a namespace, its fused partner; can be aborted */
	COMMAND_EXECUTING,   /* in a device or with the persistence */
	COMMAND_OUTSTANDING, /* an asynchronous event request */
	COMMAND_ANSWERED,    /* its sends are under way */
};

struct nvme_command {
	struct dpu_block_request request; /* first */
	struct nvme_queue *queue;
	TAILQ_ENTRY(nvme_command) link;    /* of its queue: free or active */
	TAILQ_ENTRY(nvme_command) ns_link; /* of those who wait for their namespace */
	struct nvme_waiter waiter;
	struct nvme_sqe sqe;
	struct nvme_namespace *ns;
	struct nvme_buffer *buffer;
	struct nvme_command *partner;                  /* of a fused pair, both ways */
	void (*execute)(struct nvme_command *command); /* when data and namespace are there */
	uint64_t result;
	uint64_t offset;  /* in the device */
	uint32_t length;  /* of its data, bytes */
	uint32_t data_at; /* in the buffer, of what the device gives or takes: a multiple of 4 KiB */
	uint32_t in_capsule, received;
	struct crc32c_blocks sums; /* of what is being received */
	uint16_t index;
	uint8_t state, lent; /* sends and takes under way */
	bool entered, ns_waiting, alone, bad_digest;
	bool aborted;                                /* its host would rather not have it done */
	bool collected;                              /* one of a pair: its data is there */
	uint16_t early_status;                       /* … what is wrong with it */
	bool has_crc;                                /* buffer->crc holds the CRCs of its data */
	void (*ready)(struct nvme_command *command); /* the buffer is there */
	void (*run)(struct nvme_command *command);   /* it has entered its namespace */
	/* commands of several steps */
	uint32_t step, steps;
	uint64_t step_done;
	/* what is sent */
	struct nvme_send answer, r2t;
	struct iovec iov[6], r2t_iov, data_iov;
	struct {
		struct nvme_tcp_data header;
		uint32_t digest;
	} data_pdu;
	struct {
		struct nvme_tcp_capsule_resp header;
		uint32_t digest;
	} response_pdu;
	struct {
		struct nvme_tcp_r2t header;
		uint32_t digest;
	} r2t_pdu;
	uint32_t data_digest;
};

TAILQ_HEAD(nvme_commands, nvme_command);

/* ---- queues ---- */

enum queue_state {
	QUEUE_NEW,        /* waits for ICReq */
	QUEUE_READY,      /* … Connect */
	QUEUE_CONNECTING, /* … the answer to it */
	QUEUE_CONNECTED,
	QUEUE_TERMINATED, /* C2HTermReq is sent: input is thrown away */
	QUEUE_CLOSING,
	QUEUE_CLOSED,
};

enum receive_state {
	RECEIVE_COMMON,  /* the first 8 bytes */
	RECEIVE_HEADER,  /* the rest and its digest */
	RECEIVE_BLOCKED, /* the header is whole, but there is no command or buffer for it yet */
	RECEIVE_PAD,
	RECEIVE_DATA,
	RECEIVE_TAKE, /* data that comes in place */
	RECEIVE_DIGEST,
};

struct nvme_receive {
	enum receive_state state;
	uint32_t have, need;
	union {
		uint8_t bytes[NVME_TCP_HEADER_BYTES_MAX + NVME_TCP_DIGEST_BYTES];
		struct nvme_tcp_header common;
		struct nvme_tcp_icreq icreq;
		struct nvme_tcp_capsule_cmd capsule;
		struct nvme_tcp_data data;
	} header;
	struct nvme_command *command; /* whose data it is; NULL = nobody's */
	uint8_t *to;                  /* where it goes */
	uint32_t pad, left;           /* bytes to come */
	uint32_t digest;
};

/* Bytes that the other side has to move, at a least pace: nvme_watch.c. */
struct nvme_debt {
	uint64_t made;    /* ever, as of the last look */
	uint64_t left_ns; /* until they should all be there */
};

struct nvme_queue {
	const struct nvme_transport_ops *ops;
	void *ctx;
	enum queue_state state;
	enum nvme_target_reason reason;
	uint8_t digests;
	uint16_t data_align; /* of C2HData, bytes */
	uint16_t qid, sqsize, sqhd;
	bool no_flow_control, close_called, in_input, idle_called;
	struct nvme_controller *controller;
	TAILQ_ENTRY(nvme_queue) link; /* of its controller */
	struct nvme_receive receive;
	struct nvme_command *fused_first; /* waits for its second; … */
	bool fused_aborted;               /* … did so, and its host has aborted it */
	struct nvme_command *taking;      /* its data is coming in place, even if it was dropped */
	struct nvme_commands free, active;
	struct nvme_command **chunks; /* by index / COMMAND_CHUNK */
	uint16_t chunk_count, chunk_max, outstanding;
	uint16_t chunk_paid;        /* what the queue was let in with; others are paid for one by one */
	struct nvme_account *payer; /* of itself and its commands; NULL: not yet */
	uint64_t paid;              /* bytes */
	unsigned sends;
	unsigned sent, seen_sent;        /* sends that are done, as a counter; at the last progress that a tick saw */
	uint64_t send_bytes, sent_bytes; /* of all sends, of those that are done */
	uint64_t asked_bytes;            /* by R2T, ever */
	struct nvme_debt to_take, to_come;
	uint64_t progress_ns, looked_ns;
	unsigned came, asked_came; /* whole data of PDUs, and that which was asked for by R2T */
	unsigned seen_came, looks; /* since when none has come that the host owes, … */
	uint64_t came_ns;          /* … in looks of the tick and in time */
	struct nvme_connect_data *connect_data;
	struct nvme_command *connect_command;
	struct nvme_waiter waiter; /* of RECEIVE_BLOCKED */
	struct nvme_buffer *early; /* … that it got */
	struct nvme_account own;   /* of an admin queue */
	/* handshake and termination */
	struct nvme_send icresp_send, term_send;
	struct iovec icresp_iov, term_iov;
	struct nvme_tcp_icresp icresp;
	struct {
		struct nvme_tcp_term_req header;
		uint8_t data[NVME_TCP_TERM_DATA_MAX];
	} term;
};

/* ---- subsystems ---- */

struct nvme_host {
	char nqn[NVME_NQN_BYTES];
};

struct nvme_port {
	uint16_t id;
	uint8_t state[NVME_TARGET_ANA_GROUPS];
};

struct nvme_subsystem {
	char nqn[NVME_NQN_BYTES];
	char serial[20], model[40], firmware[8]; /* padded with spaces */
	bool discovery, refuse, any_host;
	uint16_t max_queues, max_entries, max_controllers;
	struct nvme_account *account;
	const struct nvme_subsystem_ops *ops;
	void *ctx;
	struct nvme_host *hosts;
	unsigned host_count;
	TAILQ_HEAD(, nvme_controller) controllers;
	unsigned controller_count, queue_count;
	uint16_t last_cntlid;
	struct nvme_namespace *namespaces[NVME_TARGET_NAMESPACES_MAX]; /* by NSID - 1 */
	uint32_t highest_nsid;
	struct nvme_port ports[NVME_TARGET_PORTS_MAX];
	unsigned port_count;
	uint64_t ana_changes;
	uint64_t now_ns, due_ns; /* of the last tick, and when the next has something to look at */
	uint64_t watch_ns;       /* of the last that looked at queues */
	unsigned holding;        /* namespaces whose device is away */
	const struct nvme_discovery_record *records;
	unsigned record_count;
	uint64_t generation;
	struct nvme_subsystem_stats stats;
};

/* What SMART counts, of a controller or a namespace. */
struct nvme_smart_counts {
	uint64_t reads, writes; /* commands */
	uint64_t read_bytes, write_bytes;
	uint64_t media_errors;
};

struct nvme_controller {
	struct nvme_subsystem *subsystem;
	TAILQ_ENTRY(nvme_controller) link;
	uint16_t cntlid, port, queues; /* granted */
	char hostnqn[NVME_NQN_BYTES];
	uint8_t hostid[16];
	TAILQ_HEAD(, nvme_queue) list; /* its queues, the admin queue first */
	struct nvme_queue *admin;      /* NULL once it is gone */
	bool ended, io_created, active, watched;
	enum nvme_target_reason reason;
	uint32_t cc, csts;
	uint32_t kato_ms;
	uint64_t alive_ns; /* as of the last tick that found it active */
	/* events */
	struct nvme_commands aers;
	unsigned aer_count;
	uint32_t event_mask;
	uint32_t pending; /* enum nvme_event_bit: to be told */
	uint32_t told;    /* … and told, until the log is read */
	bool reservation_pending, reservation_told;
	uint64_t changed[NVME_TARGET_NAMESPACES_MAX / 64]; /* a bit for each NSID, from 1 on */
	struct nvme_log_reservation notices[RESERVATION_NOTICES];
	unsigned notice_first, notice_count;
	uint64_t notice_total;
	struct nvme_log_error errors[ERROR_ENTRIES];
	uint64_t error_count;
	uint16_t threshold_k[2]; /* of temperature: not above, not below */
	uint32_t features[16];   /* those that are only read back, by their place in the table */
	uint8_t host_behavior[512];
	bool write_through;  /* its volatile cache is off: what is written is durable when that is answered */
	uint64_t started_ns; /* as of the first tick: between controllers there is none. 0: not known yet */
	/* discovery: which records its host sees, and of which log that is */
	uint8_t *visible;
	unsigned visible_count;
	const struct nvme_discovery_record *visible_records;
	uint64_t visible_generation;
	struct nvme_smart_counts smart;
	uint64_t digest_errors;
};

struct nvme_namespace {
	struct nvme_subsystem *subsystem;
	struct dpu_block_device *device; /* NULL: going or not there */
	struct dpu_block_device *going;  /* … until nothing is outstanding in it */
	uint32_t nsid, ana_group;
	uint8_t uuid[16];
	uint8_t shift; /* log2 of the logical block; 0 until the first device came */
	uint32_t wanted_block_bytes;
	uint64_t blocks;
	unsigned busy;  /* commands that have entered */
	bool exclusive; /* one command has it alone */
	struct nvme_commands waiting;
	bool admitting;                    /* those who wait are coming in: from one place at a time */
	bool holding;                      /* the device is away, but not for long: commands wait for it */
	uint64_t away_ns;                  /* since when, as of a tick; 0: not known yet */
	uint32_t features;                 /* of its last device */
	const _Atomic uint64_t *allocated; /* … of its device; NULL: it does not say */
	uint64_t used_bytes;               /* … as of the last look */
	bool thin;                         /* its last device said so */
	bool removing, lost;
	void (*released)(void *arg);
	void *released_arg;
	void (*removed)(void *arg);
	void *removed_arg;
	struct nvme_reservations reservations;
	uint32_t reservation_mask; /* feature 82: notices that are not wanted */
	void *ctx;
	struct nvme_namespace_stats stats;
	struct nvme_smart_counts smart;
};

/* ---- nvme_queue.c, nvme_send.c, nvme_pdu.c, nvme_receive.c ---- */

/* The answer, with `data` bytes of the command's buffer before it (status is 0 then). */
void nvme_command_answer(struct nvme_command *command, uint16_t status, uint32_t data);
static inline void nvme_command_fail(struct nvme_command *command, uint16_t status)
{
	nvme_command_answer(command, status, 0);
}
/* Its buffer is there: the host is asked for the data. */
void nvme_r2t_send(struct nvme_command *command);
struct nvme_command *nvme_command_new(struct nvme_queue *queue);
void nvme_command_free(struct nvme_command *command);
struct nvme_command *nvme_command_find(struct nvme_queue *queue, uint16_t index);
/* Connect: the account pays for the queue and as many commands as it has entries. False: it has no room. */
bool nvme_queue_pay(struct nvme_queue *queue, struct nvme_account *account, const struct nvme_connect_sqe *sqe);
/* A send or take of it has come back; it may be gone then. */
void nvme_command_returned(struct nvme_command *command);
/* Forgets it without an answer; not while it executes. */
void nvme_command_drop(struct nvme_command *command);
/* Who pays for that much on this queue. */
struct nvme_account *nvme_queue_account(struct nvme_queue *queue, uint32_t bytes);
/* Its buffer, if it has one. */
void nvme_command_give_back(struct nvme_command *command);
/* A buffer of `bytes`, now or later, then ready(command); the command is WAITING meanwhile. */
void nvme_command_buffer(struct nvme_command *command, uint32_t bytes, void (*ready)(struct nvme_command *command));
/* The data that the host has for the command, in a buffer of `room` bytes, then execute(command). Checks the SGL. In
 * the capsule it came to a buffer of nvme_capsule_room() bytes already. */
void nvme_command_collect_into(struct nvme_command *command, uint32_t bytes, uint32_t room,
			       void (*execute)(struct nvme_command *command));
static inline void nvme_command_collect(struct nvme_command *command, uint32_t bytes,
					void (*execute)(struct nvme_command *command))
{
	nvme_command_collect_into(command, bytes, bytes, execute);
}
/* What a command with so much data in its capsule needs: a Copy takes all that it will ever need at once, so that none
 * waits for a second buffer while it holds one. */
static inline uint32_t nvme_capsule_room(const struct nvme_queue *queue, const struct nvme_sqe *sqe, uint32_t bytes)
{
	bool copy = queue->qid > 0 && sqe->opcode == NVME_COPY;

	return copy && bytes < NVME_COPY_BUFFER_BYTES ? NVME_COPY_BUFFER_BYTES : bytes;
}
/* For commands that give `bytes`: whether the host has room; fails the command if not. */
bool nvme_command_has_room(struct nvme_command *command, uint32_t bytes);
void nvme_queue_terminate(struct nvme_queue *queue, enum nvme_tcp_fes fes, uint32_t fei);
void nvme_queue_close(struct nvme_queue *queue, bool graceful, enum nvme_target_reason reason);
/* When all is back: `idle`. */
void nvme_queue_settle(struct nvme_queue *queue);
void nvme_queue_unblock(struct nvme_queue *queue);
/* One that nothing is under way on keeps memory for a few commands only. */
void nvme_queue_trim(struct nvme_queue *queue);

/* Checks of a header; 0, or the error and its offset. */
enum nvme_tcp_fes nvme_pdu_check_common(const struct nvme_queue *queue, uint32_t *ret_fei);
enum nvme_tcp_fes nvme_pdu_check(const struct nvme_queue *queue, uint32_t *ret_fei);
uint32_t nvme_pdu_data_bytes(const struct nvme_queue *queue, const struct nvme_tcp_header *header);

/* ---- dispatch ---- */

void nvme_command_start(struct nvme_command *command); /* its in-capsule data is there */
void nvme_fabrics_start(struct nvme_command *command);
void nvme_admin_start(struct nvme_command *command);
void nvme_io_start(struct nvme_command *command);
/* For I/O commands: status of namespace, path and reservation; sets command->ns. */
uint16_t nvme_io_check(struct nvme_command *command);
/* After it has waited: what was checked may have changed. */
uint16_t nvme_io_recheck(struct nvme_command *command);
bool nvme_io_still(struct nvme_command *command);            /* … and fails it */
uint8_t nvme_io_durable(const struct nvme_command *command); /* DPU_BLOCK_FUA, where a write must be so */
bool nvme_io_range(const struct nvme_namespace *ns, uint64_t lba, uint64_t blocks, uint64_t *ret_offset);
uint32_t nvme_io_effects(uint8_t opcode);
bool nvme_feature_known(const struct nvme_controller *controller, uint8_t id);
void nvme_features_default(struct nvme_controller *controller);
static inline bool nvme_temperature_warns(const struct nvme_controller *controller)
{
	return TEMPERATURE_K >= controller->threshold_k[0] || TEMPERATURE_K <= controller->threshold_k[1];
}
void nvme_identify(struct nvme_command *command);
void nvme_log_page(struct nvme_command *command);
void nvme_set_features(struct nvme_command *command);
void nvme_get_features(struct nvme_command *command);
void nvme_reservation_start(struct nvme_command *command);
void nvme_ranges_start(struct nvme_command *command); /* DSM, Copy, Write Zeroes */
void nvme_fused_start(struct nvme_command *command, uint16_t status);
/* A pair is none any more; returns the other of it, NULL if it was none. */
struct nvme_command *nvme_fused_part(struct nvme_command *command);
void nvme_fused_broken(struct nvme_command *other, uint16_t status); /* its part has failed with `status`: so does it */
void nvme_fused_forget(struct nvme_command *command);                /* one of a pair is dropped */
void nvme_fused_aborted(struct nvme_command *command);               /* one that waits, maybe for its second */

/* ---- controllers and events ---- */

/* Ends those of its queues whose host does not do its part; at a tick. */
void nvme_controller_watch(struct nvme_controller *controller);
/* NULL: there are too many, or no memory. */
struct nvme_controller *nvme_controller_new(struct nvme_subsystem *subsystem, const struct nvme_connect_data *data,
					    uint16_t port);
struct nvme_controller *nvme_controller_find(struct nvme_subsystem *subsystem, uint16_t cntlid);
void nvme_controller_add_queue(struct nvme_controller *controller, struct nvme_queue *queue,
			       const struct nvme_connect_sqe *sqe);
/* The queue's connection is over. */
void nvme_controller_remove_queue(struct nvme_queue *queue);
void nvme_controller_end(struct nvme_controller *controller, enum nvme_target_reason reason);
void nvme_controller_reset(struct nvme_controller *controller); /* CC.EN goes to 0 */
/* Whether its host heeds command retry delays (Host Behavior Support, ACRE). */
static inline bool nvme_controller_delays(const struct nvme_controller *controller)
{
	return controller && (controller->host_behavior[0] & 1);
}
bool nvme_subsystem_allows(const struct nvme_subsystem *subsystem, const char *hostnqn);
const struct nvme_port *nvme_controller_port(const struct nvme_controller *controller);
uint8_t nvme_controller_ana(const struct nvme_controller *controller, const struct nvme_namespace *ns);
/* For SMART, of the command's namespace and of its controller, if that is still there. */
void nvme_smart_count(struct nvme_command *command, const struct nvme_smart_counts *more);
void nvme_smart_count_request(struct nvme_command *command); /* its only one, a read, compare or write, is done */
void nvme_controller_error(struct nvme_command *command, uint16_t status);
/* Wrong digests from its host: of a header, which ends the connection, or of data. */
void nvme_controller_digest_error(struct nvme_controller *controller, const struct nvme_queue *queue, bool header);
void nvme_controller_protocol_error(struct nvme_controller *controller);
void nvme_event_forget(struct nvme_command *command); /* a request is answered or dropped by somebody else */
void nvme_event_raise(struct nvme_controller *controller, uint32_t bit);
void nvme_event_raise_all(struct nvme_subsystem *subsystem, uint32_t bit);
void nvme_event_namespace(struct nvme_namespace *ns);
void nvme_event_reservation(struct nvme_controller *controller, uint32_t nsid, uint8_t type);
/* Answers event requests with what is pending. */
void nvme_event_send(struct nvme_controller *controller);
void nvme_event_read(struct nvme_controller *controller, uint32_t bit); /* its log was read */

/* ---- namespaces ---- */

/* NULL: no such active namespace. */
struct nvme_namespace *nvme_namespace_find(const struct nvme_subsystem *subsystem, uint32_t nsid);
/* The command enters its namespace, at once or when it may: then run(command). alone: when all others are out, and
 * nobody comes in until it leaves. */
void nvme_namespace_enter(struct nvme_command *command, bool alone, void (*run)(struct nvme_command *command));
void nvme_namespace_leave(struct nvme_command *command);
void nvme_namespace_forget(struct nvme_command *command); /* waits no more */
void nvme_namespace_tick(struct nvme_namespace *ns);
/* Of its device, or the last one. */
static inline uint32_t nvme_namespace_features(const struct nvme_namespace *ns)
{
	return ns->device ? ns->device->features : ns->features;
}
uint64_t nvme_namespace_used(struct nvme_namespace *ns); /* blocks */
/* Its ANA group: may change (ANACAP has no bit that denies it). */
static inline uint32_t nvme_namespace_group(const struct nvme_namespace *ns)
{
	return ns->lost ? (uint32_t)NVME_TARGET_ANA_LOST : ns->ana_group;
}
uint16_t nvme_status_of(enum dpu_block_status status, bool read);
void nvme_command_count(struct nvme_command *command, enum dpu_block_op op, uint64_t bytes,
			enum dpu_block_status status);

static inline void nvme_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Submits the command's request (op, flags, offset, length; its data is in the buffer, at data_at) to its namespace;
 * done(command, status) later. Fills in CRCs where the device keeps them. */
void nvme_command_submit(struct nvme_command *command, enum dpu_block_op op, uint8_t flags, uint64_t offset,
			 uint64_t length, void (*done)(struct dpu_block_request *request));
/* Nobody waits for it any more: if it waits in the device for its turn, it may end with DPU_BLOCK_GONE. False: it is in
 * no device. */
bool nvme_command_cancel(struct nvme_command *command);
