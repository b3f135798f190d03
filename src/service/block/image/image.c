// SPDX-License-Identifier: BSD-3-Clause
/* Life of an import or export: the file is opened, qemu-img turns it into raw or from raw, the data is moved, and
 * whoever waits is answered. */
#include "service/block/image/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/str.h"
#include "service/block/image/image_priv.h"

enum { JOBS_MAX = 4 };

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
	image_files_close(job);
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

/* In a helper. */
static void publish(void *arg)
{
	struct image_job *job = arg;

	job->helper_rc = image_file_publish(job);
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
	else if (job->moving)
		image_stream_cancel(job);
	else
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

#define FILES "/proc/self/fd/"

/* Who has the image open may have written to it since it was looked at. */
static void import_converted(struct image_job *job)
{
	struct stat now;

	if (fstat(job->qcow2_fd, &now) < 0 || !image_unchanged(job, &now)) {
		image_fail(job, DPU_E_CONFLICT, "%s was changed while it was read", job->name);
		job_end(job);
		return;
	}
	image_stream(job);
}

/* Its words have names of files where it has none. */
static void convert_fail(struct image_job *job, const char *why)
{
	static const char between[] = "the raw file in between";
	const char *names[] = { job->import ? job->name : between, job->import ? between : job->name };
	struct text text = { 0 };
	const char *at = why, *file;

	while ((file = strstr(at, FILES)) && file[strlen(FILES)]) {
		text_add_bytes(&text, at, (size_t)(file - at));
		at = file + strlen(FILES) + 1;
		text_add(&text, names[at[-1] == '0' + TOOL_TARGET]);
	}
	text_add(&text, at);
	image_fail(job, DPU_E_IO, "%s", text.data ? text.data : why);
	text_free(&text);
}

static void converted(void *ctx, const char *why)
{
	struct image_job *job = ctx;

	job->tool = NULL;
	if (why)
		convert_fail(job, why);
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

#define FILE_OF(fd_) FILES #fd_
_Static_assert(TOOL_SOURCE == 3 && TOOL_TARGET == 4, "as FILE_OF says");

/* Files are those that are open here, whatever has their names by now. Formats are said, never guessed, and an image's
 * word on other files counts for nothing: the backing file is "none". */
static const char *const from_qcow2[] = {
	"qemu-img",
	"convert",
	"-p",
	"-O",
	"raw",
	"json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"filename\":\"" FILE_OF(3) "\"}}",
	FILE_OF(4),
	NULL,
};
static const char *const to_qcow2[] = {
	"qemu-img", "convert",
	"-p",       "-O",
	"qcow2",    "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"" FILE_OF(3) "\"}}",
	FILE_OF(4), NULL,
};

static void convert(struct image_job *job)
{
	job->phase = "converting";
	if (tool_start(job->block->dpu->loop, job->import ? from_qcow2 : to_qcow2,
		       job->import ? job->qcow2_fd : job->fd, job->import ? job->fd : job->qcow2_fd, converted, job,
		       &job->tool, &job->error) != 0) {
		job->failed = true;
		job_end(job);
	}
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
		image_fail(job, DPU_E_INVALID,
			   "the image has %llu bytes and the volume %llu: make the volume larger first",
			   (unsigned long long)job->total, (unsigned long long)job->device->bytes);
		job_end(job);
	} else if (job->import && job->qcow2)
		convert(job);
	else
		image_stream(job);
}

/* ---- the beginning ---- */

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
	*job = (struct image_job){
		.block = block, .volume = volume, .import = import, .fd = -1, .qcow2_fd = -1, .phase = "beginning"
	};
	rc = image_files_open(job, args, err);
	if (rc == 0 && import && job->total > volume->bytes)
		rc = error_set(err, DPU_E_INVALID, "file",
			       "the image has %llu bytes and the volume %llu: make the volume larger first",
			       (unsigned long long)job->total, (unsigned long long)volume->bytes);
	if (rc != 0) {
		image_files_close(job);
		free(job);
		return rc;
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
		       .doc = "Auto: qcow2 if the name ends in .qcow2, else raw; then what looks like another format " \
			      "is not imported.")
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
