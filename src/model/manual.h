/* SPDX-License-Identifier: BSD-3-Clause */
/* Words for the facts of a field, shared by the manual's forms. */
#pragma once

#include "base/str.h"
#include "model/field.h"

/* "number, 68 to 9216 bytes, default 1500" */
void manual_facts(struct text *text, const struct field *field);
