/* SPDX-License-Identifier: BSD-3-Clause */
/* Text in manual pages (mdoc). */
#pragma once

#include <stdio.h>

/* Prose as it stands: nothing in it is a request or an escape, and each sentence ends its line. */
void roff_prose(FILE *out, const char *text);
