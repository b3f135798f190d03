// SPDX-License-Identifier: BSD-3-Clause
/* Finds a module's file, makes sure that nobody but the operator can have put it there, and that it was made for us. */
#include "service/block/module/module_priv.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char PATH[] = "module";

bool block_module_name_check(const char *name)
{
	size_t bytes = strlen(name);

	return bytes > 0 && bytes <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == bytes;
}

/* The file and its folder, or, above, a folder: there, others may write if what is not theirs is safe from them. */
static int check_rights(const char *path, bool above, struct dpu_error *err)
{
	struct stat stat_of;

	if (lstat(path, &stat_of) < 0)
		return error_set(err, errno == ENOENT ? DPU_E_NOT_FOUND : DPU_E_IO, PATH, "%s: %s", path,
				 strerror(errno));
	if (stat_of.st_uid != 0 && stat_of.st_uid != geteuid())
		return error_set(err, DPU_E_DENIED, PATH, "%s belongs to user %u; it must be root's or dpud's", path,
				 stat_of.st_uid);
	if ((stat_of.st_mode & (S_IWGRP | S_IWOTH)) && !(above && (stat_of.st_mode & S_ISVTX)))
		return error_set(err, DPU_E_DENIED, PATH, "%s can be written by others than its owner", path);
	return 0;
}

static int check_file(const char *path, struct dpu_error *err)
{
	char part[PATH_MAX];
	struct stat stat_of;

	snprintf(part, sizeof(part), "%s", path);
	unsigned level = 0;
	for (char *slash = part + strlen(part); slash; slash = strrchr(part, '/'), level++) {
		*slash = '\0';
		int rc = check_rights(part[0] ? part : "/", level > 1, err);
		if (rc < 0)
			return rc;
	}
	if (stat(path, &stat_of) < 0 || !S_ISREG(stat_of.st_mode))
		return error_set(err, DPU_E_INVALID, PATH, "%s is not a file", path);
	return 0;
}

/* What it says about itself, in the order in which it may be looked at. */
static int check_table(const struct dpu_block_module *table, const char *path, struct dpu_error *err)
{
	if (table->module_version != DPU_BLOCK_MODULE_VERSION || table->block_version != DPU_BLOCK_ABI_VERSION)
		return error_set(err, DPU_E_UNSUPPORTED, PATH,
				 "%s was made for version %u.%u of the interface, and this dpud has %u.%u", path,
				 table->module_version, table->block_version, DPU_BLOCK_MODULE_VERSION,
				 DPU_BLOCK_ABI_VERSION);
	if (table->module_bytes != sizeof(*table) || table->request_bytes != sizeof(struct dpu_block_request) ||
	    table->device_bytes != sizeof(struct dpu_block_device))
		return error_set(err, DPU_E_UNSUPPORTED, PATH,
				 "%s was compiled with other headers of version %u.%u: compile it again", path,
				 DPU_BLOCK_MODULE_VERSION, DPU_BLOCK_ABI_VERSION);
	if (!table->name || !table->open)
		return error_set(err, DPU_E_INVALID, PATH, "%s has no %s in its dpu_block_module", path,
				 table->name ? "open" : "name");
	return 0;
}

int module_load(const char *folder, const char *word, struct block_module *ret, struct dpu_error *err)
{
	char path[PATH_MAX], *real;
	int rc;

	if (!block_module_name_check(word))
		return error_set(err, DPU_E_INVALID, PATH, BLOCK_MODULE_NAME_DOC);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s.so", folder, word) >= sizeof(path))
		return error_set(err, DPU_E_INVALID, PATH, "the path of the folder %s is too long", folder);
	real = realpath(path, NULL);
	if (!real)
		return error_set(err, errno == ENOENT ? DPU_E_NOT_FOUND : DPU_E_IO, PATH, "%s: %s", path,
				 strerror(errno));
	snprintf(ret->path, sizeof(ret->path), "%s", real);
	free(real);
	rc = check_file(ret->path, err);
	if (rc < 0)
		return rc;
	ret->handle = dlopen(ret->path, RTLD_NOW | RTLD_LOCAL);
	if (!ret->handle)
		return error_set(err, DPU_E_INVALID, PATH, "%s", dlerror());
	ret->table = dlsym(ret->handle, "dpu_block_module");
	rc = ret->table ? check_table(ret->table, ret->path, err)
			: error_set(err, DPU_E_INVALID, PATH, "%s has no symbol dpu_block_module: it is no module",
				    ret->path);
	if (rc < 0)
		dlclose(ret->handle);
	return rc;
}
