// SPDX-License-Identifier: BSD-3-Clause
/* Files of reservations: what was written is read, what is torn or damaged is never taken for reservations, and what
 * cannot be written is said to who asked and leaves what was there. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "device/nvme/nvme_reservation.h"
#include "operating/test_rig.h"
#include "service/nvmf/target/target_priv.h"

struct files {
	struct rig rig;
	struct dpu dpu;
	struct nvmf nvmf;
	struct target target;
	struct subsystem subsystem;
	struct namespace ns;
	char store[64], path[4096 + UUID_TEXT + 4], fresh[4096 + UUID_TEXT + 8];
	atomic_bool answered;
	int error;
};

/* The namespace of the machine is ours. */
void *__wrap_nvme_namespace_ctx(const struct nvme_namespace *ns);
void *__wrap_nvme_namespace_ctx(const struct nvme_namespace *ns)
{
	return (void *)(uintptr_t)ns;
}

static void files_up(struct files *files)
{
	char uuid[UUID_TEXT];

	*files = (struct files){ .store = "/tmp/softdpu-reservations.XXXXXX" };
	assert_non_null(mkdtemp(files->store));
	rig_up(&files->rig, 1, WORKER_POWER_SAVE);
	files->dpu.store_dir = files->store;
	files->dpu.loop = files->rig.loop;
	files->nvmf.dpu = &files->dpu;
	files->target.nvmf = &files->nvmf;
	snprintf(files->target.reservation_dir, sizeof(files->target.reservation_dir), "%s/nvmf-reservations",
		 files->store);
	assert_int_equal(helpers_new(files->rig.loop, 1, &files->target.helpers), 0);
	files->subsystem.item.target = files->ns.item.target = &files->target;
	files->subsystem.home = workers_get(files->rig.workers, 0);
	memset(&files->ns.item.uuid, 0x5a, sizeof(files->ns.item.uuid));
	snprintf(files->path, sizeof(files->path), "%s/%s", files->target.reservation_dir,
		 uuid_format(&files->ns.item.uuid, uuid));
	snprintf(files->fresh, sizeof(files->fresh), "%s.new", files->path);
}

static void files_down(struct files *files)
{
	reservation_file_delete(&files->target, &files->ns.item.uuid);
	assert_int_equal(access(files->path, F_OK), -1);
	helpers_free(files->target.helpers);
	rig_down(&files->rig);
	rmdir(files->target.reservation_dir);
	assert_int_equal(rmdir(files->store), 0);
}

/* `count` hosts, of which the first holds. */
static size_t image_of(unsigned count, uint8_t image[RESERVATION_IMAGE_BYTES_MAX])
{
	struct nvme_reservations state = { .generation = 9, .type = 1, .persist = true, .count = count };

	for (unsigned i = 0; i < count; i++) {
		state.registrant[i].key = i + 1;
		state.registrant[i].host[3] = (uint8_t)i;
		state.registrant[i].holder = i == 0;
	}
	return reservation_save(&state, image);
}

static void answered(void *arg, int error)
{
	struct files *files = arg;

	files->error = error;
	atomic_store(&files->answered, true);
}

/* The answer to who asked. */
static int persist(struct files *files, const void *image, size_t bytes)
{
	atomic_store(&files->answered, false);
	reservation_persist(&files->subsystem, (struct nvme_namespace *)&files->ns, image, bytes, answered, files);
	WAIT_FOR(&files->rig, atomic_load(&files->answered));
	return files->error;
}

/* As a namespace begins with it: whether it may, and with how many hosts. */
static bool begins(struct files *files, unsigned *ret_hosts)
{
	struct nvme_reservations state;
	uint8_t *image = NULL;
	size_t bytes = 0;

	if (!reservation_file_read(&files->target, &files->ns.item.uuid, &image, &bytes, files->ns.why,
				   sizeof(files->ns.why)))
		return false;
	bool loaded = reservation_load(&state, image, bytes);
	free(image);
	*ret_hosts = state.count;
	return loaded;
}

static void assert_hosts(struct files *files, unsigned hosts)
{
	unsigned count = 0;

	assert_true(begins(files, &count));
	assert_int_equal(count, hosts);
}

static void put(const struct files *files, const void *image, size_t bytes)
{
	FILE *file = fopen(files->path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(image, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
}

/* It is kept from hosts, and this is said, with the file's name. */
static void assert_why(struct files *files, const char *words)
{
	unsigned hosts;

	assert_false(begins(files, &hosts));
	if (!strstr(files->ns.why, words) || !strstr(files->ns.why, files->path))
		fail_msg("%s", files->ns.why);
}

/* The folder is made with the first; none is as good as an empty one. */
static void test_life(void **state)
{
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX], *none = NULL;
	struct files files;
	struct stat stat_of;
	size_t bytes = 1;

	files_up(&files);
	assert_true(reservation_file_read(&files.target, &files.ns.item.uuid, &none, &bytes, files.ns.why,
					  sizeof(files.ns.why)));
	assert_null(none);
	assert_int_equal(bytes, 0);
	reservation_file_delete(&files.target, &files.ns.item.uuid);
	assert_int_equal(persist(&files, image, image_of(3, image)), 0);
	assert_hosts(&files, 3);
	assert_int_equal(stat(files.target.reservation_dir, &stat_of), 0);
	assert_int_equal(stat_of.st_mode & 0777, 0700);
	assert_int_equal(persist(&files, image, image_of(RESERVATION_REGISTRANTS_MAX, image)), 0);
	assert_hosts(&files, RESERVATION_REGISTRANTS_MAX);
	assert_int_equal(access(files.fresh, F_OK), -1);
	assert_int_equal(persist(&files, image, 0), 0);
	assert_int_equal(access(files.path, F_OK), -1);
	assert_hosts(&files, 0);
	assert_int_equal(persist(&files, image, 0), 0);
	files_down(&files);
}

/* Cut off anywhere, also at its very start; each byte changed; longer. */
static void test_damaged(void **state)
{
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX + 1] = { 0 };
	size_t bytes = image_of(2, image);
	unsigned hosts;
	struct files files;

	files_up(&files);
	assert_int_equal(persist(&files, image, bytes), 0);
	for (size_t i = 0; i < bytes; i++) {
		put(&files, image, i);
		if (begins(&files, &hosts))
			fail_msg("cut off at %zu", i);
		image[i] ^= 0xff;
		put(&files, image, bytes);
		if (begins(&files, &hosts))
			fail_msg("byte %zu", i);
		image[i] ^= 0xff;
	}
	put(&files, image, bytes + 1);
	assert_why(&files, "damaged at byte 96, it goes on behind its end");
	put(&files, image, bytes - 1);
	assert_why(&files, "damaged at byte 95, it ends too early");
	image[40] ^= 1;
	put(&files, image, bytes);
	assert_why(&files, "damaged at byte 8, its check sum is wrong");
	image[0] ^= 1;
	put(&files, image, bytes);
	assert_why(&files, "damaged at byte 0, not a file of reservations");
	bytes = image_of(RESERVATION_REGISTRANTS_MAX, image);
	put(&files, image, bytes + 1);
	assert_why(&files, "too large to be one");
	put(&files, image, bytes);
	assert_hosts(&files, RESERVATION_REGISTRANTS_MAX);
	files_down(&files);
}

/* Something else is in the way of the folder, of the file. */
static void test_in_the_way(void **state)
{
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];
	size_t bytes = image_of(1, image);
	struct files files;

	files_up(&files);
	assert_int_equal(mknod(files.target.reservation_dir, S_IFREG | 0600, 0), 0);
	assert_int_equal(persist(&files, image, bytes), -ENOTDIR);
	assert_why(&files, strerror(ENOTDIR));
	assert_int_equal(unlink(files.target.reservation_dir), 0);
	assert_int_equal(mkdir(files.target.reservation_dir, 0700), 0);
	assert_int_equal(mkdir(files.path, 0700), 0);
	assert_int_equal(persist(&files, image, bytes), -EISDIR);
	assert_int_equal(access(files.fresh, F_OK), -1); /* what was written is not left behind */
	assert_why(&files, strerror(EISDIR));
	assert_int_equal(rmdir(files.path), 0);
	assert_int_equal(mknod(files.path, S_IFIFO | 0600, 0), 0);
	assert_why(&files, strerror(EINVAL)); /* and is not waited for */
	assert_int_equal(unlink(files.path), 0);
	/* The store's own folder is gone. */
	assert_int_equal(rmdir(files.target.reservation_dir), 0);
	assert_int_equal(rmdir(files.store), 0);
	assert_int_equal(persist(&files, image, bytes), -ENOENT);
	assert_hosts(&files, 0);
	assert_int_equal(mkdir(files.store, 0700), 0);
	files_down(&files);
}

/* Not a byte more fits, or a part does: the command fails, and what was there counts. */
static void test_full(void **state)
{
	static const struct {
		rlim_t room;
		int error;
	} cases[] = { { 0, -EFBIG }, { 40, -EIO } };
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];
	struct rlimit before, limit;
	struct files files;

	files_up(&files);
	assert_int_equal(persist(&files, image, image_of(2, image)), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		limit = (struct rlimit){ cases[i].room, before.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		int error = persist(&files, image, image_of(5, image));
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
		assert_int_equal(error, cases[i].error);
		assert_int_equal(access(files.fresh, F_OK), -1);
		assert_hosts(&files, 2);
	}
	assert_int_equal(persist(&files, image, image_of(5, image)), 0);
	assert_hosts(&files, 5);
	files_down(&files);
}

/* What a write has left that a power failure cut off goes at the next start; nothing else does. */
static void test_tidy(void **state)
{
	uint8_t image[RESERVATION_IMAGE_BYTES_MAX];
	struct files files;
	char other[sizeof(files.fresh)];

	files_up(&files);
	reservation_files_tidy(&files.target); /* there is no folder yet */
	assert_int_equal(persist(&files, image, image_of(2, image)), 0);
	snprintf(other, sizeof(other), "%s/notes.new", files.target.reservation_dir);
	assert_int_equal(mknod(files.fresh, S_IFREG | 0600, 0), 0);
	assert_int_equal(mknod(other, S_IFREG | 0600, 0), 0);
	reservation_files_tidy(&files.target);
	assert_int_equal(access(files.fresh, F_OK), -1);
	assert_int_equal(unlink(other), 0);
	assert_hosts(&files, 2);
	files_down(&files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life), cmocka_unit_test(test_damaged), cmocka_unit_test(test_in_the_way),
		cmocka_unit_test(test_full), cmocka_unit_test(test_tidy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
