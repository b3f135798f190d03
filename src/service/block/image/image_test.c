// SPDX-License-Identifier: BSD-3-Clause
/* Tests of imports and exports: raw files through a volume and back, qcow2 through qemu-img where there is one, cancel,
 * and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/loop.h"
#include "operating/uring_needed.h"
#include "service/block/block_rig_remote.h"
#include "service/block/image/qcow2.h"
#include "service/block/image/tool.h"
#include "service/block/image/words.h"
#include "service/block/store/store.h"

enum { MIB = 1 << 20 };

static void rig_new(struct block_rig *rig, const struct service *const *services)
{
	char images[96];

	block_rig_new(rig, 2, services);
	snprintf(images, sizeof(images), "%s/images", rig->dir);
	assert_int_equal(mkdir(images, 0700), 0);
}

static void world(struct block_rig *rig)
{
	rig_new(rig, NULL);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'path': '%s/m', 'size': '128M'}],"
			" 'pools': [{'name': 'p', 'media': ['m']}],"
			" 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': '64M'},"
			" {'name': 'w', 'tenant': 'blue', 'pool': 'p', 'size': '64M'}]}",
			rig->dir);
}

/* ---- what takes long where a test says so ---- */

struct hold {
	atomic_bool on;
	sem_t begun, end;
};

static void hold_next(struct hold *hold)
{
	sem_init(&hold->begun, 0, 0);
	sem_init(&hold->end, 0, 0);
	atomic_store(&hold->on, true);
}

static void hold_here(struct hold *hold)
{
	if (!atomic_exchange(&hold->on, false))
		return;
	sem_post(&hold->begun);
	sem_wait(&hold->end);
}

/* ---- what is made durable, and when (the linker puts this in fsync's place) ---- */

static struct {
	pthread_mutex_t lock;
	unsigned files, folders; /* synced: of exports before they had a name; with one in it */
	char name[128];          /* of the export */
	struct hold named;       /* where it has its name */
} synced = { .lock = PTHREAD_MUTEX_INITIALIZER };

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
	char link[64], path[256] = "", named[512];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) < 0)
		path[0] = '\0';
	pthread_mutex_lock(&synced.lock);
	snprintf(named, sizeof(named), "%s/%s", path, synced.name);
	synced.files += strlen(path) > 5 && strcmp(path + strlen(path) - 5, ".made") == 0;
	bool has_name = access(named, F_OK) == 0;
	synced.folders += has_name;
	pthread_mutex_unlock(&synced.lock);
	if (has_name)
		hold_here(&synced.named);
	return __real_fsync(fd);
}

static void sync_expect(const char *name)
{
	synced.files = synced.folders = 0;
	snprintf(synced.name, sizeof(synced.name), "%s", name);
}

static int shell(struct block_rig *rig, const char *text)
{
	char command[600];

	snprintf(command, sizeof(command), "cd %s/images && %s", rig->dir, text);
	return system(command);
}

static json_t *act(struct block_rig *rig, const char *class_name, const char *action, const char *key, const char *file,
		   struct dpu_error *err)
{
	return block_rig_action(rig, class_name, action, key, json_pack("{s:s, s:b}", "file", file, "wait", 1), err);
}

/* Data at the start and the end, and a size that is no multiple of a block. */
static const char image_make[] = "truncate -s 20M in.raw && head -c 3000000 /dev/urandom | dd of=in.raw conv=notrunc "
				 "status=none && head -c 5000 /dev/urandom | dd of=in.raw bs=1M seek=20 status=none";

static void raw(void **state)
{
	struct block_rig rig;
	struct dpu_error err;

	world(&rig);
	assert_int_equal(shell(&rig, image_make), 0);
	json_decref(act(&rig, "volume", "import-image", "blue/v", "in.raw", NULL));
	assert_string_equal(block_rig_field(&rig, "volume", "v", "image"), "import of in.raw done");
	WAIT_FOR(&rig.base, atoll(block_rig_field(&rig, "volume", "v", "allocated_bytes")) < 4 * MIB &&
				    atoll(block_rig_field(&rig, "volume", "v", "allocated_bytes")) > 2 * MIB);
	sync_expect("out.raw");
	json_decref(act(&rig, "volume", "export-image", "blue/v", "out.raw", NULL));
	assert_true(synced.files > 0 && synced.folders == 1);
	assert_int_equal(shell(&rig, "truncate -s 64M in.raw && cmp in.raw out.raw"), 0);
	assert_int_equal(shell(&rig, "[ $(du -k out.raw | cut -f 1) -lt 4096 ]"), 0); /* holes stay holes */
	/* Again over it: what was there is gone. A snapshot keeps it. */
	block_rig_change(&rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v'}", NULL);
	assert_int_equal(shell(&rig, "truncate -s 1M empty"), 0);
	json_decref(act(&rig, "volume", "import-image", "blue/v", "empty", NULL));
	json_decref(act(&rig, "volume", "export-image", "blue/v", "zeroes", NULL));
	assert_int_equal(shell(&rig, "cmp -n 67108864 zeroes /dev/zero"), 0);
	json_decref(act(&rig, "snapshot", "export-image", "blue/s", "kept", NULL));
	assert_int_equal(shell(&rig, "cmp in.raw kept"), 0);
	assert_null(act(&rig, "volume", "export-image", "blue/v", "kept", &err));
	assert_int_equal(err.code, DPU_E_EXISTS);
	/* Neither is found out only when all has been read. */
	assert_int_equal(shell(&rig, "ln -s nowhere link && mkdir folder"), 0);
	assert_null(act(&rig, "volume", "export-image", "blue/v", "link", &err));
	assert_non_null(strstr(err.message, "link is there already"));
	assert_null(act(&rig, "volume", "export-image", "blue/v", "folder", &err));
	assert_non_null(strstr(err.message, "folder is a folder"));
	assert_int_equal(shell(&rig, "[ -z \"$(ls -A | grep '^\\.')\" ]"), 0); /* nothing is left over */
	block_rig_free(&rig);
}

/* ---- a volume that is nearly all hole ---- */

enum { SPOT = 4096, SPOTS = 7 };
static const uint64_t LARGE = (UINT64_C(1) << 40) + 5 * SPOT + 512;
/* At both ends, and on both sides of what is read at once. */
static const uint64_t spots[SPOTS] = { 0,
				       7 * MIB - SPOT,
				       7 * MIB,
				       (UINT64_C(300) << 30) + 13 * SPOT,
				       (UINT64_C(1) << 40) - SPOT,
				       (UINT64_C(1) << 40) + 2 * SPOT,
				       (UINT64_C(1) << 40) + 5 * SPOT };

static uint64_t spot_bytes(unsigned i)
{
	return LARGE - spots[i] < SPOT ? LARGE - spots[i] : SPOT;
}

static void assert_reads(struct block_rig *rig, uint64_t least, uint64_t most)
{
	run_for(&rig->base, 100 * CLOCK_NS_PER_MS); /* published meanwhile */
	assert_in_range(strtoull(block_rig_field(rig, "volume", "large", "reads"), NULL, 10), least, most);
}

/* The file has the spots, and little else. */
static void assert_spots(struct block_rig *rig, const char *name)
{
	uint8_t data[SPOT], expected[SPOT];
	char path[256];
	struct stat status;

	snprintf(path, sizeof(path), "%s/images/%s", rig->dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &status) == 0);
	assert_int_equal(status.st_size, LARGE);
	assert_true(status.st_blocks * 512 <= SPOTS * MIB);
	for (unsigned i = 0; i < SPOTS; i++) {
		memset(expected, (int)i + 1, sizeof(expected));
		assert_int_equal(pread(fd, data, SPOT, (off_t)spots[i]), spot_bytes(i));
		assert_memory_equal(data, expected, spot_bytes(i));
	}
	/* Between them there is nothing. */
	uint64_t at = 0;
	for (off_t found = 0; (found = lseek(fd, (off_t)at, SEEK_DATA)) >= 0;) {
		uint64_t length = (uint64_t)pread(fd, data, SPOT, found);
		bool spot = false;
		for (unsigned i = 0; i < SPOTS; i++)
			spot |= spots[i] == (uint64_t)found;
		memset(expected, 0, sizeof(expected));
		assert_true(spot || memcmp(data, expected, length) == 0);
		at = (uint64_t)found + length;
	}
	close(fd);
}

/* What is not mapped is not read: a TiB of it would take minutes. */
static void holes(void **state)
{
	struct block_rig_user user;
	struct block_rig rig;
	uint8_t data[SPOT];

	world(&rig);
	block_rig_apply(&rig, "{'volumes': [{'name': 'large', 'tenant': 'blue', 'pool': 'p', 'size': %llu}]}",
			(unsigned long long)LARGE);
	json_decref(act(&rig, "volume", "export-image", "blue/large", "empty", NULL));
	assert_reads(&rig, 0, 0);
	assert_int_equal(shell(&rig, "[ $(du -k empty | cut -f 1) = 0 ]"), 0);
	block_rig_attach(&user, &rig, "volume", "large", NULL);
	WAIT_FOR(&rig.base, user.device);
	for (unsigned i = 0; i < SPOTS; i++) {
		memset(data, (int)i + 1, sizeof(data));
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, spots[i], data, spot_bytes(i), 0), DPU_BLOCK_OK);
	}
	run_for(&rig.base, 100 * CLOCK_NS_PER_MS);
	uint64_t before = strtoull(block_rig_field(&rig, "volume", "large", "reads"), NULL, 10);
	json_decref(act(&rig, "volume", "export-image", "blue/large", "sparse", NULL));
	assert_reads(&rig, before + SPOTS - 1, before + 2 * SPOTS);
	assert_spots(&rig, "sparse");
	block_rig_detach(&user);
	block_rig_free(&rig);
}

static void qcow2(void **state)
{
	struct block_rig rig;

	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		skip();
	world(&rig);
	assert_int_equal(shell(&rig, image_make), 0);
	assert_int_equal(shell(&rig, "truncate -s 21M in.raw && qemu-img convert -c -f raw -O qcow2 in.raw in.qcow2"),
			 0);
	json_decref(act(&rig, "volume", "import-image", "blue/v", "in.qcow2", NULL));
	sync_expect("out.qcow2");
	json_decref(act(&rig, "volume", "export-image", "blue/v", "out.qcow2", NULL));
	assert_true(synced.files == 1 && synced.folders == 1);
	assert_int_equal(shell(&rig, "qemu-img compare -q -f raw -F qcow2 in.raw out.qcow2"), 0);
	assert_int_equal(shell(&rig, "[ $(stat -c %a out.qcow2) = 600 ]"), 0);
	assert_int_equal(shell(&rig, "[ -z \"$(ls -A | grep '^\\.')\" ]"), 0);
	block_rig_free(&rig);
}

/* What an import that was cut short has left is said until another has filled the volume. */
static void mark_stays(void **state)
{
	struct block_rig rig;
	struct dpu_error err;
	char mark[128];

	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		skip();
	world(&rig);
	assert_int_equal(shell(&rig, image_make), 0);
	assert_int_equal(shell(&rig, "qemu-img convert -f raw -O qcow2 in.raw bad.qcow2 && head -c 4096 /dev/zero | "
				     "tr '\\0' '\\377' | dd of=bad.qcow2 bs=4096 seek=48 conv=notrunc status=none"),
			 0);
	snprintf(mark, sizeof(mark), "touch .%s.import", block_rig_field(&rig, "volume", "v", "uuid"));
	assert_int_equal(shell(&rig, mark), 0);
	assert_null(act(&rig, "volume", "import-image", "blue/v", "bad.qcow2", &err));
	assert_string_equal(err.message, "qemu-img: error while reading block status at offset 0: Input/output error");
	assert_int_equal(shell(&rig, "[ -e .*.import ]"), 0);
	json_decref(act(&rig, "volume", "import-image", "blue/v", "in.raw", NULL));
	assert_int_equal(shell(&rig, "[ ! -e .*.import ]"), 0);
	block_rig_free(&rig);
}

/* The volume would have some of one image and some of another. */
static void changed_meanwhile(void **state)
{
	static const char *const changes[] = { "truncate -s 2M in.raw", "truncate -s 80M in.raw",
					       "echo x | dd of=in.raw conv=notrunc status=none" };
	struct block_rig rig;

	world(&rig);
	block_rig_apply(&rig, "{'qos_policies': [{'name': 'slow', 'tenant': 'blue', 'cap_bandwidth': 1000000}],"
			      " 'volumes': [{'name': 'v', 'tenant': 'blue', 'qos': 'slow'}]}");
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		assert_int_equal(shell(&rig, "head -c 12000000 /dev/urandom >in.raw"), 0);
		json_decref(block_rig_action(&rig, "volume", "import-image", "blue/v",
					     json_pack("{s:s}", "file", "in.raw"), NULL));
		run_for(&rig.base, 20 * CLOCK_NS_PER_MS);
		assert_int_equal(shell(&rig, changes[i]), 0);
		WAIT_FOR(&rig.base, !strstr(block_rig_field(&rig, "volume", "v", "image"), "importing"));
		FIELD_IS(&rig, "volume", "v", "image",
			 "import of in.raw failed: in.raw was changed while it was read, "
			 "and the volume has neither the image nor what it had before");
		assert_int_equal(shell(&rig, "[ -e .*.import ]"), 0);
	}
	block_rig_free(&rig);
}

/* qemu-img opens it anew: it may be another one by then, which names files that nobody looked at. */
static void changed_for_the_tool(void **state)
{
	char path[256], before[4096];
	struct block_rig rig;
	struct dpu_error err;

	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		skip();
	world(&rig);
	assert_int_equal(shell(&rig, "qemu-img create -q -f qcow2 in.qcow2 1M && cp in.qcow2 other && mkdir ../bin && "
				     "printf '#!/bin/sh\\nmv %s/other %s/in.qcow2' $PWD $PWD >../bin/qemu-img && "
				     "chmod 755 ../bin/qemu-img"),
			 0);
	snprintf(before, sizeof(before), "%s", getenv("PATH"));
	snprintf(path, sizeof(path), "%s/bin:/usr/bin:/bin", rig.dir);
	setenv("PATH", path, 1);
	assert_null(act(&rig, "volume", "import-image", "blue/v", "in.qcow2", &err));
	setenv("PATH", before, 1);
	assert_non_null(strstr(err.message, "in.qcow2 was changed while it was read"));
	block_rig_free(&rig);
}

/* In place of qemu-img is what a script says, before or instead of the real one, in the folder of the images. */
static void tool_instead(struct block_rig *rig, const char *script, char before[static 4096])
{
	char path[256], command[512];

	snprintf(
		command, sizeof(command),
		"mkdir ../bin && printf '#!/bin/sh\\ncd %s/images && %s' >../bin/qemu-img && chmod 755 ../bin/qemu-img",
		rig->dir, script);
	assert_int_equal(shell(rig, command), 0);
	snprintf(before, 4096, "%s", getenv("PATH"));
	snprintf(path, sizeof(path), "%s/bin:/usr/bin:/bin", rig->dir);
	setenv("PATH", path, 1);
}

/* Who may write into the folder of the images puts a link to a file of the host where qemu-img is to write. */
static void link_for_the_tool(void **state)
{
	struct block_rig rig;
	char before[4096];

	if (access("/usr/bin/qemu-img", X_OK) < 0)
		skip();
	world(&rig);
	assert_int_equal(shell(&rig, "echo precious >../victim"), 0);
	tool_instead(&rig, "for f in .*.made; do ln -sf ../victim $f; done; exec /usr/bin/qemu-img \"$@\"", before);
	json_decref(act(&rig, "volume", "export-image", "blue/v", "out.qcow2", NULL));
	setenv("PATH", before, 1);
	assert_int_equal(shell(&rig, "[ \"$(cat ../victim)\" = precious ]"), 0);
	block_rig_free(&rig);
}

/* The kernel, short of memory, or an operator. */
static void failed_tool(void **state)
{
	struct block_rig rig;
	struct dpu_error err;
	char before[4096];

	world(&rig);
	tool_instead(
		&rig,
		"[ -e ../again ] && { echo Cannot use /proc/self/fd/4 after /proc/self/fd/3; exit 1; }; kill -9 $$",
		before);
	assert_null(act(&rig, "volume", "export-image", "blue/v", "out.qcow2", &err));
	assert_string_equal(err.message, "qemu-img was ended by signal 9 (Killed): begin again");
	/* Its words are about descriptors. */
	assert_int_equal(shell(&rig, "touch ../again"), 0);
	assert_null(act(&rig, "volume", "export-image", "blue/v", "out.qcow2", &err));
	assert_string_equal(err.message, "Cannot use out.qcow2 after the raw file in between");
	setenv("PATH", before, 1);
	assert_int_equal(shell(&rig, "[ -z \"$(ls -A)\" ]"), 0);
	block_rig_free(&rig);
}

static void tool_done(void *ctx, const char *why)
{
}

/* What a dpud has begun does not go on without it. */
static void orphaned_tool(void **state)
{
	static const char *const argv[] = { "sh", "-c", "echo begun >&4; exec sleep 100", NULL };
	int pipes[2], status;
	struct tool *tool;
	char begun;

	assert_int_equal(pipe(pipes), 0);
	int source = fcntl(pipes[0], F_DUPFD, 100), target = fcntl(pipes[1], F_DUPFD, 100);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid_t parent = fork();
	if (parent == 0) {
		struct loop *loop;
		if (loop_new(&loop) == 0 && tool_start(loop, argv, source, target, tool_done, NULL, &tool, NULL) == 0 &&
		    read(source, &begun, 1) == 1)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_true(WIFSIGNALED(status));
	pid_t orphan = wait(&status);
	assert_true(orphan > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	close(source);
	close(target);
	close(pipes[0]);
	close(pipes[1]);
}

/* A folder's name need not be UTF-8. */
static void folder_name(void **state)
{
	struct block_rig rig;
	char folder[96];

	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		skip();
	world(&rig);
	snprintf(folder, sizeof(folder), "%s/\xe4", rig.dir);
	rig.dpu.image_dir = folder;
	json_decref(act(&rig, "volume", "export-image", "blue/v", "out.qcow2", NULL));
	json_decref(act(&rig, "volume", "import-image", "blue/v", "out.qcow2", NULL));
	rig.dpu.image_dir = NULL;
	block_rig_free(&rig);
}

/* Without qemu-img there is no qcow2, which is found out before the volume is read. */
static void no_tool(void **state)
{
	struct block_rig rig;
	struct dpu_error err;
	char before[4096];

	world(&rig);
	snprintf(before, sizeof(before), "%s", getenv("PATH"));
	setenv("PATH", rig.dir, 1);
	json_t *answer = block_rig_action(&rig, "volume", "export-image", "blue/v",
					  json_pack("{s:s}", "file", "out.qcow2"), &err);
	setenv("PATH", before, 1);
	assert_null(answer);
	assert_int_equal(err.code, DPU_E_UNSUPPORTED);
	assert_non_null(strstr(err.message, "qemu-img cannot be run: it is not installed"));
	block_rig_free(&rig);
}

static void refusals(void **state)
{
	static const struct {
		const char *make, *file, *words;
	} cases[] = {
		{ "true", "none", "cannot be opened" },
		{ "truncate -s 65M large", "large", "make the volume larger first" },
		{ "mkdir folder", "folder", "no regular file" },
		{ "ln -s /etc/hostname link", "link", "cannot be opened" },
		{ "mkfifo pipe", "pipe", "no regular file" },
		{ "echo hello >text.qcow2", "text.qcow2", "text.qcow2, offset 0: this is no qcow2 image" },
		{ "printf 'QFI\\373abcd' >disk.img", "disk.img",
		  "disk.img, offset 0: looks like qcow2: say format=qcow2, or say format=raw if its bytes are the "
		  "disk" },
		{ "printf KDMV1234 >disk.vmdk", "disk.vmdk",
		  "disk.vmdk, offset 0: looks like vmdk: turn it into qcow2 or raw first (qemu-img convert)" },
		{ "printf '# Disk DescriptorFile' >disk.vmdk", "disk.vmdk", "disk.vmdk, offset 0: looks like vmdk" },
		{ "echo '<<< Disk Image >>>' >disk.vdi", "disk.vdi", "disk.vdi, offset 0: looks like vdi" },
		{ "printf conectix >disk.vhd", "disk.vhd", "disk.vhd, offset 0: looks like vhd" },
		{ "truncate -s 1M fixed.vhd && printf %-512s conectix >>fixed.vhd", "fixed.vhd",
		  "fixed.vhd, offset 1048576: looks like vhd" },
		{ "printf vhdxfile >disk.vhdx", "disk.vhdx", "disk.vhdx, offset 0: looks like vhdx" },
		{ "echo disk | gzip >disk.gz", "disk.gz",
		  "disk.gz, offset 0: looks like gzip: unpack it first, or say format=raw if its bytes are the disk" },
		{ "printf '\\3757zXZ' >disk.xz", "disk.xz", "disk.xz, offset 0: looks like xz" },
		{ "tar cf disk.ova disk.vhd", "disk.ova", "disk.ova, offset 257: looks like tar (or ova)" },
		{ "touch empty.raw", "empty.raw", "empty.raw is empty" },
		{ "true", "../m", "must be a file name" },
		{ "true", ".hidden", "must be a file name" },
	};
	struct block_rig_user user;
	struct block_rig rig;
	struct dpu_error err;

	world(&rig);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(shell(&rig, cases[i].make), 0);
		assert_null(act(&rig, "volume", "import-image", "blue/v", cases[i].file, &err));
		if (!strstr(err.message, cases[i].words))
			fail_msg("%s: %s", cases[i].file, err.message);
	}
	assert_int_equal(shell(&rig, "truncate -s 1M good"), 0);
	block_rig_attach(&user, &rig, "volume", "v", NULL);
	assert_null(act(&rig, "volume", "import-image", "blue/v", "good", &err));
	assert_int_equal(err.code, DPU_E_IN_USE);
	block_rig_detach(&user);
	block_rig_free(&rig);
}

/* Cancelled, deleted under it, stopped under it: each ends it, and nothing is left over. */
static void ended_early(void **state)
{
	struct block_rig rig;
	struct dpu_error err;

	world(&rig);
	assert_int_equal(shell(&rig, "head -c 60000000 /dev/urandom >in.raw"), 0);
	assert_int_equal(shell(&rig, "head -c 4000000 /dev/urandom >small.raw"), 0);
	json_decref(act(&rig, "volume", "import-image", "blue/w", "small.raw", NULL));
	block_rig_apply(&rig, "{'qos_policies': [{'name': 'slow', 'tenant': 'blue', 'cap_bandwidth': 1000000}],"
			      " 'volumes': [{'name': 'w', 'tenant': 'blue', 'qos': 'slow'}]}");
	json_decref(
		block_rig_action(&rig, "volume", "import-image", "blue/v", json_pack("{s:s}", "file", "in.raw"), NULL));
	assert_null(act(&rig, "volume", "import-image", "blue/v", "in.raw", &err));
	assert_int_equal(err.code, DPU_E_CONFLICT);
	run_for(&rig.base, CLOCK_NS_PER_MS);
	json_decref(block_rig_action(&rig, "volume", "cancel-image", "blue/v", NULL, NULL));
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "volume", "v", "image"), "import of in.raw cancelled"));
	json_decref(
		block_rig_action(&rig, "volume", "export-image", "blue/w", json_pack("{s:s}", "file", "out"), NULL));
	json_decref(
		block_rig_action(&rig, "volume", "import-image", "blue/v", json_pack("{s:s}", "file", "in.raw"), NULL));
	block_rig_delete(&rig, "volume", "blue/w", false, NULL);
	assert_int_equal(shell(&rig, "[ ! -e out ]"), 0);
	block_rig_free(&rig); /* with an import under way */

	world(&rig);
	char mark[96];
	snprintf(mark, sizeof(mark), "touch .%s.import", block_rig_field(&rig, "volume", "v", "uuid"));
	assert_int_equal(shell(&rig, mark), 0);
	block_rig_delete(&rig, "pool", "p", true, NULL);
	WAIT_FOR(&rig.base, shell(&rig, "[ -z \"$(ls -A)\" ]") == 0);
	block_rig_free(&rig);
}

/* ---- a search that takes long (the linker puts this in store_submit's place) ---- */

static struct hold search;

void __real_store_submit(struct store *store, struct store_command *command);
void __wrap_store_submit(struct store *store, struct store_command *command);

void __wrap_store_submit(struct store *store, struct store_command *command)
{
	if (command->op == STORE_SEEK)
		hold_here(&search);
	__real_store_submit(store, command);
}

/* The answer is there at once, the end when the worker has done with it. */
static void cancelled_in_a_search(void **state)
{
	struct block_rig rig;

	world(&rig);
	hold_next(&search);
	json_decref(
		block_rig_action(&rig, "volume", "export-image", "blue/v", json_pack("{s:s}", "file", "out"), NULL));
	WAIT_FOR(&rig.base, sem_trywait(&search.begun) == 0);
	json_decref(block_rig_action(&rig, "volume", "cancel-image", "blue/v", NULL, NULL));
	run_for(&rig.base, 20 * CLOCK_NS_PER_MS);
	assert_string_equal(block_rig_field(&rig, "volume", "v", "image"), "exporting out, 0 %");
	sem_post(&search.end);
	WAIT_FOR(&rig.base, !strstr(block_rig_field(&rig, "volume", "v", "image"), "exporting"));
	assert_string_equal(block_rig_field(&rig, "volume", "v", "image"), "export of out cancelled");
	assert_int_equal(shell(&rig, "[ -z \"$(ls -A)\" ]"), 0);
	json_decref(act(&rig, "volume", "export-image", "blue/v", "out", NULL));
	block_rig_free(&rig);
}

/* What is under way waits for a machine that is away: it does not keep the import. */
static void cancelled_at_a_medium(void **state)
{
	static const struct service *const services[] = { &block_service, &block_rig_remote_service, NULL };
	struct block_rig rig;

	rig_new(&rig, services);
	block_rig_apply(&rig, "{'tenants': [{'name': 'blue'}], 'nvmf_remotes': [{'name': 'm'}],"
			      " 'pools': [{'name': 'p', 'remotes': ['m']}],"
			      " 'volumes': [{'name': 'v', 'tenant': 'blue', 'pool': 'p', 'size': '64M'}]}");
	assert_int_equal(shell(&rig, "head -c 1M /dev/urandom >in"), 0);
	block_rig_remote_hang(&rig, "m", true);
	json_decref(block_rig_action(&rig, "volume", "import-image", "blue/v", json_pack("{s:s}", "file", "in"), NULL));
	run_for(&rig.base, 50 * CLOCK_NS_PER_MS);
	assert_non_null(strstr(block_rig_field(&rig, "volume", "v", "image"), "importing in"));
	json_decref(block_rig_action(&rig, "volume", "cancel-image", "blue/v", NULL, NULL));
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "volume", "v", "image"), "import of in cancelled"));
	block_rig_remote_hang(&rig, "m", false);
	json_decref(act(&rig, "volume", "import-image", "blue/v", "in", NULL));
	block_rig_free(&rig);
}

/* An export that has its name is done, whatever is said then. */
static void cancelled_too_late(void **state)
{
	struct block_rig rig;

	world(&rig);
	sync_expect("out");
	hold_next(&synced.named);
	json_decref(
		block_rig_action(&rig, "volume", "export-image", "blue/v", json_pack("{s:s}", "file", "out"), NULL));
	WAIT_FOR(&rig.base, sem_trywait(&synced.named.begun) == 0);
	json_decref(block_rig_action(&rig, "volume", "cancel-image", "blue/v", NULL, NULL));
	sem_post(&synced.named.end);
	WAIT_FOR(&rig.base, !strstr(block_rig_field(&rig, "volume", "v", "image"), "exporting"));
	assert_string_equal(block_rig_field(&rig, "volume", "v", "image"), "export of out done");
	assert_int_equal(shell(&rig, "[ $(stat -c %s out) = 67108864 ]"), 0);
	block_rig_free(&rig);
}

/* The mark is a file where others may write, too. */
static void strange_marks(void **state)
{
	struct block_rig rig;
	struct dpu_error err;
	char command[256];

	world(&rig);
	snprintf(command, sizeof(command), "truncate -s 1M good && mkfifo .%s.import",
		 block_rig_field(&rig, "volume", "v", "uuid"));
	assert_int_equal(shell(&rig, command), 0);
	assert_null(act(&rig, "volume", "import-image", "blue/v", "good", &err));
	assert_non_null(strstr(err.message, ".import cannot be written, which says that the import has begun"));
	snprintf(command, sizeof(command), "printf 'a\\377\\033' >.%s.import",
		 block_rig_field(&rig, "volume", "w", "uuid"));
	assert_int_equal(shell(&rig, command), 0);
	block_rig_down(&rig);
	block_rig_up(&rig);
	FIELD_IS(&rig, "volume", "w", "image",
		 "import of a?? failed: it was cut short, and the volume has neither the image nor what it had before");
	block_rig_free(&rig);
}

/* ---- headers ---- */

static void header(void **state)
{
	static const struct {
		unsigned at, value, bytes;
		const char *where;
	} faults[] = {
		{ 0, 'q', 104, "offset 0:" },     { 7, 4, 104, "offset 4:" },      { 7, 1, 104, "offset 4:" },
		{ 15, 104, 104, "offset 8:" },    { 79, 4, 104, "offset 72:" },    { 79, 2, 104, "offset 72:" },
		{ 72, 1, 104, "offset 72:" },     { 35, 1, 104, "offset 32:" },    { 0, 'Q', 103, "offset 103:" },
		{ 0, 'Q', 71, "offset 0:" },      { 0, 'Q', 0, "offset 0:" },      { 23, 8, 104, "offset 20:" },
		{ 23, 22, 104, "offset 20:" },    { 20, 1, 104, "offset 20:" },    { 38, 0x80, 104, "offset 40:" },
		{ 45, 0x10, 104, "offset 40:" },  { 47, 1, 104, "offset 40:" },    { 40, 0xff, 104, "offset 40:" },
		{ 53, 0x10, 104, "offset 48:" },  { 48, 0xff, 104, "offset 48:" }, { 71, 1, 104, "offset 64:" },
		{ 64, 1, 104, "offset 64:" },     { 99, 7, 104, "offset 96:" },    { 103, 0, 104, "offset 100:" },
		{ 103, 105, 104, "offset 100:" }, { 100, 1, 104, "offset 100:" },
	};
	uint8_t good[QCOW2_HEADER_BYTES] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
	struct dpu_error err;
	uint64_t bytes;

	good[23] = 16; /* bits of a cluster */
	good[27] = 1;
	good[28] = 2;
	good[39] = 4; /* entries of the table of data */
	good[45] = 3;
	good[53] = 1;
	good[99] = 4;
	good[103] = QCOW2_HEADER_BYTES;
	assert_int_equal(qcow2_check("disk", good, sizeof(good), 0x30020, &bytes, &err), 0);
	assert_int_equal(bytes, (UINT64_C(1) << 32) + (2 << 24));
	assert_int_not_equal(qcow2_check("disk", good, sizeof(good), 0x3001f, &bytes, &err), 0);
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		uint8_t bad[QCOW2_HEADER_BYTES];
		memcpy(bad, good, sizeof(bad));
		bad[faults[i].at] = (uint8_t)faults[i].value;
		if (qcow2_check("disk", bad, faults[i].bytes, 0x30020, &bytes, &err) == 0)
			fail_msg("fault %u was accepted", i);
		if (!strstr(err.message, faults[i].where) || strncmp(err.message, "disk, ", 6) != 0)
			fail_msg("fault %u: %s", i, err.message);
	}
}

/* ---- words ---- */

static void words(void **state)
{
	static const char *const said[] = { "    (0.00/100%)\r    (1", "2.34/100%)\r",        "\r\n", "(nan/100%)\n",
					    "bad \x1b[1m\xff image",   "\n    (99.99/100%)\r" };
	struct tool_words words = { 0 };

	for (unsigned i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		tool_words_take(&words, said[i], strlen(said[i]));
		if (i == 2)
			assert_int_equal(words.percent, 12);
		if (i == 2)
			assert_string_equal(words.last, "");
	}
	assert_int_equal(words.percent, 99);
	assert_string_equal(tool_words_last(&words), "bad ?[1m? image");
	tool_words_take(&words, "\xc3\xa4\n\xc3", 4);
	assert_string_equal(words.last, "\xc3\xa4");
	assert_string_equal(tool_words_last(&words), "?");
}

/* The outcome is told also where what is quoted is cut within a character. */
static void long_names(void **state)
{
	char name[256] = "x", done[300];
	struct block_rig rig;

	for (unsigned i = 1; i + 2 < 124; i += 2)
		memcpy(name + i, "\xc3\xa4", 3);
	world(&rig);
	snprintf(done, sizeof(done), "truncate -s 4096 '%s'", name);
	assert_int_equal(shell(&rig, done), 0);
	json_decref(act(&rig, "volume", "import-image", "blue/v", name, NULL));
	json_t *progress = block_rig_action(&rig, "volume", "image-progress", "blue/v", NULL, NULL);
	assert_non_null(progress);
	assert_string_equal(json_string_value(json_object_get(progress, "state")), "done");
	json_decref(progress);
	block_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raw),
		cmocka_unit_test(holes),
		cmocka_unit_test(qcow2),
		cmocka_unit_test(mark_stays),
		cmocka_unit_test(changed_meanwhile),
		cmocka_unit_test(changed_for_the_tool),
		cmocka_unit_test(link_for_the_tool),
		cmocka_unit_test(failed_tool),
		cmocka_unit_test(orphaned_tool),
		cmocka_unit_test(folder_name),
		cmocka_unit_test(no_tool),
		cmocka_unit_test(refusals),
		cmocka_unit_test(ended_early),
		cmocka_unit_test(strange_marks),
		cmocka_unit_test(header),
		cmocka_unit_test(words),
		cmocka_unit_test(long_names),
		cmocka_unit_test(cancelled_in_a_search),
		cmocka_unit_test(cancelled_at_a_medium),
		cmocka_unit_test(cancelled_too_late),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
