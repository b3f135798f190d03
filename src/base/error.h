/* SPDX-License-Identifier: BSD-3-Clause */
/* The structured error that every management call fills: a code, the path of the field, a sentence. */
#pragma once

#include <stdarg.h>

/* Codes are part of the management protocol: names and numbers never change, new ones go at the end. */
enum dpu_error_code {
	DPU_OK = 0,
	DPU_E_INVALID = 1,     /* a value is wrong: type, range, format, combination */
	DPU_E_NOT_FOUND = 2,   /* a named thing does not exist */
	DPU_E_EXISTS = 3,      /* a name or unique value is taken */
	DPU_E_CONFLICT = 4,    /* stale generation: somebody else changed the object meanwhile */
	DPU_E_IN_USE = 5,      /* other objects refer to it */
	DPU_E_LIMIT = 6,       /* a quota or a fixed limit is reached */
	DPU_E_DENIED = 7,      /* the caller may not do this */
	DPU_E_IO = 8,          /* disk, socket or device failed */
	DPU_E_UNSUPPORTED = 9, /* this build, kernel or device cannot do it */
	DPU_E_INTERNAL = 10,   /* a defect of ours */
	DPU_E_TIMEOUT = 11,
};

/* path: where, e.g. "vnic/blue/web1.mtu" or a file name; empty when the whole request is meant.
 * message: one sentence saying what was wrong and what would be right, without the path. */
struct dpu_error {
	enum dpu_error_code code;
	char path[768]; /* the longest path of an object, and of a field and its item */
	char message[512];
};

/* Fill err (may be NULL) and return the negative errno that belongs to code, so that callers write
 * `return error_set(err, DPU_E_LIMIT, path, "…")`. path may be NULL. */
int error_set(struct dpu_error *err, enum dpu_error_code code, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int error_vset(struct dpu_error *err, enum dpu_error_code code, const char *path, const char *fmt, va_list args);

/* Put "prefix." in front of the path that err has; an empty path becomes "prefix". */
void error_prefix(struct dpu_error *err, const char *prefix);

int error_errno(enum dpu_error_code code);             /* negative errno of a code */
const char *error_code_name(enum dpu_error_code code); /* "invalid", "not_found", … */
