/* SPDX-License-Identifier: BSD-3-Clause */
/* A DPU with the block service alone, for tests: a model with tenants in memory or in a file, real workers, media on a
 * tmpfs. Further services can be added. */
#pragma once

#include <stdio.h>
#include "operating/test_rig.h"
#include "service/block/block.h"

struct block_rig {
	struct rig base;
	struct dpu dpu;
	const struct object_class *extra;      /* one more class, or NULL */
	const struct service *const *services; /* NULL-terminated: block and others, in order of start */
	char dir[64];                          /* of its own, on a tmpfs */
	FILE *remover;                 /* a process that removes it when this is closed, whatever this test dies of */
	char store[96], state_dir[96]; /* in it */
};

/* As cmocka wants them: *state is the rig, with two workers. */
int block_rig_setup(void **state);
int block_rig_teardown(void **state);
/* services NULL: the block service alone. */
void block_rig_new(struct block_rig *rig, unsigned workers, const struct service *const *services);
void block_rig_free(struct block_rig *rig);
/* As a restart of dpud has it; the files stay. */
void block_rig_up(struct block_rig *rig);
void block_rig_down(struct block_rig *rig);

/* A document (JSON with ' for ") is applied, without deleting what it does not name; fails the test. */
void block_rig_apply(struct block_rig *rig, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One change, waited for; 0 or an errno, and the sentence. */
int block_rig_change(struct block_rig *rig, enum change_op op, const char *class_name, const char *key,
		     const char *fields, struct dpu_error *err);
int block_rig_delete(struct block_rig *rig, const char *class_name, const char *key, bool cascade,
		     struct dpu_error *err);
/* While it is on, the store says no when a transaction has been applied. */
void block_rig_fail_commits(bool on);
struct object *block_rig_find(struct block_rig *rig, const char *class_name, const char *name);
/* One field as text ("" if it is not set), state included; valid until the next call. */
const char *block_rig_field(struct block_rig *rig, const char *class_name, const char *name, const char *field);
#define FIELD_IS(rig_, class_, name_, field_, value_)                                                                  \
	assert_string_equal(block_rig_field(rig_, class_, name_, field_), value_)
/* Tenant blue, medium m of 64 MiB in a file, pool p on it, volume v of 16 MiB. */
void block_rig_pool(struct block_rig *rig);
/* An action, waited for; the result is the caller's. */
json_t *block_rig_action(struct block_rig *rig, const char *class_name, const char *action, const char *key,
			 json_t *args, struct dpu_error *err);

/* As when the pool finds that it cannot read the volume's map. */
void block_rig_quarantine(struct block_rig *rig, const char *volume);

/* A front end: attaches, and does I/O that is waited for. */
struct block_rig_user {
	struct block_rig *rig;
	struct block_attachment *attachment;
	struct dpu_block_device *device;  /* NULL: not now */
	struct dpu_block_device *watched; /* the worker's */
	struct worker *worker;
	bool hold, asked; /* hold: does not release by itself when it is asked back */
	unsigned given;   /* how often it got a device */
	atomic_uint changes;
};

void block_rig_attach(struct block_rig_user *user, struct block_rig *rig, const char *class_name, const char *name,
		      struct worker *worker);
/* … as if it were this volume of a tenant, with a policy ("": none). */
void block_rig_attach_as(struct block_rig_user *user, struct block_rig *rig, const char *class_name, const char *name,
			 struct worker *worker, const char *as, const char *policy);
void block_rig_release(struct block_rig_user *user);
void block_rig_detach(struct block_rig_user *user);
enum dpu_block_status block_rig_io(struct block_rig_user *user, enum dpu_block_op op, uint64_t offset, void *data,
				   uint64_t length, unsigned flags);
/* A block that says which version it is. */
void block_rig_fill(uint8_t *data, unsigned version);
void block_rig_write(struct block_rig_user *user, uint64_t block, unsigned version);  /* with FUA */
void block_rig_expect(struct block_rig_user *user, uint64_t block, unsigned version); /* version 0: zeroes */
