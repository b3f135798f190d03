/* SPDX-License-Identifier: BSD-3-Clause */
/* SANITIZED: compiled for AddressSanitizer or ThreadSanitizer. A long test has fewer rounds then; all of them are in
 * the plain build. */
#pragma once

#ifdef __clang__
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
