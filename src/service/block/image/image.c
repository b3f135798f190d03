// SPDX-License-Identifier: BSD-3-Clause
/* Life of an import or export: the file is opened, qemu-img turns it into raw or from raw, the data is moved, and
 * whoever waits is answered. */
#include "service/block/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "service/block/image/image_priv.h"
#include "service/block/image/qcow2.h"

enum { JOBS_MAX = 4 };
#define MARK "import"

static void device_come(struct image_job *job);

/* ---- the end ---- */

void image_fail(struct image_job *job, enum dpu_error_code code, const char *fmt, ...)
{
	va_list args;

	if (job->failed)
		return;
	job->failed = true;
	va_start(args, fmt);
	error_vset(&job->error, code, NULL, fmt, args);
	va_end(args);
}

static void job_free(void *arg)
{
	struct image_job *job = arg;
	struct block *block = job->block;
	struct volume *volume = job->volume; /* it waits for its users */
	struct action_reply *reply = job->reply;
	int status = job->failed ? error_errno(job->error.code) : 0;
	char kind[32];
	char name[100], why[sizeof(volume->image_last) - sizeof(name) - sizeof(IMAGE_NEITHER) - 24];

	volume->image_state = job->cancelled ? WORK_CANCELLED : job->failed ? WORK_FAILED : WORK_DONE;
	bool failed = volume->image_state == WORK_FAILED;
	str_format(name, sizeof(name), "%s", job->name);
	str_format(why, sizeof(why), "%s", failed ? job->error.message : "");
	snprintf(volume->image_last, sizeof(volume->image_last), "%s of %s %s%s%s%s", job->import ? "import" : "export",
		 name, work_state_names[volume->image_state], failed ? ": " : "", why,
		 job->failed && job->changed ? ", and " IMAGE_NEITHER : "");
	snprintf(kind, sizeof(kind), "image-%s", work_state_names[volume->image_state]);
	subject_notice_info(&volume->subject, kind, volume->image_last);
	volume->image = NULL;
	if (reply)
		action_answer(reply, status, status ? NULL : json_pack("{s:s}", "state", "done"), &job->error);
	TAILQ_REMOVE(&block->jobs, job, link);
	free(job);
	block_stop_check(block);
}

static void job_end(struct image_job *job)
{
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
	if (job->raw[0])
		unlink(job->raw);
	if (job->made[0])
		unlink(job->made);
	if (job->marked && !(job->failed && job->changed))
		unlink(job->mark);
	if (job->asked) {
		job->asked = false;
		job->device = NULL;
		block_released(job->attachment);
	}
	job->ending = true;
	block_detach(job->attachment, job_free, job);
}

static int sync_path(const char *path)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* In a helper: the export gets its name when it is safe, and is done when its name is safe, too. */
static void publish(void *arg)
{
	struct image_job *job = arg;
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(job->path, '/') - job->path), job->path);
	job->helper_rc = sync_path(job->made);
	if (job->helper_rc == 0 && (job->overwrite ? rename(job->made, job->path) : link(job->made, job->path)) < 0)
		job->helper_rc = -errno;
	if (job->helper_rc == 0)
		job->helper_rc = sync_path(folder);
}

/* What was said meanwhile came too late. */
static void unfail(struct image_job *job)
{
	job->failed = job->cancelled = false;
	job->error = (struct dpu_error){ 0 };
}

static void published(void *arg)
{
	struct image_job *job = arg;

	job->moving = false;
	if (job->helper_rc < 0)
		image_fail(job, job->helper_rc == -EEXIST ? DPU_E_EXISTS : DPU_E_IO, "%s cannot be given its name: %s",
			   job->name, strerror(-job->helper_rc));
	else
		unfail(job);
	job_end(job);
}

static void export_end(struct image_job *job)
{
	if (job->failed) {
		job_end(job);
		return;
	}
	job->moving = true;
	if (helpers_run(job->block->helpers, publish, published, job) != 0)
		abort(); /* out of memory */
}

/* Whatever it does is ended; what is under way ends in job_end(). */
static void job_stop(struct image_job *job, enum dpu_error_code code, const char *why)
{
	image_fail(job, code, "%s", why);
	if (job->tool)
		tool_kill(job->tool);
	else if (!job->moving)
		job_end(job);
}

static void device_given(void *ctx, struct dpu_block_device *device, struct worker *worker)
{
	struct image_job *job = ctx;

	if (job->ending) {
		block_released(job->attachment);
		return;
	}
	if (device) {
		job->device = device;
		job->worker = worker;
		device_come(job);
		return;
	}
	job->asked = true;
	job_stop(job, DPU_E_IO, "the volume is taken out of use");
}

/* ---- qemu-img ---- */

/* qemu-img has opened it by its name: whether that was still what had been looked at is known only now. */
static void import_converted(struct image_job *job)
{
	struct stat now;

	if (lstat(job->path, &now) < 0 || !image_unchanged(job, &now)) {
		image_fail(job, DPU_E_CONFLICT, "it was changed while it was read");
		job_end(job);
		return;
	}
	job->fd = open(job->raw, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (job->fd < 0) {
		image_fail(job, DPU_E_IO, "what qemu-img has made cannot be opened: %s", strerror(errno));
		job_end(job);
		return;
	}
	image_stream(job);
}

static void converted(void *ctx, const char *why)
{
	struct image_job *job = ctx;

	job->tool = NULL;
	if (why)
		image_fail(job, DPU_E_IO, "%s", why);
	if (!job->import) {
		export_end(job);
		return;
	}
	if (job->failed) {
		job_end(job);
		return;
	}
	import_converted(job);
}

/* Nobody else may read it, whatever qemu-img would make. */
static int target_make(const char *path, struct dpu_error *err)
{
	unlink(path); /* of one that was killed too late */
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? error_set(err, DPU_E_IO, "file", "%s cannot be made: %s", path, strerror(errno)) : 0;
}

/* Formats are said, never guessed, and an image's word on other files counts for nothing: the backing file is "none".
 */
static void convert(struct image_job *job)
{
	json_t *source = job->import ? json_pack("{s:s, s:n, s:{s:s, s:s}}", "driver", "qcow2", "backing", "file",
						 "driver", "file", "filename", job->path)
				     : json_pack("{s:s, s:{s:s, s:s}}", "driver", "raw", "file", "driver", "file",
						 "filename", job->raw);
	char *text = source ? json_dumps(source, JSON_COMPACT) : NULL;
	const char *target = job->import ? job->raw : job->made;
	char *argument = NULL;

	if (!text || asprintf(&argument, "json:%s", text) < 0)
		abort(); /* out of memory: tool_check() has seen to it that the path is UTF-8 */
	const char *const argv[] = { "qemu-img", "convert", "-p", "-O", job->import ? "raw" : "qcow2",
				     argument,   target,    NULL };
	job->phase = "converting";
	if (target_make(target, &job->error) != 0 ||
	    tool_start(job->block->dpu->loop, argv, converted, job, &job->tool, &job->error) != 0) {
		job->failed = true;
		job_end(job);
	}
	free(argument);
	free(text);
	json_decref(source);
}

void image_streamed(struct image_job *job)
{
	if (job->import)
		job_end(job);
	else if (!job->failed && job->qcow2)
		convert(job);
	else
		export_end(job);
}

static void device_come(struct image_job *job)
{
	if (job->failed)
		job_end(job);
	else if (job->import && job->total > job->device->bytes) {
		image_fail(job, DPU_E_INVALID, "the image has %llu bytes and the volume %llu: make it larger first",
			   (unsigned long long)job->total, (unsigned long long)job->device->bytes);
		job_end(job);
	} else if (job->import && job->qcow2)
		convert(job);
	else
		image_stream(job);
}

/* ---- the beginning ---- */

static void directory_name(const struct block *block, char *ret, size_t bytes)
{
	if (block->dpu->image_dir)
		snprintf(ret, bytes, "%s", block->dpu->image_dir);
	else
		snprintf(ret, bytes, "%s/images", block->dpu->store_dir);
}

static int directory(const struct block *block, char *ret, size_t bytes, struct dpu_error *err)
{
	directory_name(block, ret, bytes);
	if (mkdir(ret, 0700) < 0 && errno != EEXIST)
		return error_set(err, DPU_E_IO, ret, "the image directory cannot be made: %s", strerror(errno));
	return 0;
}

/* A file that is no image yet, or none any more. */
static void between(char *ret, size_t bytes, const char *dir, const struct volume *volume, const char *suffix)
{
	snprintf(ret, bytes, "%s/.%s.%s", dir, volume->key, suffix);
}

void images_start(struct block *block)
{
	char dir[PATH_MAX - 256], path[PATH_MAX];
	struct volume *volume;
	struct pool *pool;

	directory_name(block, dir, sizeof(dir));
	TAILQ_FOREACH(pool, &block->pools, link)
	TAILQ_FOREACH(volume, &pool->volumes, link)
	for (unsigned i = 0; i < 3; i++) {
		between(path, sizeof(path), dir, volume, i == 0 ? "raw" : i == 1 ? "made" : MARK);
		if (i == 2)
			image_mark_read(volume, path);
		else if (unlink(path) == 0)
			log_info("block", "an import or export that was cut short is gone", "object=%s path=\"%s\"",
				 volume->subject.name, path);
	}
}

void image_forget(struct volume *volume)
{
	char dir[PATH_MAX - 256], path[PATH_MAX];

	directory_name(volume->subject.block, dir, sizeof(dir));
	between(path, sizeof(path), dir, volume, MARK);
	unlink(path);
}

/* An image of another format would become the volume byte by byte. Its word is not taken: whoever wrote a raw disk
 * could have written that, too. */
static int raw_check(const struct image_job *job, const uint8_t *header, size_t bytes, struct dpu_error *err)
{
	static const struct {
		const char *begins, *format;
	} others[] = { { "QFI\xfb", "qcow2" }, { "KDMV", "vmdk" },     { "vhdxfile", "vhdx" },
		       { "<<< ", "vdi" },      { "\x1f\x8b", "gzip" }, { "\3757zXZ", "xz" } };

	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		size_t length = strlen(others[i].begins);

		if (bytes >= length && memcmp(header, others[i].begins, length) == 0)
			return error_set(err, DPU_E_INVALID, "file",
					 "%s, offset 0: begins as %s does, and its name does not end in .qcow2: say "
					 "%sformat=raw if its bytes are the disk",
					 job->name, others[i].format, i == 0 ? "format=qcow2, or " : "");
	}
	return 0;
}

static int import_open(struct image_job *job, struct dpu_error *err)
{
	uint8_t header[QCOW2_HEADER_BYTES];

	job->fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (job->fd < 0)
		return error_set(err, errno == ENOENT ? DPU_E_NOT_FOUND : DPU_E_IO, "file", "%s cannot be opened: %s",
				 job->path, strerror(errno));
	if (fstat(job->fd, &job->source) < 0 || !S_ISREG(job->source.st_mode))
		return error_set(err, DPU_E_INVALID, "file", "%s is no regular file", job->path);
	job->total = (uint64_t)job->source.st_size;
	ssize_t got = pread(job->fd, header, sizeof(header), 0);
	uint32_t bytes = got > 0 ? (uint32_t)got : 0;
	if (!job->qcow2)
		return job->guessed ? raw_check(job, header, bytes, err) : 0;
	int rc = qcow2_check(job->name, header, bytes, (uint64_t)job->source.st_size, &job->total, err);
	return rc == 0 ? tool_check("qemu-img", job->path, err) : rc;
}

static int export_open(struct image_job *job, struct dpu_error *err)
{
	const char *stream = job->qcow2 ? job->raw : job->made;
	struct stat there;
	bool taken = lstat(job->path, &there) == 0;
	int rc = job->qcow2 ? tool_check("qemu-img", job->path, err) : 0;

	if (rc != 0)
		return rc;
	if (taken && S_ISDIR(there.st_mode))
		return error_set(err, DPU_E_EXISTS, "file", "%s is a folder", job->path);
	if (taken && !job->overwrite)
		return error_set(err, DPU_E_EXISTS, "file", "%s is there already: say overwrite=true if that is meant",
				 job->path);
	job->fd = open(stream, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (job->fd < 0)
		return error_set(err, DPU_E_IO, "file", "%s cannot be made: %s", stream, strerror(errno));
	if (ftruncate(job->fd, (off_t)job->volume->bytes) == 0)
		return 0;
	rc = error_set(err, DPU_E_IO, "file", "%s cannot have the volume's %llu bytes: %s", stream,
		       (unsigned long long)job->volume->bytes, strerror(errno));
	unlink(stream);
	return rc;
}

static int job_paths(struct image_job *job, const struct image_args *args, struct dpu_error *err)
{
	size_t length = strlen(args->file);
	char dir[PATH_MAX - 256];
	int rc = directory(job->block, dir, sizeof(dir), err);

	if (rc != 0)
		return rc;
	job->qcow2 = args->format == IMAGE_QCOW2 ||
		     (args->format == IMAGE_AUTO && length > 6 && strcmp(args->file + length - 6, ".qcow2") == 0);
	job->guessed = args->format == IMAGE_AUTO;
	job->overwrite = args->overwrite;
	snprintf(job->name, sizeof(job->name), "%s", args->file);
	snprintf(job->path, sizeof(job->path), "%s/%s", dir, args->file);
	if (job->qcow2)
		between(job->raw, sizeof(job->raw), dir, job->volume, "raw");
	if (job->import)
		between(job->mark, sizeof(job->mark), dir, job->volume, MARK);
	else
		between(job->made, sizeof(job->made), dir, job->volume, "made");
	return 0;
}

/* Front ends attach when they like: it is enough that one refers to it. */
static int is_front_end(void *arg, struct object *object)
{
	(void)arg;
	return object->class != &volume_class && object->class != &snapshot_class;
}

static bool has_users(const struct volume *volume)
{
	return block_backing_users(&volume->backing) > 0 ||
	       model_each_referrer(volume->subject.block->dpu->model, volume->subject.object, NULL, is_front_end, NULL);
}

static int may_start(const struct block *block, const struct volume *volume, bool import, struct dpu_error *err)
{
	const struct image_job *job;
	unsigned count = 0;

	if (volume->state != BLOCK_READY)
		return error_set(err, DPU_E_IO, NULL, "it is %s: %s", block_state_names[volume->state],
				 volume_why(volume));
	if (volume->image)
		return error_set(err, DPU_E_CONFLICT, NULL, "an import or export of it is under way");
	if (import && has_users(volume))
		return error_set(err, DPU_E_IN_USE, NULL,
				 "disks or namespaces use it, which would see it change: detach them first");
	TAILQ_FOREACH(job, &block->jobs, link)
	count++;
	if (count >= JOBS_MAX)
		return error_set(err, DPU_E_LIMIT, NULL, "%d imports and exports are under way, which is the most",
				 JOBS_MAX);
	return 0;
}

static int begin(struct block *block, struct volume *volume, const struct image_args *args, bool import,
		 struct action_reply *reply, struct dpu_error *err)
{
	struct block_user user = { .device = device_given };
	struct image_job *job;
	int rc = may_start(block, volume, import, err);

	if (rc != 0)
		return rc;
	job = block_alloc(sizeof(*job));
	*job = (struct image_job){ .block = block, .volume = volume, .import = import, .fd = -1, .phase = "beginning" };
	rc = job_paths(job, args, err);
	if (rc == 0)
		rc = import ? import_open(job, err) : export_open(job, err);
	if (rc == 0 && import && job->total > volume->bytes)
		rc = error_set(err, DPU_E_INVALID, "file", "has %llu bytes and the volume %llu: make it larger first",
			       (unsigned long long)job->total, (unsigned long long)volume->bytes);
	if (rc != 0) {
		if (job->fd >= 0)
			close(job->fd);
		free(job);
		return rc;
	}
	if (import && job->qcow2) { /* qemu-img opens it itself */
		close(job->fd);
		job->fd = -1;
	}
	job->reply = args->wait ? reply : NULL;
	TAILQ_INSERT_TAIL(&block->jobs, job, link);
	volume->image = job;
	user.ctx = job;
	job->attachment = block_attach(block, volume->subject.object, &user);
	if (!args->wait)
		action_answer(reply, 0, json_pack("{s:s}", "state", import ? "importing" : "exporting"), NULL);
	return 0;
}

int image_import_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err)
{
	return begin(ctx, volume_of(object), args, true, reply, err);
}

int image_export_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err)
{
	return begin(ctx, volume_of(object), args, false, reply, err);
}

int image_cancel(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	struct volume *volume = volume_of(object);

	(void)ctx;
	(void)args;
	if (!volume->image || volume->image->ending)
		return error_set(err, DPU_E_CONFLICT, NULL, "no import or export of it is under way");
	*ret_result = json_pack("{s:s}", "state", "cancelling");
	volume->image->cancelled = !volume->image->failed;
	job_stop(volume->image, DPU_E_CONFLICT, "cancelled");
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

int image_progress(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct volume *volume = volume_of(object);
	const struct image_job *job = volume->image;

	(void)ctx;
	(void)args;
	if (!job)
		*ret_result = volume->image_last[0]
				      ? json_pack("{s:s, s:s}", "state", work_state_names[volume->image_state], "why",
						  volume->image_last)
				      : json_pack("{s:s}", "state", work_state_names[WORK_NEVER]);
	else if (job->tool)
		*ret_result = json_pack("{s:s, s:s, s:I, s:i, s:s}", "state", "running", "phase", job->phase, "done",
					(json_int_t)tool_percent(job->tool), "total", 100, "unit", "percent");
	else
		*ret_result = json_pack("{s:s, s:s, s:I, s:I, s:s}", "state", "running", "phase", job->phase, "done",
					(json_int_t)(job->erased || !job->import ? job->at : 0), "total",
					(json_int_t)job->total, "unit", "bytes");
	return *ret_result ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

char *image_text(const struct volume *volume)
{
	const struct image_job *job = volume->image;
	unsigned percent;
	char *text;

	if (!job)
		return volume->image_last[0] ? block_text(volume->image_last) : NULL;
	percent = job->tool                                     ? tool_percent(job->tool)
		  : job->total && (job->erased || !job->import) ? (unsigned)(job->at * 100 / job->total)
								: 0;
	if (asprintf(&text, "%s %s, %u %%", job->phase, job->name, percent) < 0)
		abort(); /* out of memory */
	return text;
}

bool image_imports(const struct volume *volume)
{
	return volume->image && volume->image->import;
}

void image_abort(struct volume *volume)
{
	if (volume->image && !volume->image->ending)
		job_stop(volume->image, DPU_E_CONFLICT, "the volume was deleted");
}

void images_stop(struct block *block)
{
	struct image_job *job, *next;

	for (job = TAILQ_FIRST(&block->jobs); job; job = next) {
		next = TAILQ_NEXT(job, link);
		if (!job->ending)
			job_stop(job, DPU_E_IO, "the DPU stops");
	}
}

/* ---- arguments ---- */

static const char *const formats[] = { [IMAGE_AUTO] = "auto", [IMAGE_RAW] = "raw", [IMAGE_QCOW2] = "qcow2", NULL };

static bool file_valid(const char *text)
{
	return *text && *text != '.' && !strchr(text, '/');
}

#define FILE_ROW(doc_)                                                                                                 \
	FIELD(struct image_args, file, .flags = FIELD_F_REQUIRED, .max = 128, .check = file_valid,                     \
	      .check_doc = "must be a file name without '/'", .doc = doc_)
#define FORMAT_ROW                                                                                                     \
	FIELD_ENUM_ROW(struct image_args, format, formats, .def = "auto",                                              \
		       .doc = "Auto: qcow2 if the name ends in .qcow2, else raw.")
#define WAIT_ROW FIELD(struct image_args, wait, .def = "false", .doc = "Whether to answer only when it has ended.")

const struct field image_import_fields[] = {
	FILE_ROW("Name of the image in the DPU's image directory."),
	FORMAT_ROW,
	WAIT_ROW,
	{ 0 },
};

const struct field image_export_fields[] = {
	FILE_ROW("Name that the image gets in the DPU's image directory."),
	FORMAT_ROW,
	WAIT_ROW,
	FIELD(struct image_args, overwrite, .def = "false", .doc = "Whether a file of this name is replaced."),
	{ 0 },
};
