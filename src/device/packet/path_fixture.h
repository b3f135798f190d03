/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the packet path share: a harness that is made for each case, frames, and what is expected of them.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "device/packet/path_harness.h"

/* The one of the running case; frames to build and compare. */
extern struct harness *h;
extern struct frame frame, inner, expected, result;

int path_setup(void **state);
int path_teardown(void **state);
#define PATH_CASE(name) cmocka_unit_test_setup_teardown(name, path_setup, path_teardown)

/* A→B, and what becomes of it behind the router. */
static const struct frame_spec a_to_b __attribute__((unused)) = { .payload = 100 };
static const struct frame_spec a_to_b_routed
	__attribute__((unused)) = { .payload = 100, .ttl = 63, .src_mac = "02:00:00:00:00:fe" };
static const struct frame_spec b_to_a __attribute__((unused)) = { .src = "10.0.0.2",
								  .dst = "10.0.0.1",
								  .src_port = 2000,
								  .dst_port = 1000,
								  .src_mac = "02:00:00:00:00:02",
								  .dst_mac = "02:00:00:00:00:fe" };

static const struct tunnel_spec from_peer __attribute__((
	unused)) = { .vni = HARNESS_VNI, .src_mac = "02:00:00:00:01:01", .dst_mac = "02:00:00:00:01:02" };

/* Of the same two in IPv6. */
static const char *const v6_src __attribute__((unused)) = "fd00::1";
static const char *const v6_dst __attribute__((unused)) = "fd00::2";

/* So many drops for this reason so far. */
void expect_drops(enum drop_reason reason, uint64_t count);
/* So many frames came out, all at this interface. */
void expect_out(unsigned count, uint16_t iface);
/* The frame that came out last is `expected`. */
void expect_frame(void);
/* The session of a frame, or NULL. */
struct session *the_session(const struct frame *f, unsigned *ret_direction);
