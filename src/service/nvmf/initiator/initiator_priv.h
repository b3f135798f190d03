/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the initiator: queues with their commands, controllers (paths), and the device over them. */
#pragma once

#include "device/block/block_queue.h"
#include "device/nvme/nvme_data.h"
#include "device/nvme/nvme_tcp.h"
#include "engine/crc32c/crc32c.h"
#include "service/nvmf/initiator/initiator.h"

struct path;
struct host_queue;
struct host_command;

enum {
	ADMIN_DEPTH = 32,
	COMMAND_INDEX_BITS = 10, /* of a CID; above them counts up, so that a late answer is no one else's */
	EVENT_REQUESTS = 4,
	COMMAND_SEGMENTS = 8,       /* kept in a command; more are allocated */
	REMOTE_MAX_BYTES = 1 << 20, /* of a request; a controller's own limit (MDTS) only splits it */
	RETRIES_MAX = 5,            /* of a command that the controller calls repeatable */
	HOST_LOST = 0xffff,         /* status: the connection went before the answer came */
};

/* ---- a command ---- */

/* Data that an R2T has asked for. */
struct host_transfer {
	bool active;
	uint16_t ttag;
	uint32_t offset, left;
};

struct host_command {
	struct host_queue *queue;
	struct host_command *next; /* of the free ones */
	uint16_t cid;
	bool busy, answered, digest_bad, aborting;
	bool to_host;
	uint8_t lent;   /* sends that the stream still has */
	uint32_t bytes; /* of data */
	uint32_t moved; /* … that have come, or were handed to the stream */
	unsigned segments;
	const struct iovec *data;
	size_t data_offset;       /* in them, where this command's data begins */
	struct iovec one;         /* … of commands of one segment */
	struct crc32c_blocks sum; /* … their digests, and the CRCs of the request's blocks */
	struct host_transfer transfer, next_transfer;
	struct nvme_cqe cqe;
	/* status: of the completion (with NVME_DNR), or HOST_LOST. The command is free afterwards. */
	void (*done)(struct host_command *command, uint16_t status);
	void *ctx;
	struct path *path;           /* of a request: who took it */
	uint64_t part;               /* … how much of it this is */
	struct nvme_dsm_range range; /* … to be discarded */
	uint64_t sent_ns;
	struct stream_send capsule, h2c;
	struct iovec capsule_iov;
	struct iovec *iov; /* of the data with its header: own, or allocated */
	unsigned iov_room;
	struct iovec own_iov[COMMAND_SEGMENTS + 4];
	struct {
		struct nvme_tcp_capsule_cmd pdu;
		uint32_t digest;
	} __attribute__((packed, aligned(8))) header;
	struct {
		struct nvme_tcp_data pdu;
		uint32_t digest;
	} __attribute__((packed, aligned(8))) h2c_header;
	uint32_t data_digest;
};

/* ---- a queue: one connection ---- */

enum queue_state { QUEUE_CLOSED, QUEUE_CONNECTING, QUEUE_GREETING, QUEUE_OPEN, QUEUE_CLOSING };

struct queue_options {
	struct stream_group *streams;
	const struct remote_address *address;
	unsigned depth;
	bool header_digest, data_digest;
	uint32_t in_capsule_bytes; /* of data */
	const uint64_t *now_ns;    /* as of the last tick */
};

struct queue_events {
	void (*open)(void *ctx, struct host_queue *queue); /* greeted; ready for Connect */
	/* Once, for a queue that was not closed by its owner; host_queue_close() is the answer. */
	void (*failed)(void *ctx, struct host_queue *queue, const char *why);
	void (*closed)(void *ctx, struct host_queue *queue); /* of host_queue_close(); commands are done */
	void (*room)(void *ctx, struct host_queue *queue);   /* a command has become free */
};

/* Where the receiver is in a PDU. */
enum receive_phase { RECEIVE_HEADER, RECEIVE_PAD, RECEIVE_DATA, RECEIVE_DIGEST };

struct host_queue {
	struct queue_options options;
	const struct queue_events *events;
	void *ctx;
	uint16_t id;
	enum queue_state state;
	bool failed;
	uint64_t greeted_by_ns;
	struct stream *stream;
	uint32_t maxh2cdata;
	unsigned alignment; /* of the data that we send */
	struct host_command *commands, *free;
	unsigned depth, under_way;
	uint64_t digest_errors; /* that we have found, or the controller */
	struct stream_send greeting;
	struct iovec greeting_iov;
	struct nvme_tcp_icreq icreq;
	/* the PDU that is being received */
	enum receive_phase phase;
	uint32_t have, want; /* of the header */
	uint32_t left;       /* of the phase */
	uint32_t data_left;
	uint32_t wire_crc;
	struct host_command *command; /* whose data comes */
	struct stream_take take;
	struct iovec take_iov[DPU_BLOCK_MAX_SEGMENTS + 1];
	bool taking;
	union {
		uint8_t bytes[NVME_TCP_HEADER_BYTES_MAX + NVME_TCP_DIGEST_BYTES];
		struct nvme_tcp_header common;
		struct nvme_tcp_icresp icresp;
		struct nvme_tcp_term_req term;
		struct nvme_tcp_capsule_resp response;
		struct nvme_tcp_data data;
		struct nvme_tcp_r2t r2t;
	} pdu;
};

/* queue.c */
/* Negative errno. */
int host_queue_new(const struct queue_options *options, uint16_t id, const struct queue_events *events, void *ctx,
		   struct host_queue **ret);
/* On a connected socket, which it then owns. */
int host_queue_adopt(const struct queue_options *options, uint16_t id, const struct queue_events *events, void *ctx,
		     int fd, struct host_queue **ret);
/* reset: what the kernel has not delivered yet is dropped. */
void host_queue_close(struct host_queue *queue, bool reset);
void host_queue_free(struct host_queue *queue); /* closed */
void host_queue_fail(struct host_queue *queue, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A fault of the peer: it is told, then the queue fails. */
void host_queue_terminate(struct host_queue *queue, enum nvme_tcp_fes fes, uint32_t fei, const char *what);
void host_queue_greet(struct host_queue *queue);
void host_queue_greeted(struct host_queue *queue);
struct host_command *host_command_get(struct host_queue *queue);                /* NULL: all are busy */
void host_command_answered(struct host_command *command);                       /* cqe is set; or the queue is closed */
struct host_command *host_command_find(struct host_queue *queue, uint16_t cid); /* NULL: none under way has it */

/* Fails a queue whose greeting is not answered in time. */
void host_queue_greeting_tick(struct host_queue *queue, uint64_t now_ns);
/* The one under way for longest since before_ns; NULL: none. */
struct host_command *host_queue_overdue(struct host_queue *queue, uint64_t before_ns);
enum { COMMAND_FOR_EVER = 1 }; /* sent_ns of those that may take any time: events */

/* queue_send.c */
/* The sqe of `header` is filled in but for CID and SGL; data, segments, bytes, to_host and done are set. False: no
 * memory now; the command stays the caller's. */
bool host_command_send(struct host_command *command);
void host_command_give_up(struct host_command *command); /* one that was not sent */
void host_command_transfer(struct host_command *command, const struct nvme_tcp_r2t *r2t);

/* queue_receive.c */
size_t host_queue_received(void *ctx, const uint8_t *bytes, size_t count);

/* ---- an association's admin queue, up to the identified controller ---- */

struct admin;

struct admin_options {
	struct stream_group *streams;
	const struct remote_address *address;
	const char *subnqn, *hostnqn;
	const uint8_t *hostid;
	uint32_t keep_alive_ms;
	bool header_digest, data_digest;
	const uint64_t *now_ns;
};

struct admin_events {
	void (*ready)(void *ctx);                   /* identify is there */
	void (*failed)(void *ctx, const char *why); /* once; admin_close() is the answer */
	void (*event)(void *ctx, uint32_t dw0);     /* asynchronous */
	void (*closed)(void *ctx);                  /* of admin_close() */
};

enum admin_step {
	ADMIN_GREETING,
	ADMIN_CONNECT,
	ADMIN_CAP,
	ADMIN_ENABLE,
	ADMIN_STATUS,
	ADMIN_IDENTIFY,
	ADMIN_READY,
	ADMIN_SHUTDOWN,
};

struct admin {
	struct admin_options options;
	const struct admin_events *events;
	void *ctx;
	struct host_queue *queue;
	enum admin_step step;
	bool no_flow_control; /* of submission queues; asked for until it is refused */
	bool told;
	uint16_t cntlid;
	uint64_t cap;
	uint64_t ready_by_ns, look_ns; /* at CSTS */
	uint64_t alive_ns;             /* when the next keep-alive is due */
	bool alive_under_way;
	unsigned events_under_way;
	uint64_t digest_errors; /* of its queue, when that is closed */
	struct nvme_connect_data connect;
	struct nvme_identify_controller identify;
};

int admin_open(struct admin *admin, const struct admin_options *options, const struct admin_events *events, void *ctx);
/* orderly: the controller is shut down first, if it answers. */
void admin_close(struct admin *admin, bool orderly);
void admin_tick(struct admin *admin, uint64_t now_ns);
/* Fails the association when there is no command free: then NULL. */
struct host_command *admin_command(struct admin *admin, uint8_t opcode,
				   void (*done)(struct host_command *command, uint16_t status), void *ctx);
void admin_send(struct admin *admin, struct host_command *command, void *data, uint32_t bytes, bool to_host);
void admin_fail(struct admin *admin, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Get Log Page and Identify into data. */
void admin_get_log(struct admin *admin, enum nvme_log log, uint64_t offset, void *data, uint32_t bytes,
		   void (*done)(struct host_command *command, uint16_t status), void *ctx);
void admin_identify(struct admin *admin, enum nvme_cns cns, uint32_t nsid, void *data,
		    void (*done)(struct host_command *command, uint16_t status), void *ctx);
void admin_set_feature(struct admin *admin, enum nvme_feature feature, uint32_t value,
		       void (*done)(struct host_command *command, uint16_t status), void *ctx);
void admin_await_events(struct admin *admin, unsigned count);
/* Connect of any queue. */
bool connect_send(struct host_queue *queue, struct admin *admin, uint16_t sqsize,
		  void (*done)(struct host_command *command, uint16_t status), void *ctx);
const char *status_text(uint16_t status); /* for people; static, or in a buffer of the thread */

/* ---- a path: a controller of the subsystem ---- */

enum path_step {
	PATH_DOWN, /* waits for its time */
	PATH_ADMIN,
	PATH_QUEUES,
	PATH_EVENTS,
	PATH_LIST,        /* of namespaces, to find ours */
	PATH_DESCRIPTORS, /* of one of them */
	PATH_NAMESPACE,
	PATH_ANA, /* from here on it has the namespace */
	PATH_IO_QUEUES,
	PATH_LIVE,
	PATH_CLOSING,
};

enum remote_path_refresh { REFRESH_CHANGED = 1 << 0, REFRESH_NAMESPACE = 1 << 1, REFRESH_ANA = 1 << 2 };

enum { ANA_GROUPS_MAX = 1024, NAMESPACES_MAX = 1024 };

struct path {
	struct remote *remote;
	unsigned index;
	bool used;    /* else it may be given an address */
	bool leaving; /* is not wanted any more: gets no requests, and ends when it has none */
	struct remote_address address;
	enum path_step step;
	struct admin admin;
	bool admin_open;
	struct host_queue *queues[REMOTE_QUEUES_MAX];
	unsigned queue_count; /* agreed */
	unsigned queues_there, queues_connected, next_queue;
	unsigned depth;
	uint32_t max_bytes, in_capsule_bytes;
	uint32_t refresh; /* enum remote_path_refresh: wanted */
	bool refreshing;  /* … one of them is under way */
	bool abort_under_way;
	uint32_t list[NAMESPACES_MAX]; /* of namespaces, a part: … */
	uint32_t list_after;           /* … those with higher numbers than this */
	unsigned list_at;
	uint32_t nsid; /* the one that is looked at, then ours */
	uint8_t uuid[16], nguid[16];
	uint32_t ana_group;
	enum nvme_ana_state ana;
	uint64_t ana_until_ns;   /* a transition is waited for so long */
	unsigned ana_doubts;     /* how often in a row commands were refused that the log allows */
	uint64_t ana_doubted_ns; /* the log is not believed until then */
	uint64_t due_ns;         /* of the next attempt */
	unsigned attempts;
	uint64_t look_ns; /* at time-outs */
	uint64_t set_up_by_ns;
	unsigned under_way;
	struct dpu_block_request *orphans; /* writes of unknown fate, until it is down */
	struct remote_path_status status;
	union {
		uint32_t list[NAMESPACES_MAX];
		uint8_t descriptors[NVME_IDENTIFY_BYTES];
		struct nvme_identify_namespace namespace;
	} data;
	uint8_t *log; /* ANA */
	uint32_t log_bytes;
};

/* path.c */
bool remote_path_usable(const struct path *path);          /* live, and ANA lets I/O through */
uint64_t remote_path_outlives_ms(const struct path *path); /* its association, if it was identified: else nothing is */
void remote_path_tick(struct path *path, uint64_t now_ns);
void remote_path_fail(struct path *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
void remote_path_close(struct path *path); /* in order, for good */
void remote_path_refresh(struct path *path, uint32_t what);
/* path_setup.c */
void remote_path_step_next(struct path *path);
void remote_path_ready(void *ctx);
void remote_path_down_check(struct path *path);

/* NVM 4.1.5.1, FLBAS: of more than 16 formats the number has two bits more. */
static inline const struct nvme_lba_format *namespace_format(const struct nvme_identify_namespace *namespace)
{
	unsigned high = namespace->nlbaf >= 16 ? namespace->flbas >> 5 & 3u : 0;

	return &namespace->lbaf[high << 4 | (namespace->flbas & 0xfu)];
}

/* ---- the device ---- */

/* A range that a write of unknown fate may still change until dead_ns. */
struct fence {
	uint64_t start, end, dead_ns;
};

struct remote {
	struct dpu_block_device device; /* first */
	struct remote_options options;
	const struct remote_events *events;
	void *ctx;
	struct worker_source source;
	struct uring_hook hook; /* for what must not happen within a call */
	uint64_t now_ns, random;
	struct path paths[REMOTE_PATHS_MAX];
	unsigned path_count, next_path; /* path_count: those above were never used */
	struct remote_address wanted[REMOTE_PATHS_MAX];
	unsigned wanted_count;
	uint64_t past_losses, past_digest_errors, past_aborts; /* of paths that it has no more */
	bool up, gone, lost;
	uint64_t alone_ns; /* since when there is no usable path; 0: there is one */
	uint32_t nsid;
	uint8_t uuid[16], nguid[16]; /* of the namespace, as first found */
	unsigned block_shift;
	bool compare, zero_by_write_zeroes;
	struct block_queue waiting; /* for a path */
	struct block_queue held;    /* for a fence */
	struct block_queue later;   /* for later_ns: the controller asked for a pause */
	struct block_queue failed;  /* to be completed in the next opportunity */
	uint64_t later_ns;
	struct fence *fences;
	unsigned fence_count, fence_room;
	uint64_t everything_until_ns; /* a fence around everything */
	uint64_t noted_ms;            /* for a successor: so long at most do associations outlive us */
	uint64_t outstanding, requests, repeated, held_count;
	bool cancels;              /* some are cancelled, and not looked for yet */
	bool closing, left_writes; /* left_writes: some of unknown fate, when it was closed */
	void (*closed)(void *arg);
	void *closed_arg;
};

/* remote_paths.c */
void remote_paths_settle(struct remote *remote); /* what is wanted, as far as it goes now */

/* remote.c */
bool remote_any_usable(const struct remote *remote, bool trusted); /* trusted: that do what their ANA log says */
void remote_path_changed(struct remote *remote); /* live or not, ANA: what waits may go, or must fail */
void remote_namespace(struct remote *remote, const struct path *path); /* its data are there */
void remote_gone(struct remote *remote);
void remote_path_down(struct remote *remote, struct path *path);
void remote_wake(struct remote *remote);

/* remote_fence.c */
bool remote_fenced(const struct remote *remote, const struct dpu_block_request *request);
void remote_fences_tick(struct remote *remote, uint64_t now_ns);
void remote_orphans_adopt(struct remote *remote, struct path *path);

/* remote_cancel.c */
void remote_cancel(struct dpu_block_device *device, struct dpu_block_request *request);
void remote_cancels_tick(struct remote *remote);
/* It is cancelled, and nothing of it is under way or in doubt. */
bool remote_request_over(const struct remote *remote, const struct dpu_block_request *request);

/* remote_io.c */
void remote_submit(struct dpu_block_device *device, struct dpu_block_request *request);
void remote_dispatch(struct remote *remote, struct dpu_block_request *request);
void remote_waiting_go(struct remote *remote);
void remote_request_fail(struct remote *remote, struct dpu_block_request *request, enum dpu_block_status status);
