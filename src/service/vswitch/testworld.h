/* SPDX-License-Identifier: BSD-3-Clause */
/* The network that most tests of the switch live in, and packets within it:
 *
 *	blue (VPC 1, VNI 100)                            red (VPC 2, VNI 200)
 *	 a 10.0.0.0/24 fd00:a::/64                        10.0.0.0/24 fd00:a::/64
 *	   vnic 1  .11   vnic 2  .12                        vnic 4 .11   vnic 5 .12
 *	   remote .21 at VTEP 192.0.2.2
 *	 b 10.0.1.0/24 fd00:b::/64
 *	   vnic 3  .13
 *	   remote .22 at VTEP 192.0.2.3
 *	 route 172.16.0.0/16 → 10.0.0.12 (vnic 2), fd00:f::/64 → fd00:a::12
 *	 route 172.17.0.0/16 → VTEP 192.0.2.4
 *	 route 172.18.0.0/16 → drop
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "service/vswitch/testbed.h"

struct world {
	struct bed bed;
	struct dp_vpc *blue, *red;
	struct dp_subnet *a, *b, *red_a;
	struct dp_vnic *vnic[6]; /* by number, from 1 */
};

/* The one that the running test uses. */
extern struct world world;

#define MAC_REMOTE_21 "02:01:00:00:00:21"
#define MAC_REMOTE_22 "02:01:00:00:00:22"
#define VTEP_2        "192.0.2.2"
#define VTEP_3        "192.0.2.3"
#define VTEP_4        "192.0.2.4"
enum { BLUE_VNI = 100, RED_VNI = 200 };

void world_build(void);
/* cmocka's: world_build() and bed_start(); bed_fini(). */
int world_setup(void **unused);
int world_teardown(void **unused);

/* Builds spec and sends it from a vNIC, with its MAC unless spec has one. */
void world_send(unsigned vnic, const struct frame_spec *spec);
/* … from the underlay, as blue's. */
void world_send_from(const char *vtep, const struct frame_spec *spec);
/* The next frame to a vNIC; fails the test if there is none. Valid until the next call. */
struct frame *world_received(unsigned vnic);
struct frame *world_received_by(const char *vtep);
/* Nothing was sent anywhere, and just one packet was dropped, for this reason, since the last call of either kind. */
void world_dropped(enum drop_reason reason);
void world_dropped_many(enum drop_reason reason, unsigned packets);
/* Nothing was sent anywhere, and nothing dropped. */
void world_quiet(void);

/* Checks of a frame. */
void assert_macs(const struct frame *frame, const char *src, const char *dst);
void assert_ips(const struct frame *frame, const char *src, const char *dst);
unsigned frame_ttl(const struct frame *frame);
unsigned frame_be16(const struct frame *frame, uint32_t offset);
/* MAC text of a vNIC or of the router of a VPC; valid for the next few calls. */
const char *mac_of(unsigned vnic);
const char *router_mac(unsigned vpc);
