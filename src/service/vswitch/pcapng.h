/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes packet captures in the pcapng format (draft-ietf-opsawg-pcapng), with nanosecond times and a comment per
 * packet. */
#pragma once

#include <stdint.h>
#include <stdio.h>

/* Section header and one interface description per name (numbered from 0), all Ethernet. 0 or a negative errno. */
int pcapng_begin(FILE *file, const char *const *interfaces, unsigned count, uint32_t snaplen);
/* time_ns: CLOCK_REALTIME. comment may be NULL. */
int pcapng_packet(FILE *file, uint32_t interface, uint64_t time_ns, const void *data, uint32_t captured,
		  uint32_t original, const char *comment);
