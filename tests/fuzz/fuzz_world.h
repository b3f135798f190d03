/* SPDX-License-Identifier: BSD-3-Clause */
/* For fuzzers of the switch: the tests' world, made once, and frames in memory of exactly their length, so that
 * AddressSanitizer sees every byte that is read beyond. */
#pragma once

#include "service/vswitch/testworld.h"

/* World with DHCP data, names and security groups in it, and one worker. Once per process. */
void fuzz_world(void);
/* A frame as the path gets it; mostly with headroom, not a byte behind it. Split in two buffers at `split` if that is
 * within it. */
struct rte_mbuf *fuzz_mbuf(const void *bytes, uint32_t length, uint32_t split);
/* In buffers of these sizes, the last of all that is left; headroom in front of the first, not a byte behind any. */
struct rte_mbuf *fuzz_chain(const void *bytes, uint32_t length, uint32_t headroom, const uint32_t *parts);
/* From an interface. */
void fuzz_input(uint16_t iface, const void *bytes, uint32_t length, uint32_t split);
/* How a client speaks to a service over UDP: first to all, without an address of its own, then to the gateway. */
struct fuzz_client {
	const char *any, *all, *own, *gateway;
	uint16_t port, service_port;
};
/* Both messages with this payload (1,500 bytes at most, more is passed over) from the first vNIC, then drain and audit.
 */
void fuzz_messages(const struct fuzz_client *client, const uint8_t *data, size_t size);
/* Takes what was sent, everywhere; well_formed: all of it is of our own making and must be right. */
void fuzz_drain(bool well_formed);
/* Housekeeping as of so many seconds later, up to 300. */
void fuzz_tick(unsigned seconds);
/* At the end of every input: no buffer is lost. Every so many calls: accounts agree with the sessions that exist. */
void fuzz_audit(void);
