/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows that the driver refuses by itself, told to dpud so that people see why: counted by sentence, told a few times a
 * second at most. Any thread; nobody waits for anything. */
#pragma once

#include "dpu/eswitch_abi.h"

struct reports;
struct link;

int reports_new(struct reports **ret);
void reports_free(struct reports *reports);
/* The match as far as it was read; sentence is copied. */
void reports_add(struct reports *reports, enum eswitch_report what, const char *sentence,
		 const struct eswitch_fields *match, const struct eswitch_fields *mask);
/* Tells what there is to tell, if it is time. Costs a load when there is nothing. */
void reports_flush(struct reports *reports, struct link *link);
