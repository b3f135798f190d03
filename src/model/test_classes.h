/* SPDX-License-Identifier: BSD-3-Clause */
/* Classes for the model's tests, and a service behind them that keeps book of what is in force. */
#pragma once

#include <jansson.h>
#include "model/model.h"

enum { TEST_IN_FORCE_MAX = 4096 };

struct test_vnic {
	struct object base;
	struct ref subnet;
	struct mac_addr mac;
	uint16_t mtu;
	struct ref_list groups;
	char *hostname;
	char *password;
	bool enabled;
	uint8_t mode;
	struct ip_list addresses;
	struct string_list notes;
	/* read-only */
	uint8_t link;
	uint64_t rx_packets;
	uint64_t tx_bytes;
	uint32_t queue_depth;
	char *peer;
};

struct test_vpc {
	struct object base;
	uint32_t vni;
	uint8_t encapsulation;
};

struct test_subnet {
	struct object base;
	struct ref vpc;
	struct ip_prefix prefix;
	struct prefix_list extra;
};

struct test_group {
	struct object base;
	char *description;
};

struct test_tenant {
	struct object base;
	uint32_t max_objects;
};

/* Refers to its own class. */
struct test_hop {
	struct object base;
	struct ref next;
};

struct test_port {
	struct object base;
	char *device;
	uint32_t speed;
};

struct test_dpu {
	struct object base;
	char *contact;
	uint64_t uptime;
};

/* What the service believes. Identity and the version's address must agree with the model's at all times. */
struct test_service {
	struct in_force {
		struct uuid uuid;
		const struct object *version;
	} in_force[TEST_IN_FORCE_MAX];
	size_t count;
	unsigned applies, removes, commits, forgets, validates;
	int fail_remaining; /* counts down the calls of apply(); the one that reaches 0 fails */
	int fail_again;     /* the same, for calls that undo */
	bool undoing;       /* since a failure: in reverse order, references may be ahead of their targets */
	const char *fault;  /* first disagreement with the model, or NULL */
	char order[8192];   /* "+name" created, "~name" changed, "-name" removed, blanks between */
	struct model *model;
	json_t *last_args;
	struct action_reply *pending;
	bool refuse_validate;
	unsigned outdated;              /* values told at the last start … */
	struct dpu_error outdated_last; /* … and the last of them */
};

extern const struct object_class *const test_classes[]; /* NULL-terminated */

/* A model with all test classes, loaded. store NULL: in memory. */
struct model *test_model(struct test_service *service, const char *store);
int test_model_try(struct test_service *service, const char *store, struct model **ret, struct dpu_error *err);

/* One change as a transaction; fields is JSON text with ' for ". */
int test_change(struct model *model, enum change_op op, const char *class, const char *key, const char *fields,
		struct dpu_error *err);
/* The same, which must succeed. */
void test_do(struct model *model, enum change_op op, const char *class, const char *key, const char *fields);
json_t *test_json(const char *text);
int test_add(struct txn *txn, enum change_op op, const char *class, const char *key, const char *fields);
/* Commits and frees; the result is there when this returns, since tests have no barrier (or run it at once). */
int test_commit(struct txn *txn, struct dpu_error *err, json_t **ret_diff);

/* All objects as JSON, sorted by path: for comparing states. New reference. */
json_t *test_dump(struct model *model);
/* Compares the service's book with the model; fails the test on a difference. */
void test_check_book(struct model *model, struct test_service *service);
/* "tenant blue", "vpc", "subnet", group objects for vNICs. */
void test_seed(struct model *model);
