/* SPDX-License-Identifier: BSD-3-Clause */
/* The known word that a mistyped one was probably meant to be, for error messages. */
#pragma once

#include <stddef.h>

/* Offers candidates one by one and keeps the nearest. Start from { .word = what was typed }. */
struct suggestion {
	const char *word;
	const char *best; /* NULL: nothing is near enough */
	size_t distance;
};

/* candidate must live as long as the suggestion. */
void suggest(struct suggestion *suggestion, const char *candidate);
