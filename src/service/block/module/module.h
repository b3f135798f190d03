/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads out-of-tree block devices (dpu/block_module.h) and stands between them and everybody else: what they do wrong
 * is found, said with their name, and hurts nobody but their own device.
 *
 * A module is named by a word, never by a path: it is the file WORD.so of one folder that the operator of the DPU has
 * filled. The file and the folders above must belong to root or to dpud's user and be writable by nobody else. */
#pragma once

#include <dpu/block_module.h>
#include <stdbool.h>
#include "base/error.h"

struct block_module_options {
	const char *folder;    /* of modules; absolute */
	const char *module;    /* a word: a-z, 0-9, '-' and '_' */
	const char *name;      /* of the medium, for errors and traces; copied, as arguments */
	const char *arguments; /* NULL: none */
	/* For a filter, whose its `changed` is until it is closed; NULL: none. What it is like may only be looked at in
	 * its worker, where that was done: seen. */
	struct dpu_block_device *below;
	const struct dpu_block_device *below_seen;
	/* Any thread: the device wants to be polled. */
	void (*wake)(void *ctx);
	/* The device did what it must not, or does nothing; in its worker, seldom (once, and each minute). May be NULL.
	 */
	void (*complain)(void *ctx, const char *sentence);
	void *ctx;
};

/* Whether a module can have this name, and what such names are. */
bool block_module_name_check(const char *name);
#define BLOCK_MODULE_NAME_DOC "must be a word of a-z, 0-9, '-' and '_', the name of a file without its .so"

/* May block: not in a worker. Errors have path "module", or "arguments" when the module refuses to open: the file is
 * not there, is not to be trusted, is no module, was made for another version, opens a device that cannot be. */
int block_module_open(const struct block_module_options *options, struct dpu_block_device **ret, struct dpu_error *err);
/* In the worker, before the first request; `below` belongs to the same worker. */
void block_module_start(struct dpu_block_device *device);
/* In the worker: whether it has to be polled though it has not woken us. */
bool block_module_busy(const struct dpu_block_device *device);
/* In the worker, now and then: looks for requests that are not completed. False if there are none, so that nobody has
 * to look before there are. */
bool block_module_tick(struct dpu_block_device *device, uint64_t now_ns);
/* In the worker: requests that it has failed. */
uint64_t block_module_errors(const struct dpu_block_device *device);
