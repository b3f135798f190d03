/* SPDX-License-Identifier: BSD-3-Clause */
/* MULTIVERSION compiles a function for the baseline and for x86-64-v3 (AVX2, BMI2); the loader picks.
 * MULTIVERSION_LINES does so for x86-64-v4, too (a cache line is one register). Off where instrumentation would run
 * before its runtime is ready (sanitizers) and on other architectures. */
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(FUZZING)
#define MULTIVERSION
#elif defined(__clang__)
#define MULTIVERSION /* clang 14 inlines nothing into its clones */
#elif defined(__x86_64__) && !defined(__AVX2__)
#define MULTIVERSION       __attribute__((target_clones("default", "arch=x86-64-v3")))
#define MULTIVERSION_LINES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define MULTIVERSION
#endif

#ifndef MULTIVERSION_LINES
#define MULTIVERSION_LINES MULTIVERSION
#endif
