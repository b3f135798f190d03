/* SPDX-License-Identifier: BSD-3-Clause */
/* Block devices: what a volume, a medium, a remote namespace and a filter on top of one all are.
 *
 * A device takes requests and completes each exactly once, in any order, never from within submit. Filters stack: a
 * filter is a device that submits requests of its own to the device below.
 *
 * Threads: a device belongs to one worker. submit, and every done that it leads to, run there; who is elsewhere hands
 * requests over and gets them back by a ring. Changes of size and the end of a device are announced by its owner in the
 * same thread.
 *
 * Integrity: with DPU_BLOCK_CRC a request carries a CRC32C (RFC 3720, appendix B.4: initial value and final xor all
 * ones) of each block of DPU_BLOCK_BYTES, computed where the data entered and checked at every hand-over. A write whose
 * data contradicts its CRC fails with DPU_BLOCK_INTEGRITY, and no block has such data afterwards.
 *
 * Durability: a completed write is seen by every later read. It outlives a power failure when it carried
 * DPU_BLOCK_FUA, or once a flush that was submitted after its completion has completed; before, each block of it is
 * after a power failure as before or as after the write, nothing else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	DPU_BLOCK_ABI_VERSION = 2,      /* of this file */
	DPU_BLOCK_BYTES = 4096,         /* what has one CRC, and is atomic at a power failure */
	DPU_BLOCK_SECTOR = 512,         /* least alignment of any offset and length */
	DPU_BLOCK_MAX_BYTES = 16 << 20, /* of one read, write or compare */
	DPU_BLOCK_MAX_SEGMENTS = 1026,
};

enum dpu_block_op {
	DPU_BLOCK_READ,
	DPU_BLOCK_WRITE,
	DPU_BLOCK_FLUSH,        /* no offset or length */
	DPU_BLOCK_DISCARD,      /* reads as zeroes afterwards if the device says so; may free space */
	DPU_BLOCK_WRITE_ZEROES, /* frees space unless DPU_BLOCK_KEEP is set */
	DPU_BLOCK_COMPARE,      /* fails with DPU_BLOCK_MISCOMPARE */
	DPU_BLOCK_OPS,
};

enum dpu_block_flag {
	DPU_BLOCK_FUA = 1 << 0,  /* write, write zeroes, discard: durable when completed */
	DPU_BLOCK_CRC = 1 << 1,  /* `crc` counts, for a device with DPU_BLOCK_F_CRC: read fills it in, write and compare
				  * check it; offset and length are  multiples of DPU_BLOCK_BYTES */
	DPU_BLOCK_KEEP = 1 << 2, /* write zeroes: leave the space allocated */
};

/* Each has its number in statistics and its translation in every front end. */
enum dpu_block_status {
	DPU_BLOCK_OK,
	DPU_BLOCK_IO_ERROR,  /* the medium or the path to it failed */
	DPU_BLOCK_INTEGRITY, /* data contradicts its CRC */
	DPU_BLOCK_NO_SPACE,  /* the pool is full */
	DPU_BLOCK_RANGE,     /* beyond the end, or not aligned */
	DPU_BLOCK_READ_ONLY,
	DPU_BLOCK_UNSUPPORTED,
	DPU_BLOCK_MISCOMPARE,
	DPU_BLOCK_CONFLICT, /* a reservation of somebody else */
	DPU_BLOCK_GONE,     /* the device is going away or its volume is quarantined; never by itself again */
	DPU_BLOCK_STATUSES,
};

/* When a medium was at work for a request, by a clock of the submitter's choice (dpud: the processor's cycle counter);
 * 0: none was. A filter hands the pointer down; a device that has media below notes when the first got something to do
 * for it and when the last was done. */
struct dpu_block_trace {
	uint64_t begin, end;
};

/* Owned by the submitter; from submit to done it is lent to the device, and neither it nor its buffers may change. */
struct dpu_block_request {
	/* from the submitter */
	uint8_t op;              /* enum dpu_block_op */
	uint8_t flags;           /* of enum dpu_block_flag */
	uint16_t segments;       /* of iov; 0 for those without data */
	uint32_t tag;            /* the submitter's, for traces */
	uint64_t offset, length; /* bytes */
	const struct iovec *iov; /* sums up to length */
	uint32_t *crc;           /* one for each block */
	void (*done)(struct dpu_block_request *request);
	struct dpu_block_trace *trace; /* may be NULL */
	/* from the device, valid in done */
	uint8_t status; /* enum dpu_block_status */
	/* free for the device while it has the request: a link of a queue, and what it needs to know */
	struct dpu_block_request *next;
	uint64_t scratch[2];
};

struct dpu_block_device;

struct dpu_block_ops {
	/* Takes a request that dpu_block_check() has nothing against. A burst is several calls; work that is cheaper
	 * together (a system call) waits for the end of the worker's round. Never fails: what cannot be done completes
	 * with a status. */
	void (*submit)(struct dpu_block_device *device, struct dpu_block_request *request);
	/* Bounded work that the device has to do in its worker (completions); returns how much. NULL if there is none.
	 */
	unsigned (*poll)(struct dpu_block_device *device);
	/* Completes what it has (DPU_BLOCK_GONE if it must), then calls done and is no more. */
	void (*close)(struct dpu_block_device *device, void (*done)(void *arg), void *arg);
	/* The submitter has no more use for a request that is under way: if it waits here for its turn, or comes to
	 * wait again, it may complete with DPU_BLOCK_GONE, as soon as nothing more of it can be carried out and not
	 * from within this call; else nothing changes. A filter passes it on for the request of its own that is below.
	 * NULL: nothing waits for long, or must not be left half done. */
	void (*cancel)(struct dpu_block_device *device, struct dpu_block_request *request);
};

enum dpu_block_feature {
	DPU_BLOCK_F_FLUSH = 1 << 0,        /* has a volatile cache: flush and FUA mean something */
	DPU_BLOCK_F_DISCARD = 1 << 1,      /* and write zeroes */
	DPU_BLOCK_F_ZERO_DISCARD = 1 << 2, /* what is discarded reads as zeroes */
	DPU_BLOCK_F_CRC = 1 << 3, /* looks at CRCs: a read with DPU_BLOCK_CRC is checked against what was written, or
				   * what was sent from where it lies, and has those CRCs */
	DPU_BLOCK_F_READ_ONLY = 1 << 4,
};

/* The part of a device that others see; embedded first in what implements it. */
struct dpu_block_device {
	const struct dpu_block_ops *ops;
	const char *name; /* for errors and traces */
	uint64_t bytes;   /* multiple of `sector` */
	uint32_t sector;  /* least unit of a request: 512 or 4096 */
	uint32_t features;
	uint32_t max_bytes; /* of a read, write or compare; at most DPU_BLOCK_MAX_BYTES */
	uint32_t alignment; /* of buffers; 1 = any */
	/* Called by the device when `bytes` or `features` have changed or it has become GONE; set by who uses it. */
	void (*changed)(void *ctx);
	void *changed_ctx;
};

/* Whether a request is within the device and its rules; the status that it must fail with if not. */
static inline enum dpu_block_status dpu_block_check(const struct dpu_block_device *device,
						    const struct dpu_block_request *request)
{
	uint64_t unit = request->flags & DPU_BLOCK_CRC ? DPU_BLOCK_BYTES : device->sector;

	if (request->op >= DPU_BLOCK_OPS)
		return DPU_BLOCK_UNSUPPORTED;
	if (request->op == DPU_BLOCK_FLUSH)
		return DPU_BLOCK_OK;
	if ((request->flags & DPU_BLOCK_CRC) && !(device->features & DPU_BLOCK_F_CRC))
		return DPU_BLOCK_UNSUPPORTED;
	if ((request->offset | request->length) % unit != 0 || request->offset > device->bytes ||
	    request->length > device->bytes - request->offset)
		return DPU_BLOCK_RANGE;
	bool data = request->op == DPU_BLOCK_READ || request->op == DPU_BLOCK_WRITE || request->op == DPU_BLOCK_COMPARE;
	if (data && request->length > device->max_bytes)
		return DPU_BLOCK_RANGE;
	if ((request->op == DPU_BLOCK_DISCARD || request->op == DPU_BLOCK_WRITE_ZEROES) &&
	    !(device->features & DPU_BLOCK_F_DISCARD))
		return DPU_BLOCK_UNSUPPORTED;
	if ((device->features & DPU_BLOCK_F_READ_ONLY) && request->op != DPU_BLOCK_READ &&
	    request->op != DPU_BLOCK_COMPARE)
		return DPU_BLOCK_READ_ONLY;
	return DPU_BLOCK_OK;
}

static inline void dpu_block_complete(struct dpu_block_request *request, enum dpu_block_status status)
{
	request->status = (uint8_t)status;
	request->done(request);
}

/* For filters: a request of their own that asks the device below for the same, and ends in done. */
static inline struct dpu_block_request dpu_block_request_below(const struct dpu_block_request *request,
							       void (*done)(struct dpu_block_request *request))
{
	return (struct dpu_block_request){
		.op = request->op,
		.flags = request->flags,
		.segments = request->segments,
		.tag = request->tag,
		.offset = request->offset,
		.length = request->length,
		.iov = request->iov,
		.crc = request->crc,
		.done = done,
		.trace = request->trace,
	};
}
