/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe/TCP target without sockets: subsystems with their namespaces and controllers, and queues, each of which is
 * the target's end of one TCP connection. Bytes come in by nvme_queue_input() and go out by the transport's ops.
 * NVM Express Base 2.0, NVM Command Set 1.0, TCP Transport 1.0.
 *
 * Threads: a subsystem, all its queues and the views of the devices of its namespaces belong to one worker; every call
 * and callback is there. A queue that is not connected yet belongs to nobody but its transport and may be elsewhere.
 *
 * Reservations are kept by host identifier. What must survive a power loss is handed out as an image (persist). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <dpu/block.h>
#include "device/nvme/nvme_buffer.h"
#include "device/nvme/nvme_data.h"
#include "device/nvme/nvme_spec.h"

struct nvme_subsystem;
struct nvme_namespace;
struct nvme_queue;

enum {
	NVME_TARGET_MDTS = 8,               /* 2^8 × 4 KiB = 1 MiB, the largest buffer */
	NVME_TARGET_IO_ICD_BYTES = 8192,    /* in-capsule data of I/O queues */
	NVME_TARGET_MAXH2CDATA = 128 << 10, /* of an H2CData */
	NVME_TARGET_QUEUES_MAX = 128,       /* I/O queues of a controller */
	NVME_TARGET_ENTRIES_MAX = 1024,     /* of a queue */
	NVME_TARGET_CONTROLLERS_MAX = 4096, /* of a subsystem */
	NVME_TARGET_NAMESPACES_MAX = 1024,  /* highest NSID */
	NVME_TARGET_PORTS_MAX = 64,         /* of a subsystem */
	NVME_TARGET_ANA_GROUPS = 32,        /* 1 to … */
	NVME_TARGET_ANA_LOST = 33,          /* of namespaces whose device does not come */
	NVME_TARGET_REGISTRANTS_MAX = 64,   /* hosts registered with a namespace */
	NVME_TARGET_AERS = 4,               /* asynchronous event requests outstanding */
	NVME_TARGET_KEEP_ALIVE_UNIT_MS = 100,
	NVME_TARGET_TAKE_BYTES = 16 << 10, /* data of a PDU that is asked for in place: at least so much */
};
_Static_assert(NVME_BUFFER_MAX_BYTES == NVME_BUFFER_MIN_BYTES << NVME_TARGET_MDTS, "a buffer holds any transfer");

/* ---- queues ---- */

/* Lent to the transport until done; embedded in what waits for it. */
struct nvme_send {
	const struct iovec *iov;
	unsigned segments;
	void (*done)(struct nvme_send *send, int error);
	uint64_t transport[8]; /* the transport's own */
};

struct nvme_transport_ops {
	/* Sends after what was sent before; done is called once, in order, possibly from within this call. */
	void (*send)(void *ctx, struct nvme_send *send);
	/* Input that nvme_queue_input() has not consumed is wanted again. */
	void (*resume)(void *ctx);
	/* The connection is over: break it, after what was sent when `graceful`. All sends are done first, then
	 * nvme_queue_closed(), which must not be called from within this call. At most once. */
	void (*close)(void *ctx, bool graceful);
	/* A host connects to data->subnqn, which may be anything: answer by nvme_queue_connect(), now or later. Input
	 * pauses until then. sqe and data stay. */
	void (*connect)(void *ctx, const struct nvme_connect_sqe *sqe, const struct nvme_connect_data *data);
	/* The next `bytes` from the host, after what nvme_queue_input() has consumed, go to `to`, which is lent until
	 * nvme_queue_taken(). Called within that call, or within nvme_queue_taken(); one at a time. NULL: all bytes
	 * come by nvme_queue_input(). */
	void (*take)(void *ctx, uint8_t *to, uint32_t bytes);
	/* After nvme_queue_closed(): nothing is outstanding, nvme_queue_free() may be called (in this call, too). */
	void (*idle)(void *ctx);
};

int nvme_queue_new(const struct nvme_transport_ops *ops, void *ctx, struct nvme_queue **ret); /* -ENOMEM */
/* Another transport, for a queue without sends under way: between `connect` and its answer. */
void nvme_queue_move(struct nvme_queue *queue, const struct nvme_transport_ops *ops, void *ctx);
void nvme_queue_free(struct nvme_queue *queue);
/* Bytes from the host; returns how many were consumed. The rest comes again after `resume`. */
size_t nvme_queue_input(struct nvme_queue *queue, const uint8_t *bytes, size_t count);
/* What `take` has lent comes back: with all bytes, or with an error, as the connection has ended. Always, and before
 * nvme_queue_closed(). */
void nvme_queue_taken(struct nvme_queue *queue, int error);
/* subsystem NULL: there is none by this name, or no such port: refused as the specification says. */
void nvme_queue_connect(struct nvme_queue *queue, struct nvme_subsystem *subsystem, uint16_t port);
/* Not now: the host may try again. */
void nvme_queue_connect_later(struct nvme_queue *queue);
bool nvme_queue_is_connected(const struct nvme_queue *queue);
/* The connection is gone, by our own close or otherwise. All its sends are done. */
void nvme_queue_closed(struct nvme_queue *queue);
/* Ends the connection: close() follows unless it was called already. */
void nvme_queue_end(struct nvme_queue *queue);

/* ---- subsystems ---- */

enum nvme_target_event {
	NVME_TARGET_CONTROLLER_UP,
	NVME_TARGET_CONTROLLER_DOWN,
	NVME_TARGET_QUEUE_UP,
	NVME_TARGET_QUEUE_DOWN,
	/* The 1st, 2nd, 4th, 8th, … of a controller: a notice is work and a line in a log, and a host could make a
	 * million a second. The subsystem's counters have each of them. */
	NVME_TARGET_DIGEST_ERROR,
};

/* Why a controller or queue went. */
enum nvme_target_reason {
	NVME_REASON_NONE,
	NVME_REASON_HOST,       /* disconnected, reset or shut down */
	NVME_REASON_CLOSED,     /* its connection broke */
	NVME_REASON_KEEP_ALIVE, /* timer expired */
	NVME_REASON_CONTROL,    /* host, port, or subsystem removed */
	NVME_REASON_PROTOCOL,   /* a PDU that the specification forbids */
	NVME_REASON_STALLED,    /* it did not take what was sent to it, or send what it owed */
	NVME_REASONS,
};

struct nvme_target_notice {
	enum nvme_target_event event;
	enum nvme_target_reason reason;
	uint16_t cntlid, qid, port;
	uint16_t entries; /* of the queue */
	uint8_t digests;  /* enum nvme_tcp_digest */
	uint32_t kato_ms;
	uint64_t digest_errors; /* of the controller so far; until the next notice there may be as many again */
	const char *hostnqn;
	const uint8_t *hostid;
};

struct nvme_subsystem_ops {
	void (*notice)(void *ctx, const struct nvme_target_notice *notice); /* may be NULL */
	/* The reservations of ns are to be as in image even after a power loss (bytes 0: there are none). done(arg)
	 * with 0 or a negative errno, possibly from within. One at a time for each namespace. NULL: no persistence. */
	void (*persist)(void *ctx, struct nvme_namespace *ns, const void *image, size_t bytes,
			void (*done)(void *arg, int error), void *arg);
};

struct nvme_subsystem_options {
	const char *nqn, *serial, *model, *firmware; /* ASCII; copied, cut to the fields' sizes */
	bool discovery;
	uint16_t max_queues, max_entries, max_controllers; /* 0 = the most */
	struct nvme_account *account;                      /* who pays for buffers; outlives it */
	const struct nvme_subsystem_ops *ops;
	void *ctx;
};

/* Single writer: the worker. */
struct nvme_subsystem_stats {
	_Atomic uint64_t protocol_errors;      /* connections that ended by a PDU that is forbidden, other than … */
	_Atomic uint64_t header_digest_errors; /* … by a header whose digest is wrong */
	_Atomic uint64_t data_digest_errors;   /* data that was not taken */
	_Atomic uint64_t memory_refusals;      /* Connects: no memory for queues */
};

int nvme_subsystem_new(const struct nvme_subsystem_options *options, struct nvme_subsystem **ret); /* -ENOMEM */
/* Without namespaces and queues. */
void nvme_subsystem_free(struct nvme_subsystem *subsystem);
/* Ends all controllers; with refuse, new connections are refused as busy from now on. */
void nvme_subsystem_end(struct nvme_subsystem *subsystem, bool refuse);
const struct nvme_subsystem_stats *nvme_subsystem_stats(const struct nvme_subsystem *subsystem);
unsigned nvme_subsystem_queues(const struct nvme_subsystem *subsystem); /* that are connected */
/* Who may connect: any host, or those of the list; others that are connected are ended. Copies. -ENOMEM */
int nvme_subsystem_hosts(struct nvme_subsystem *subsystem, bool any, const char *const *nqns, unsigned count);
/* A port by which hosts reach it, new or changed: state[g - 1] of ANA group g (enum nvme_ana_state). -ENOSPC */
int nvme_subsystem_port(struct nvme_subsystem *subsystem, uint16_t port, const uint8_t state[NVME_TARGET_ANA_GROUPS]);
void nvme_subsystem_port_remove(struct nvme_subsystem *subsystem, uint16_t port);
unsigned nvme_subsystem_ports(const struct nvme_subsystem *subsystem, uint16_t ret[NVME_TARGET_PORTS_MAX]);
/* Keep-alive timers; about every NVME_TARGET_KEEP_ALIVE_UNIT_MS. Returns ns until it has to be called again,
 * UINT64_MAX if there is no timer. */
uint64_t nvme_subsystem_tick(struct nvme_subsystem *subsystem, uint64_t now_ns);

/* ---- namespaces ---- */

/* Single writer: the worker. */
struct nvme_namespace_stats {
	_Atomic uint64_t requests[DPU_BLOCK_OPS], bytes[DPU_BLOCK_OPS], statuses[DPU_BLOCK_STATUSES];
	_Atomic uint64_t reservation_conflicts, path_errors;
};

struct nvme_namespace_options {
	uint32_t nsid; /* 1 to NVME_TARGET_NAMESPACES_MAX */
	uint8_t uuid[16];
	uint32_t ana_group;
	uint32_t block_bytes; /* 512 or 4096; 0 = the device's sector */
	void *ctx;            /* of who made it */
	const void *image;    /* of reservations, as persist has given it; bytes 0 = none. A bad one is refused */
	size_t image_bytes;
};

/* -EEXIST, -EINVAL (the options, the image), -ENOMEM. It becomes visible when its device comes. */
int nvme_namespace_add(struct nvme_subsystem *subsystem, const struct nvme_namespace_options *options,
		       struct nvme_namespace **ret);
/* No more visible; removed(arg) when nothing is outstanding: it is no more then. The device must have been taken. */
void nvme_namespace_remove(struct nvme_namespace *ns, void (*removed)(void *arg), void *arg);
/* The device has come. allocated: the bytes that it takes of what it is thin on, as somebody counts them until it is
 * released; NULL: it is not thin, or nobody counts. */
void nvme_namespace_attach(struct nvme_namespace *ns, struct dpu_block_device *device,
			   const _Atomic uint64_t *allocated);
/* The device is going: commands wait a while for the next one, then get a status that makes hosts try again.
 * released(arg), maybe before the return, when nothing is outstanding in it. */
void nvme_namespace_release(struct nvme_namespace *ns, void (*released)(void *arg), void *arg);
/* Nobody needs to wait for what is under way in its device, which is being released or is about to be: what waits there
 * ends as soon as the device lets go of it. */
void nvme_namespace_cancel(struct nvme_namespace *ns);
/* The device is away and does not come until somebody has done something about that: commands fail at once, with a
 * status that has hosts take another path or wait, and hosts see the namespace in an ANA group that is inaccessible.
 * bytes: how large it is, for hosts that have not seen a device of it; 0: not known, it stays unseen. Until
 * nvme_namespace_attach(). */
void nvme_namespace_lost(struct nvme_namespace *ns, uint64_t bytes);
/* The device has another size. */
void nvme_namespace_resized(struct nvme_namespace *ns);
void *nvme_namespace_ctx(const struct nvme_namespace *ns);
uint32_t nvme_namespace_id(const struct nvme_namespace *ns);
const struct nvme_namespace_stats *nvme_namespace_stats(const struct nvme_namespace *ns);

/* ---- discovery ---- */

/* What a discovery subsystem tells a host: an entry of the log, for all hosts or for those of a list. */
struct nvme_discovery_record {
	struct nvme_discovery_entry entry;
	bool any_host;
	const char *const *hosts; /* NQNs */
	unsigned host_count;
};

/* Replaces the log of a discovery subsystem; records and what they point to are the caller's and stay until the next
 * call or the subsystem's end. Hosts that asked for it get an event. generation: of the log (GENCTR), another for each.
 */
void nvme_subsystem_discovery(struct nvme_subsystem *subsystem, const struct nvme_discovery_record *records,
			      unsigned count, uint64_t generation);
