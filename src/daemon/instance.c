/* SPDX-License-Identifier: BSD-3-Clause */
/* Directories, pid file and locks of an instance. */
#include "daemon/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "base/log.h"

/* mkdir -p. Parents get 0755, the last one mode. */
static int make_dir(const char *path, mode_t mode, struct dpu_error *err)
{
	char copy[PATH_MAX];
	if (strlen(path) >= sizeof copy)
		return error_set(err, DPU_E_INVALID, path, "the path is too long");
	strcpy(copy, path);
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			return error_set(err, DPU_E_IO, path, "%s cannot be made: %s", copy, strerror(errno));
		*slash = '/';
	}
	if (mkdir(copy, mode) && errno != EEXIST)
		return error_set(err, DPU_E_IO, path, "cannot be made: %s", strerror(errno));
	return 0;
}

/* /dev/shm is everybody's: what stands there under our name must be ours. */
static int check_dir(const char *path, struct dpu_error *err)
{
	struct stat status;
	if (stat(path, &status))
		return error_set(err, DPU_E_IO, path, "%s", strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return error_set(err, DPU_E_INVALID, path, "is not a directory");
	if (status.st_uid != geteuid())
		return error_set(err, DPU_E_DENIED, path, "belongs to user %u, and dpud runs as %u", status.st_uid,
				 geteuid());
	if (status.st_mode & S_IWOTH)
		return error_set(err, DPU_E_DENIED, path, "may be written by everybody; chmod o-w it");
	return 0;
}

static bool on_tmpfs(const char *path)
{
	struct statfs fs;
	return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static long read_pid(int fd)
{
	char text[32] = "";
	ssize_t length = pread(fd, text, sizeof text - 1, 0);
	return length > 0 ? strtol(text, NULL, 10) : 0;
}

static int write_pid(int fd)
{
	char text[32];
	int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) == length ? 0 : -errno;
}

/* Locks dir/name and writes our pid into it. The lock goes with the process, however it ends, so a stale file is no
 * obstacle. */
static int lock_dir(const char *dir, const char *name, int *ret_fd, struct dpu_error *err)
{
	char path[PATH_MAX + 32];
	struct stat ours, there;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			return error_set(err, DPU_E_IO, path, "cannot be opened: %s", strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			long pid = read_pid(fd);
			int rc = errno == EWOULDBLOCK
					 ? error_set(err, DPU_E_EXISTS, dir, "is used by the dpud with process id %ld",
						     pid)
					 : error_set(err, DPU_E_IO, path, "cannot be locked: %s", strerror(errno));
			close(fd);
			return rc;
		}
		/* A dpud that just ended may have removed the file between our open and our lock. */
		if (fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino) {
			int rc = write_pid(fd);
			*ret_fd = fd;
			return rc ? error_set(err, DPU_E_IO, path, "cannot be written: %s", strerror(-rc)) : 0;
		}
		close(fd);
	}
}

static int find_group(const char *name, gid_t *ret, struct dpu_error *err)
{
	*ret = (gid_t)-1;
	if (!name)
		return 0;
	struct group *group = getgrnam(name);
	if (!group)
		return error_set(err, DPU_E_NOT_FOUND, "--group", "there is no group '%s'", name);
	*ret = group->gr_gid;
	return 0;
}

/* FNV-1a: instances of the same name in different run directories must not meet in DPDK's runtime directory. */
static uint32_t hash(const char *text)
{
	uint32_t value = 2166136261u;
	for (; *text; text++)
		value = (value ^ (unsigned char)*text) * 16777619u;
	return value;
}

__attribute__((format(printf, 1, 2))) static char *format(const char *fmt, ...)
{
	char *text;
	va_list args;
	va_start(args, fmt);
	int length = vasprintf(&text, fmt, args);
	va_end(args);
	return length < 0 ? NULL : text;
}

static char *given_or(const char *given, const char *prefix, const char *name)
{
	return given ? strdup(given) : format("%s%s", prefix, name);
}

/* The state directory's default depends on where the run directory really is. */
static int choose_dirs(const struct options *options, struct instance *instance, struct dpu_error *err)
{
	instance->run_dir = given_or(options->run_dir, "/run/softdpu/", instance->name);
	if (!instance->run_dir)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	int rc = make_dir(instance->run_dir, 0755, err);
	if (rc)
		return rc;
	if (!options->state_dir && on_tmpfs(instance->run_dir))
		instance->state_dir = strdup(instance->run_dir);
	else
		instance->state_dir = given_or(options->state_dir, "/dev/shm/softdpu-", instance->name);
	instance->store_dir = given_or(options->store_dir, "/var/lib/softdpu/", instance->name);
	if (instance->state_dir)
		instance->capture_dir =
			given_or(options->capture_dir, instance->state_dir, options->capture_dir ? "" : "/capture");
	instance->socket_path = format("%s/dpud.sock", instance->run_dir);
	instance->read_only_path = format("%s/dpud-ro.sock", instance->run_dir);
	instance->store_path = format("%s/store.db", instance->store_dir ? instance->store_dir : "");
	instance->file_prefix = format("softdpu-%s-%08x", instance->name, hash(instance->run_dir));
	if (!instance->state_dir || !instance->store_dir || !instance->capture_dir || !instance->socket_path ||
	    !instance->read_only_path || !instance->store_path || !instance->file_prefix)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	return 0;
}

static int take_dir(const char *path, mode_t mode, const char *lock, int *ret_lock, struct dpu_error *err)
{
	int rc = make_dir(path, mode, err);
	if (!rc)
		rc = check_dir(path, err);
	return rc ? rc : lock_dir(path, lock, ret_lock, err);
}

static int take_dirs(struct instance *instance, struct dpu_error *err)
{
	const char *run = instance->run_dir, *state = instance->state_dir, *store = instance->store_dir;
	int rc = take_dir(run, 0755, "dpud.pid", &instance->locks[0], err);
	if (!rc && strcmp(state, run) != 0)
		rc = take_dir(state, 0700, "lock", &instance->locks[1], err);
	if (!rc && strcmp(store, run) != 0 && strcmp(store, state) != 0)
		rc = take_dir(store, 0700, "lock", &instance->locks[2], err);
	if (!rc)
		rc = make_dir(instance->capture_dir, 0750, err);
	if (!rc && !on_tmpfs(state))
		log_warn("instance", "the state directory is not on a tmpfs: sessions will be written to disk",
			 "state_dir=%s", state);
	return rc;
}

int instance_open(const struct options *options, struct instance *ret, struct dpu_error *err)
{
	struct instance instance = { .locks = { -1, -1, -1 } };
	int rc = find_group(options->group, &instance.group, err);
	if (rc)
		return rc;
	instance.name = strdup(options->instance);
	if (!instance.name)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	rc = choose_dirs(options, &instance, err);
	if (!rc)
		rc = take_dirs(&instance, err);
	if (rc)
		instance_close(&instance);
	else
		*ret = instance;
	return rc;
}

void instance_close(struct instance *instance)
{
	if (instance->locks[0] >= 0) {
		char *path = format("%s/dpud.pid", instance->run_dir);
		if (path)
			unlink(path);
		free(path);
	}
	for (unsigned i = 0; i < 3; i++) {
		if (instance->locks[i] >= 0)
			close(instance->locks[i]);
	}
	free(instance->name);
	free(instance->run_dir);
	free(instance->state_dir);
	free(instance->store_dir);
	free(instance->capture_dir);
	free(instance->socket_path);
	free(instance->read_only_path);
	free(instance->store_path);
	free(instance->file_prefix);
	*instance = (struct instance){ .locks = { -1, -1, -1 } };
}
