/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearness of words: the number of letters to insert, remove, replace or swap with the neighbour. */
#include "base/suggest.h"

#include <string.h>

enum { WORD_MAX = 48 }; /* longer words get no suggestion */

static size_t smallest(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;
	return least < c ? least : c;
}

/* Optimal string alignment distance. Rows of the matrix: two before, before, current. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *older = rows[0], *old = rows[1], *now = rows[2];

	for (size_t j = 0; j <= b_length; j++)
		old[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		now[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			now[j] = smallest(old[j] + 1, now[j - 1] + 1, old[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && older[j - 2] + 1 < now[j])
				now[j] = older[j - 2] + 1;
		}
		size_t *spare = older;
		older = old;
		old = now;
		now = spare;
	}
	return old[b_length];
}

void suggest(struct suggestion *suggestion, const char *candidate)
{
	size_t length = strlen(suggestion->word), other = strlen(candidate);
	if (length == 0 || length > WORD_MAX || other > WORD_MAX)
		return;
	size_t far = 1 + length / 4; /* more differences than this is another word */
	size_t d = distance(suggestion->word, length, candidate, other);
	/* What was typed may also be the beginning of the word. */
	if (length >= 3 && strncmp(suggestion->word, candidate, length) == 0)
		d = 1;
	if (d <= far && (!suggestion->best || d < suggestion->distance)) {
		suggestion->best = candidate;
		suggestion->distance = d;
	}
}
