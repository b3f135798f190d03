/* SPDX-License-Identifier: BSD-3-Clause */
/* What opening a pool remembers between its steps. */
#pragma once

#include "service/block/store/store_priv.h"

enum { WINDOW_BLOCKS = 256 };

struct data_check;

struct recovery {
	struct raw_io io;
	uint8_t *buffer; /* a window of the ring */
	uint8_t *roots;
	uint64_t at;
	struct dpu_block_device *unknown; /* the first one without a superblock, and why */
	const char *why;
	struct walk walk;
	bool force;
	/* session.c */
	unsigned turn;
	command_step marked;
	/* replay.c */
	bool scanned;
	uint64_t window, window_blocks; /* of the ring */
	uint64_t sequence, block;       /* of the section that is looked at */
	uint64_t durable, last;
	uint64_t root_generation; /* the newest that a section speaks of */
	const struct section_header *section;
	bool from_tail, checked, checkpointing, failed;
	uint32_t record_at, check_at; /* bytes */
	uint32_t record, check;       /* number of the record in its section */
	struct data_check *data;
	uint32_t check_block;
	uint64_t *skip; /* for each record of the section, a bit for each block that is not there */
	struct waiter waiter;
};

/* ---- open.c ---- */
int refuse_failure(struct store *store, struct store_command *command); /* of the store */

/* ---- session.c ---- */
/* The newest one that a root is known to have had; superblocks of media that this root does not name count, too. */
uint64_t session_known(const struct store *store, const struct store_root *root);
/* No medium is a copy from before that one. */
int session_check(struct store *store, struct store_command *command, uint64_t known);
void session_begin(struct store *store);   /* a new one, which nothing on the media has */
void session_confirm(struct store *store); /* its root is durable */
/* Writes what was begun or confirmed to all superblocks, to one of each durably; then goes on at `then`. */
int session_mark(struct store *store, struct store_command *command, command_step then);

/* ---- replay_data.c ---- */
struct data_check *data_check_new(struct store *store);
void data_check_free(struct data_check *check);
/* A block that a record of the section speaks of: its bit in recovery->skip is set if it is not there. false: not now.
 */
bool data_check_add(struct store *store, uint64_t place, uint32_t crc, uint32_t record, uint32_t block);
bool data_check_end(struct store *store); /* all that were added are known */
