/* SPDX-License-Identifier: BSD-3-Clause */
/* Block devices from outside: a shared object with one symbol, dpu_block_module, brings dpud a back end or a filter
 * (dpu/block.h). It needs this folder of headers and nothing else of us.
 *
 *     const struct dpu_block_module dpu_block_module = {
 *             DPU_BLOCK_MODULE_HEAD,
 *             .name = "mine",
 *             .open = mine_open,
 *     };
 *
 * Threads: open runs in a thread that may block. From then on submit, poll, cancel and close run in the one worker that
 * owns the device, where nothing may block: what must wait belongs into threads of the module's own, which hand what
 * they finished back to poll and call dpu_block_host.wake.
 *
 * dpud watches what it loads. A request that is completed twice, from within submit or cancel, or with a status that
 * does not exist makes the device fail, and an entry with the module's name in the log; one that is not completed for a
 * minute is reported. Nothing can be done about a module that writes where it must not: it runs with all rights of
 * dpud. */
#pragma once

#include <stddef.h>
#include <dpu/block.h>

/* Of this file and of dpu/block.h together: the first differs when a module must be changed, the second when it must be
 * compiled again. */
enum { DPU_BLOCK_MODULE_VERSION = 1 };

#define DPU_BLOCK_MODULE_HEAD                                                                                          \
	.module_version = DPU_BLOCK_MODULE_VERSION, .block_version = DPU_BLOCK_ABI_VERSION,                            \
	.module_bytes = sizeof(struct dpu_block_module), .request_bytes = sizeof(struct dpu_block_request),            \
	.device_bytes = sizeof(struct dpu_block_device)

/* What dpud offers the device while it is open. */
struct dpu_block_host {
	/* Any thread: the device has something to do in poll. A device without a thread need not call it: it is polled
	 * as long as it has requests. */
	void (*wake)(const struct dpu_block_host *host);
	/* Any thread but the worker: a line in dpud's log. */
	void (*log)(const struct dpu_block_host *host, const char *text);
};

struct dpu_block_open {
	const char *name;      /* of the medium; lent, as all here, until close is done */
	const char *arguments; /* the user's, "" if there are none; what they mean is the module's choice */
	/* Of a filter: what it sits on, a medium, another filter or a namespace of another machine. It belongs to this
	 * filter alone from open until close is done, and to the same worker: requests may be submitted to it in
	 * submit, poll, `changed` and close, not in open; and cancelled in cancel and poll. It needs not be polled and
	 * must not be closed. What dpu_block_check() has something against comes back with that status. Its size and
	 * features may change: it calls its `changed`, which is the filter's to set in open, and which is where the
	 * filter takes them over, calling its own device's `changed` then. NULL for a back end. */
	struct dpu_block_device *below;
	const struct dpu_block_host *host;
};

struct dpu_block_module {
	uint32_t module_version, block_version, module_bytes, request_bytes, device_bytes; /* DPU_BLOCK_MODULE_HEAD */
	const char *name;
	bool filter; /* needs `below` */
	/* 0 and a device whose fields keep what dpu/block.h says of them; or a negative errno, with a sentence in why
	 * that says what was wrong and what would be right. */
	int (*open)(const struct dpu_block_open *open, struct dpu_block_device **ret, char *why, size_t why_bytes);
};

extern const struct dpu_block_module dpu_block_module;
