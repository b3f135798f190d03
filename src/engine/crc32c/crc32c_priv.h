/* SPDX-License-Identifier: BSD-3-Clause */
/* What the implementations of CRC32C share. */
#pragma once

/* x^32 + …, bit-reversed: the lowest bit is x^31. */
#define CRC32C_POLYNOMIAL 0x82f63b78u
