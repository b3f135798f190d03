/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing session tables: the file, its header, and the choice of pages. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>
#include "base/clock.h"
#include "device/packet/session_priv.h"

static uint64_t header_checksum(const struct session_file_header *header)
{
	uint64_t mix = SESSION_FILE_MAGIC;

	for (size_t i = 0; i < offsetof(struct session_file_header, checksum); i += 8)
		mix = flow_key_fold(mix ^ flow_key_load64((const uint8_t *)header + i), flow_key_secret(i, 1));
	return mix;
}
_Static_assert(offsetof(struct session_file_header, checksum) % 8 == 0, "the checksum covers whole words");

static void header_fill(const struct session_table *table, struct session_file_header *header,
			const struct uuid *boot_id)
{
	memset(header, 0, sizeof(*header));
	header->magic = SESSION_FILE_MAGIC;
	header->version = SESSION_FILE_VERSION;
	header->record_bytes = table->records.view.record_bytes;
	header->chunk_bytes = table->records.memory.chunk_bytes;
	header->boot_id = *boot_id;
	header->seed = table->seed;
	header->checksum = header_checksum(header);
}

/* Is the file one that this table can go on with? Then its seed is the table's. */
static bool header_is_ours(struct session_table *table, int fd, const struct uuid *boot_id)
{
	struct session_file_header found, wanted;

	if (pread(fd, &found, sizeof(found), 0) != sizeof(found))
		return false;
	table->seed = found.seed;
	header_fill(table, &wanted, boot_id);
	return memcmp(&found, &wanted, sizeof(found)) == 0;
}

int session_file_seed(const char *path, uint64_t *ret)
{
	struct session_file_header found = { 0 };
	struct uuid boot_id;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return -ENOENT;
	ssize_t got = pread(fd, &found, sizeof(found), 0);
	close(fd);
	if (got != sizeof(found) || clock_boot_id(&boot_id) || found.magic != SESSION_FILE_MAGIC ||
	    found.version != SESSION_FILE_VERSION || !uuid_equal(&found.boot_id, &boot_id) ||
	    found.checksum != header_checksum(&found))
		return -ENOENT;
	*ret = found.seed;
	return 0;
}

static uint64_t current_tick(void)
{
	return clock_ns() / (CLOCK_NS_PER_S / SESSION_TICKS_PER_SECOND);
}

static bool on_hugetlbfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

static int file_error(struct dpu_error *err, const char *path, const char *what)
{
	int error = errno;

	error_set(err, error == ENOSPC || error == ENOMEM ? DPU_E_LIMIT : DPU_E_IO, path, "%s: %s.", what,
		  strerror(error));
	return -error;
}

/* Opens or creates the file and takes its lock. */
static int open_locked(const char *path, int extra_flags, int *ret_fd, struct dpu_error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | extra_flags, 0600);
	struct stat st;

	if (fd < 0)
		return file_error(err, path, "The session file cannot be opened");
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		error_set(err, DPU_E_IN_USE, path,
			  "Another process uses this session file; every instance needs a run directory of its own.");
		return -EBUSY;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		error_set(err, DPU_E_INVALID, path, "A session file must be a regular file.");
		return -EINVAL;
	}
	*ret_fd = fd;
	return 0;
}

/* Makes the mapping, of at least the blocks that the file has, and the memory of the header. */
static int map_blocks(struct session_table *table, int fd, uint32_t blocks)
{
	if (fd >= 0 && ftruncate(fd, (off_t)blocks << RECORD_BLOCK_SHIFT))
		return -errno;
	int rc = record_memory_map(&table->records, fd, blocks);
	if (rc == 0)
		rc = record_memory_prepare_header(&table->records);
	if (rc)
		record_memory_unmap(&table->records);
	return rc;
}

static int start_new(struct session_table *table, int fd, uint32_t blocks, const struct uuid *boot_id)
{
	int rc = map_blocks(table, fd, blocks);

	if (rc)
		return rc;
	struct session_file_header *header = (struct session_file_header *)table->records.view.records, filled;
	header_fill(table, &filled, boot_id);
	filled.magic = 0;
	*header = filled;
	__atomic_store_n(&header->magic, SESSION_FILE_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

static void memory_init(struct session_table *table, bool v6, bool hugetlb)
{
	table->records.kind = session_kind(v6);
	table->records.view.v6 = v6;
	record_memory_init(&table->records, hugetlb);
}

/* A file that is of no use is replaced by a new one of the same name. */
static int open_file(struct session_table *table, const struct session_table_options *options, bool *ret_adopt,
		     struct dpu_error *err)
{
	struct uuid boot_id;
	struct stat st;
	int fd, rc = clock_boot_id(&boot_id);

	if (rc)
		return error_set(err, DPU_E_IO, "", "The kernel's boot id cannot be read.");
	rc = open_locked(options->path, 0, &fd, err);
	if (rc)
		return rc;
	memory_init(table, options->v6, on_hugetlbfs(fd));
	uint32_t blocks = record_memory_blocks(&table->records, options->max_sessions);
	uint32_t limit = record_memory_blocks(&table->records, SESSION_MAX);
	if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size % RECORD_BLOCK_BYTES == 0 &&
	    st.st_size >> RECORD_BLOCK_SHIFT <= limit && header_is_ours(table, fd, &boot_id)) {
		/* A file of more sessions keeps its size; how many may live is the options' word. */
		uint32_t found = st.st_size >> RECORD_BLOCK_SHIFT;
		*ret_adopt = true;
		rc = map_blocks(table, fd, found > blocks ? found : blocks);
	} else {
		if (st.st_size > 0) {
			unlink(options->path);
			close(fd);
			rc = open_locked(options->path, O_EXCL, &fd, err);
			if (rc)
				return rc;
		}
		table->seed = options->seed;
		rc = start_new(table, fd, blocks, &boot_id);
	}
	if (rc) {
		errno = -rc;
		file_error(err, options->path, "The session file cannot get the memory that it needs");
		close(fd);
	}
	return rc;
}

/* Huge pages of the pool, else transparent ones. */
static int open_anonymous(struct session_table *table, const struct session_table_options *options,
			  struct dpu_error *err)
{
	struct uuid none = { 0 };
	int rc = -ENOMEM;

	table->seed = options->seed;
	for (unsigned hugetlb = options->huge_pages; rc && hugetlb < 2; hugetlb--) {
		memory_init(table, options->v6, hugetlb);
		rc = start_new(table, -1, record_memory_blocks(&table->records, options->max_sessions), &none);
	}
	if (rc)
		error_set(err, DPU_E_LIMIT, "", "There is not enough memory for a table of %u sessions.",
			  options->max_sessions);
	return rc;
}

int session_table_open(const struct session_table_options *options, struct session_table **ret, uint32_t *ret_adopted,
		       struct dpu_error *err)
{
	bool adopt = false;

	if (!options->max_sessions || options->max_sessions > SESSION_MAX)
		return error_set(err, DPU_E_INVALID, "max_sessions", "A session table holds 1 to %u sessions.",
				 SESSION_MAX);

	struct session_table *table = aligned_alloc(64, (sizeof(*table) + 63) & ~(size_t)63);
	if (!table)
		return error_set(err, DPU_E_LIMIT, "", "Out of memory.");
	memset(table, 0, sizeof(*table));
	table->records.max = options->max_sessions;
	int rc = options->path ? open_file(table, options, &adopt, err) : open_anonymous(table, options, err);
	if (rc) {
		free(table);
		return rc;
	}
	if (record_index_init(&table->records, options->max_sessions, options->huge_pages)) {
		session_table_close(table);
		return error_set(err, DPU_E_LIMIT, "", "Out of memory.");
	}
	session_tick_t now = options->now ? options->now : (session_tick_t)current_tick();
	record_wheel_init(&table->records, now);
	table->records.memory.advise_huge = options->huge_pages && !table->records.memory.hugetlb;
	if (adopt)
		session_adopt(table, now);
	table->on_remove = options->on_remove;
	table->ctx = options->ctx;
	if (ret_adopted)
		*ret_adopted = table->records.count;
	*ret = table;
	return 0;
}

void session_table_close(struct session_table *table)
{
	if (!table)
		return;
	int fd = table->records.memory.fd;

	record_index_fini(&table->records);
	record_memory_unmap(&table->records);
	if (fd >= 0)
		close(fd);
	free(table);
}
