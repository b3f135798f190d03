/* SPDX-License-Identifier: BSD-3-Clause */
/* The structured error: filling it, and what its codes are called. */
#include "base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int error;
	const char *name;
} codes[] = {
	[DPU_OK] = { 0, "ok" },
	[DPU_E_INVALID] = { -EINVAL, "invalid" },
	[DPU_E_NOT_FOUND] = { -ENOENT, "not_found" },
	[DPU_E_EXISTS] = { -EEXIST, "exists" },
	[DPU_E_CONFLICT] = { -ESTALE, "conflict" },
	[DPU_E_IN_USE] = { -EBUSY, "in_use" },
	[DPU_E_LIMIT] = { -ENOSPC, "limit" },
	[DPU_E_DENIED] = { -EACCES, "denied" },
	[DPU_E_IO] = { -EIO, "io" },
	[DPU_E_UNSUPPORTED] = { -EOPNOTSUPP, "unsupported" },
	[DPU_E_INTERNAL] = { -EPROTO, "internal" },
	[DPU_E_TIMEOUT] = { -ETIMEDOUT, "timeout" },
};

static bool code_is_known(enum dpu_error_code code)
{
	return (unsigned)code < sizeof(codes) / sizeof(codes[0]);
}

int error_errno(enum dpu_error_code code)
{
	return code_is_known(code) ? codes[code].error : codes[DPU_E_INTERNAL].error;
}

const char *error_code_name(enum dpu_error_code code)
{
	return code_is_known(code) ? codes[code].name : codes[DPU_E_INTERNAL].name;
}

/* Copies as much as fits, never half of a UTF-8 character: errors travel as JSON. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size);

	if (length == size) {
		length--;
		while (length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80)
			length--;
	}
	memmove(to, from, length);
	to[length] = 0;
}

int error_vset(struct dpu_error *err, enum dpu_error_code code, const char *path, const char *fmt, va_list args)
{
	/* One byte more than fits shows whether something was cut. The arguments may point into err itself. */
	char message[sizeof(err->message) + 1];

	if (!err)
		return error_errno(code);
	vsnprintf(message, sizeof(message), fmt, args);
	copy_text(err->path, sizeof(err->path), path ? path : "");
	copy_text(err->message, sizeof(err->message), message);
	err->code = code;
	return error_errno(code);
}

int error_set(struct dpu_error *err, enum dpu_error_code code, const char *path, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int status = error_vset(err, code, path, fmt, args);
	va_end(args);
	return status;
}

void error_prefix(struct dpu_error *err, const char *prefix)
{
	char path[2 * sizeof(err->path)];

	if (!err)
		return;
	/* A path that is too long keeps its beginning: it says which object. */
	copy_text(path, sizeof(err->path), prefix);
	if (err->path[0])
		strcat(strcat(path, "."), err->path);
	copy_text(err->path, sizeof(err->path), path);
}
