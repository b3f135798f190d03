/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk's load beside packets, in the generator's thread: random reads of 4 KiB, always so many under way. */
#pragma once

#include <stdio.h>

void disk_load_open(const char *socket, unsigned depth);
/* Looks after a few requests; between any two bursts of packets. */
void disk_load_turn(void);
/* What follows counts. */
void disk_load_begin(void);
/* Members of a JSON object. */
void disk_load_report(FILE *out, double seconds);
