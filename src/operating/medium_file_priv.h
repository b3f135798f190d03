/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a medium on a file: what opening finds out, and requests under way. */
#pragma once

#include "device/block/block_queue.h"
#include "operating/medium_file.h"
#include "operating/uring_fixed.h"

struct medium_file;

/* A request under way. */
struct file_op {
	struct uring_op op; /* first */
	struct medium_file *file;
	struct dpu_block_request *request;
	struct file_op *next;
	uint64_t moved;      /* bytes so far: the kernel may do less than it was asked for */
	struct iovec *rest;  /* segments of what is left */
	uint8_t *copy;       /* aligned, when the request's own memory is not */
	struct iovec copied; /* … as a segment */
	bool zeroing;        /* write zeroes by writing them */
};

enum { FILE_OPS = 512 };

struct medium_file {
	struct dpu_block_device device; /* first */
	struct uring *uring;
	int fd, number; /* number: of the registered descriptor, from the first request on */
	bool direct, block_device;
	uint32_t memory_alignment; /* of buffers, when direct */
	struct block_queue waiting;
	struct file_op *free;
	unsigned under_way;
	struct medium_file_stats stats;
	bool asked; /* for the number */
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
	struct file_op ops[FILE_OPS];
	char path[];
};

/* medium_file_open.c: opens, locks and measures; fills in file->fd and what goes with it. */
int medium_file_attach(struct medium_file *file, const struct medium_file_options *options, struct dpu_error *err);
int medium_file_size(int fd, uint64_t *ret);
