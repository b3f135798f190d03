/* SPDX-License-Identifier: BSD-3-Clause */
/* How fuzzers read their input: numbers from its front, zeros behind its end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *at, *end;
};

static inline bool input_left(const struct input *in)
{
	return in->at < in->end;
}

static inline uint8_t input_byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint16_t input_word(struct input *in)
{
	uint16_t high = input_byte(in);

	return (uint16_t)(high << 8 | input_byte(in));
}

static inline uint32_t input_long(struct input *in)
{
	uint32_t high = input_word(in);

	return high << 16 | input_word(in);
}

/* Copies up to length bytes; returns how many. */
static inline size_t input_bytes(struct input *in, void *to, size_t length)
{
	size_t left = (size_t)(in->end - in->at), here = length < left ? length : left;

	if (here)
		memcpy(to, in->at, here);
	in->at += here;
	return here;
}

#define input_require(condition)                                                                                       \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                        \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)
