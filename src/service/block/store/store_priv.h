/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the store share; DESIGN.md says how they fit together. Functions that may have to wait return
 * -EAGAIN, having started what they wait for; the caller is run again after the next event. */
#pragma once

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include "base/netaddr.h"
#include "device/block/block_queue.h"
#include "service/block/store/store.h"
#include "service/block/store/store_format.h"

enum {
	STORE_IOS = 256,    /* pieces of requests under way */
	PAGE_IOS = 64,      /* pages being read or written */
	TAIL_SECTIONS = 16, /* in memory, until they are on the medium */
	IO_SEGMENTS = 66,   /* of a piece; what has more goes through its bounce block */
	READER_EPOCHS = 64,
	GROUP_WORDS = (COUNTS + 63) / 64,
	DISCARD_PAGES = 32, /* kept for discards */
	NO_PLACE = -1,
};

/* ---- pages in memory ---- */

enum frame_state { FRAME_FREE, FRAME_LOADING, FRAME_CLEAN, FRAME_DIRTY, FRAME_WRITING, FRAME_BAD, FRAME_SHADOW };

struct frame {
	uint8_t *data;
	struct frame *hash_next;
	struct frame *dirty_next, **dirty_link; /* of store.dirty or of the checkpoint's list */
	uint64_t stamp;                         /* of the last operation that wanted it */
	uint32_t page;
	uint8_t state;
	bool resident, checkpoint, referenced;
	/* as what it is being loaded */
	uint8_t kind, level;
	uint32_t lives; /* pages that it has held before */
	uint64_t index;
};

/* A page on its way, or a piece of a root. */
struct page_io {
	struct dpu_block_request medium;
	struct iovec iov;
	struct store *store;
	struct frame *frame;
	struct page_io *next;
	uint32_t page;
	uint8_t slot;
	uint8_t *buffer;
};

/* ---- requests ---- */

/* A leaf of a volume that was found a short while ago. */
struct leaf_way {
	uint64_t leaf; /* + 1; 0: none */
	struct frame *frame;
	struct page_leaf *data; /* the frame's */
	uint32_t lives;         /* of the frame: it still holds the leaf */
	bool exclusive;         /* nobody else has the leaf, or any page above it */
};

struct store_volume {
	struct dpu_block_device device; /* first */
	struct leaf_way *ways;          /* by the lowest bits of the leaf's number */
	uint32_t way_mask;
	struct store *store;
	struct volume_entry *entry; /* in its resident page */
	uint32_t slot;
	uint32_t active; /* requests that have not been completed */
	bool gone;
	bool unreadable;               /* walk.c has found a page of its map that cannot be read */
	uint64_t trim;                 /* what was cut off is freed up to here */
	struct dpu_block_request rest; /* makes zeroes behind its end before it grows */
	bool rest_busy;
	uint64_t reads, writes, integrity_errors, second_reads;
	uint64_t exclusive_bytes, shared_bytes, measured_s; /* as store_volume_info has them */
	void (*close_done)(void *arg);
	void *close_arg;
};

/* In dpu_block_request.scratch. */
struct request_state {
	struct store_volume *volume;
	uint32_t pieces; /* under way */
	uint16_t status;
	bool flushed, cancelled;
};
static_assert(sizeof(struct request_state) == sizeof(((struct dpu_block_request *)0)->scratch), "scratch");

/* A piece of a request: a run of blocks, or a part of one. */
struct store_io {
	struct dpu_block_request medium;
	struct store *store;
	struct dpu_block_request *request;
	void (*step)(struct store_io *io);
	void (*medium_done)(struct dpu_block_request *medium); /* what `medium` is for; NULL: no medium has it */
	struct store_io *next;
	uint64_t position, end; /* of the request: what is left, from its start */
	uint64_t block;         /* of the volume: what is under way */
	uint32_t count, bytes;  /* blocks; bytes of the request */
	int64_t place;          /* on the medium, of what is under way; NO_PLACE: a hole */
	int64_t target, old; /* if placed: the extent that was handed out; where the block was that is being changed */
	uint32_t epoch;      /* as a reader */
	bool reader, placed;
	bool part;      /* of a block: its old rest is in the new one */
	bool cancelled; /* at the medium; ends when that has let go of it */
	uint8_t *bounce;
	uint32_t suspect; /* block of the run that is read again */
	uint32_t crc[RECORD_BLOCKS];
	uint32_t found[RECORD_BLOCKS]; /* by a medium that looks at CRCs itself */
	struct iovec iov[IO_SEGMENTS];
};

/* ---- the parts of a store ---- */

struct medium {
	struct dpu_block_device *device;
	struct store_super super;
	unsigned super_at; /* which of the two counts: was written last */
	struct dpu_block_request flush;
	struct store *store;
	struct frame *frames; /* of the resident pages */
	uint8_t *frame_memory;
	uint32_t residents;
	uint32_t first_group;
};

struct group {
	uint64_t freed_epoch;  /* of the last block that became free */
	struct frame *counts;  /* NULL: not in memory */
	struct frame *summary; /* always in memory … */
	uint16_t *free_blocks; /* … with this in it */
	uint32_t busy;         /* extents that were handed out and are in no record yet */
	bool unknown;          /* the summary is damaged */
};

struct allocator {
	int64_t group; /* that is open; NO_PLACE */
	int64_t first; /* its first block */
	uint64_t bits[GROUP_WORDS];
	uint32_t at, rotor;
};

struct log {
	struct tail_header *tail;
	size_t tail_bytes;
	int fd;
	struct section_header *open; /* NULL: the next slot is not free yet */
	uint32_t bytes;              /* of the open section, with what is being added */
	uint64_t sequence;           /* of the open section, or the next one */
	uint64_t block;              /* of the ring: where it goes */
	uint64_t start;              /* of the ring: first that is needed */
	uint64_t written;            /* all up to this one are on the medium */
	uint64_t durable;            /* … and flushed */
	struct section_io {
		struct dpu_block_request medium;
		struct iovec iov;
		struct store *store;
		uint64_t sequence;
		bool busy;
	} section[TAIL_SECTIONS];
};

struct waiter {
	struct waiter *next;
	void (*done)(struct waiter *waiter, int rc);
};

struct flush {
	struct block_queue next, now; /* requests */
	struct waiter *next_waiters, *now_waiters;
	bool asked, forced, running, at_media, skip;
	uint64_t target;  /* section */
	uint64_t closing; /* epoch */
	unsigned media;   /* under way */
	int rc;
};

enum checkpoint_state { CHECKPOINT_IDLE, CHECKPOINT_PAGES, CHECKPOINT_FLUSH, CHECKPOINT_ROOT, CHECKPOINT_LAST };

struct checkpoint {
	enum checkpoint_state state;
	struct waiter waiter;
	struct waiter *waiters, *waiters_next; /* for this one, for the one after it */
	struct frame *pages;
	unsigned writing;
	uint64_t sequence, block; /* of the log: what it holds */
	uint64_t next_volume;
	bool wanted;
	uint8_t *root; /* that is being written */
	size_t root_bytes, root_at;
	struct dpu_block_request medium;
	struct iovec iov;
};

struct space {
	struct group *group;
	uint32_t groups; /* of which blocks may be handed out */
	uint64_t free;   /* sum of the summaries */
	uint32_t recount_at;
	struct allocator allocator;
	/* epochs: see space.c */
	uint64_t epoch, durable_epoch, oldest_reader;
	uint32_t readers[READER_EPOCHS];
};

struct page_space {
	uint32_t free, rotor;
	uint32_t end; /* of what may be handed out */
};

struct recovery; /* open.c, replay.c */

struct failure { /* of a medium: the first one that was not survived */
	const char *medium;
	uint64_t offset;
	const char *why;
};

struct store {
	char *name, *tail_path;
	void (*report)(void *ctx, const struct store_report *report);
	void *ctx;
	struct medium medium[STORE_MAX_MEDIA];
	unsigned media;
	uint32_t pages; /* ids */
	uint64_t places;
	bool started, ready, failed, wake, growing;
	bool held;             /* requests and commands wait for a repair */
	bool closing;          /* commands that came before end; others wait */
	bool ending;           /* nothing is begun any more */
	bool marked;           /* the superblocks have the session, so roots may say it */
	struct supers *supers; /* that are being read or written */
	struct repair *repair;
	struct scrub *scrubs; /* that are under way */
	bool pages_lost;      /* a page of counts of pages */
	bool unread;          /* while it is being opened: a page of the directory or of a tree; see `failure` */
	bool again;           /* something stopped because it had done enough for one poll */
	bool cancels;         /* requests were cancelled since it was last looked at */
	uint32_t busy_ios;
	uint32_t at_media;     /* requests that the media have */
	uint32_t residents_at; /* those of the pages before are in memory */

	/* page.c */
	struct frame *frames, *free_frames;
	struct frame **hash;
	uint32_t frame_count, hash_mask, hand, cache_pages;
	uint32_t frame_limit, held_frames;  /* held: not in the free list */
	uint32_t op_pages;                  /* changed by one operation, at most */
	uint32_t used_frames, dirty_frames; /* not resident; not to be evicted */
	uint64_t stamp;
	uint8_t *frame_memory;
	struct frame *dirty;
	struct page_io *page_io, *free_page_io;
	uint8_t *page_io_memory;
	uint8_t *map, *durable_map; /* two bits for each page: where it is, where the durable root says */
	struct frame **fixed;       /* by page id: the resident ones */

	struct space space;
	struct page_space page_space;
	struct log log;
	struct flush flush;
	struct checkpoint checkpoint;
	struct store_root root; /* the durable one */
	struct failure failure; /* if failed */
	uint64_t next_volume, session;
	uint64_t due_ns; /* of store_due_ns() */

	struct store_volume **volume;     /* by slot */
	uint32_t slots, trims, trim_slot; /* trims: some volume may have something to trim */
	struct store_io *io, *free_io, *ready_io, **ready_tail, *waiting_io, **waiting_tail;
	struct block_queue incoming;
	struct store_command *commands, **commands_tail;
	struct recovery *recovery;
	struct store_stats stats;
	uint8_t *bounce_memory;
};

/* ---- format.c: what is where ---- */
/* Fills in what follows from blocks, log_blocks, root_blocks, directory_pages, medium and the first ids. -ENOSPC. */
int geometry_fill(struct store_super *super);
void super_seal(void *block, const struct store_super *super);
/* NULL, or what is wrong with it. */
const char *super_check(const void *block, const struct store_super *super, uint64_t medium_blocks);
/* The superblock of the first medium of a new pool. */
int super_choose(struct store_super *super, uint64_t blocks, const struct store_command *command);
void uuid_new(uint8_t uuid[16]);

/* Every request goes to a medium by this, and its done begins with medium_answered(). */
static inline void medium_ask(struct store *store, struct medium *medium, struct dpu_block_request *request)
{
	store->at_media++;
	store->again = true; /* in this round the medium may have had its turn already */
	medium->device->ops->submit(medium->device, request);
}

static inline void medium_answered(struct store *store)
{
	store->at_media--;
}

static inline struct medium *medium_of_place(struct store *store, uint64_t place, uint64_t *ret_offset)
{
	struct medium *medium = &store->medium[store->media - 1];

	while (place < medium->super.first_place)
		medium--;
	*ret_offset = (medium->super.data_block + place - medium->super.first_place) * STORE_BLOCK;
	return medium;
}
/* The group of a block, and which of its counts is the block's. */
static inline struct group *group_at(struct store *store, uint64_t place, unsigned *ret_at)
{
	struct medium *medium = &store->medium[store->media - 1];

	while (place < medium->super.first_place)
		medium--;
	place -= medium->super.first_place;
	*ret_at = (unsigned)(place % COUNTS);
	return &store->space.group[medium->first_group + place / COUNTS];
}
struct medium *medium_of_page(struct store *store, uint32_t page);
uint64_t page_offset(const struct medium *medium, uint32_t page, enum page_slot slot);
/* The kind of a fixed page and its index among those; PAGE_NODE for those of trees. */
enum page_kind page_kind_of(struct store *store, uint32_t page, uint64_t *ret_index);
uint32_t space_page(struct store *store, uint64_t place, unsigned *ret_at);
uint32_t summary_page(struct store *store, uint32_t group, unsigned *ret_at);
uint32_t count_page(struct store *store, uint32_t page, unsigned *ret_at);
uint64_t group_first(struct store *store, uint32_t group, unsigned *ret_blocks);
static inline uint32_t group_of(struct store *store, uint64_t place)
{
	unsigned at;

	return (uint32_t)(group_at(store, place, &at) - store->space.group);
}
void store_report_damage(struct store *store, enum store_damage damage, uint64_t volume, uint64_t block,
			 const char *medium, uint64_t offset, const char *why);
void store_fail(struct store *store, const struct medium *medium, uint64_t offset, const char *why);

/* ---- page.c, page_memory.c ---- */
int pages_init(struct store *store);
/* The medium's share, after those before it. -ENOMEM, or -E2BIG: the cache is too small for so large a pool. */
int pages_add(struct store *store, struct medium *medium);
void pages_remove(struct store *store, struct medium *medium); /* the last one's */
void pages_fini(struct store *store);
void pages_begin(struct store *store); /* an operation: what it gets from now on stays */
/* Whether an operation may change as much as one may: -EAGAIN. */
int pages_room(struct store *store);
/* -EAGAIN, -EBADMSG: damaged, and reported. */
int page_get(struct store *store, uint32_t page, enum page_kind kind, unsigned level, uint64_t index,
	     struct frame **ret);
struct frame *page_find(struct store *store, uint32_t page);
/* It is about to change. */
void page_dirty_now(struct store *store, struct frame *frame);
static inline void page_dirty(struct store *store, struct frame *frame)
{
	if (frame->state != FRAME_DIRTY || frame->checkpoint)
		page_dirty_now(store, frame);
}
struct frame *page_new(struct store *store, uint32_t page, enum page_kind kind, unsigned level, uint64_t index,
		       uint64_t owner);
void page_drop(struct store *store, uint32_t page);
void pages_forget_bad(struct store *store);  /* so that they are read once more */
void directory_give_up(struct store *store); /* its pages that are lost: empty */
const char *page_check(struct store *store, const void *data, uint32_t page, enum page_kind kind, unsigned level,
		       uint64_t index);
enum page_slot map_get(const uint8_t *map, uint32_t page);
void map_set(uint8_t *map, uint32_t page, enum page_slot slot);
struct page_io *page_io_take(struct store *store);
void page_io_give(struct page_io *io);
void frame_free(struct store *store, struct frame *frame);
void frame_unlink_dirty(struct frame *frame);
void frame_link_dirty(struct frame **list, struct frame *frame);

/* ---- space.c: data blocks and pages, their counts ---- */
int space_add_medium(struct store *store, struct medium *medium); /* after those before it */
void space_extend(struct store *store);                           /* blocks and pages of all media may be handed out */
void space_fini(struct store *store);
/* Counts have come into memory, or are not there any more (NULL). */
void space_counts_at(struct store *store, uint32_t page, struct frame *frame);
void space_count(struct store *store);  /* sums up the summaries */
int space_recount(struct store *store); /* what they do not say: -EAGAIN */
void space_counts_lost(struct store *store, uint32_t page);
int space_alloc(struct store *store, uint32_t want, int64_t *ret_place, uint32_t *ret_got); /* -EAGAIN, -ENOSPC */
void space_release(struct store *store, uint64_t place); /* an extent is in a record, or not needed */
int space_need(struct store *store, uint64_t place);     /* its count is in memory, and stays: -EAGAIN */
uint32_t space_get(struct store *store, uint64_t place);
void space_add(struct store *store, uint64_t place, int delta);
/* The open group's next free blocks, if so many follow each other there. */
bool space_take(struct store *store, uint32_t want, int64_t *ret_place);
/* Up to the first epoch with readers, or the present one. */
static inline void pass_readers(struct space *space)
{
	while (space->oldest_reader < space->epoch && space->readers[space->oldest_reader % READER_EPOCHS] == 0)
		space->oldest_reader++;
}
static inline uint32_t reader_begin(struct store *store)
{
	uint32_t at = store->space.epoch % READER_EPOCHS;

	store->space.readers[at]++;
	return at;
}
static inline void reader_end(struct store *store, uint32_t epoch)
{
	store->space.readers[epoch]--;
	pass_readers(&store->space);
	store->wake = true;
}
uint64_t epoch_close(struct store *store);
void epoch_durable(struct store *store, uint64_t epoch);

/* Without regard to what depends on it: the group's sum, its open extents. */
void space_set(struct store *store, uint64_t place, uint32_t count);
void space_sum(struct store *store, uint32_t group); /* its counts are in memory */

uint32_t pageref_get(struct store *store, uint32_t page);
void pageref_set(struct store *store, uint32_t page, uint32_t count);
void pageref_add(struct store *store, uint32_t page, int delta);
bool page_is_tree(struct store *store, uint32_t page);
int page_pick(struct store *store, unsigned count, bool discard, uint32_t *ret); /* -ENOSPC */
void pageref_count(struct store *store);

/* ---- tree.c ---- */
struct unmap_step {
	uint64_t first, next; /* what this step does away with */
	bool present;         /* a page is there */
	bool record;          /* … and there is something to do */
	bool drop;            /* the leaf becomes empty */
	unsigned pages;
};

struct own_step {
	uint64_t next;   /* where to go on */
	uint64_t blocks; /* that were passed over … */
	uint64_t own;    /* … and that deleting the volume would give back */
};

uint64_t tree_capacity(unsigned height); /* blocks */
unsigned tree_height(uint64_t blocks);
static inline uint64_t leaf_place(const struct page_leaf *leaf, unsigned at)
{
	return (uint64_t)leaf->block[at].place_high << 32 | leaf->block[at].place_low; /* + 1 */
}
/* NULL: nothing is mapped there. exclusive: no page from the root to the leaf has another reference. */
int tree_find(struct store *store, const struct volume_entry *entry, uint64_t block, struct frame **ret,
	      bool *ret_exclusive);
/* Everything in memory that tree_write needs; how many pages it makes. */
int tree_plan_write(struct store *store, struct store_volume *volume, uint64_t first, unsigned count, uint64_t place,
		    unsigned *ret_pages);
/* skip: a bit for each block that stays as it is. */
void tree_write(struct store *store, struct store_volume *volume, const struct record *record, uint64_t skip);
int tree_plan_unmap(struct store *store, const struct volume_entry *entry, uint64_t first, uint64_t end,
		    struct unmap_step *ret);
void tree_unmap(struct store *store, struct volume_entry *entry, const struct record *record);
/* At `first`, the start of a leaf: the leaf, or the hole or shared subtree there. */
int tree_count_own(struct store *store, const struct volume_entry *entry, uint64_t first, struct own_step *ret);
/* *block becomes the next one that is mapped, itself included. Not found: UINT64_MAX, or from where on there is more to
 * look at, which is so only behind leaves that a crash has left empty. */
int tree_seek(struct store *store, const struct volume_entry *entry, uint64_t *block, bool *ret_found);

/* ---- walk.c ---- */
enum { WALK_PLACES = 16 << 20 }; /* blocks that are counted in one walk */

struct walk_level {
	uint32_t page;
	unsigned level, next; /* child */
	uint64_t index;
};

struct walk {
	struct store *store;
	uint32_t *pages;  /* references found */
	uint32_t *blocks; /* …; NULL: leaves are not read */
	uint64_t first_place, places;
	uint32_t slot;
	bool started, unreadable, done;
	unsigned depth;
	uint64_t visited;
	uint32_t page; /* of repair_page_counts */
	struct walk_level stack[TREE_MAX_HEIGHT];
};

int walk_init(struct walk *walk, struct store *store, bool blocks); /* -ENOMEM */
void walk_fini(struct walk *walk);
void walk_again(struct walk *walk, uint64_t first_place); /* counting blocks from there on */
int walk_go(struct walk *walk, unsigned budget);          /* -EAGAIN: there is more */
uint32_t walk_pages_found(const struct walk *walk, uint32_t page);

/* ---- repair.c ---- */
/* Counts of pages as the nodes say. -EAGAIN, -ENOMEM. */
int repair_page_counts(struct store *store, struct walk *walk);
void repair_free(struct store *store);

/* ---- leaf_cache.c ---- */
/* As tree_find; the leaf stays in memory for this operation. */
int leaf_find(struct store *store, struct store_volume *volume, uint64_t block, struct page_leaf **ret);
/* The leaf if it is cached and nobody else's, so that changing it changes no other page; or NULL. */
struct frame *leaf_own(struct store *store, struct store_volume *volume, uint64_t block);
/* A walk has found it. */
void leaf_cache_note(struct store_volume *volume, uint64_t block, struct frame *frame, bool exclusive);
void leaf_cache_resize(struct store_volume *volume);
/* What a record changes is not cached any more. */
void leaf_cache_forget(struct store_volume *volume, uint64_t first, uint64_t blocks);
static inline struct leaf_way *leaf_way(const struct store_volume *volume, uint64_t block)
{
	return &volume->ways[block >> LEAF_SHIFT & volume->way_mask];
}
static inline bool leaf_way_holds(const struct leaf_way *way, uint64_t block)
{
	return way->leaf == (block >> LEAF_SHIFT) + 1 && way->frame->lives == way->lives;
}

/* ---- log.c, flush.c ---- */
int log_init(struct store *store);
void log_fini(struct store *store);
void log_start(struct store *store, uint64_t sequence, uint64_t block);
void tail_reset(struct store *store);
/* Room for a record; -EAGAIN. What is in it counts after log_add. */
int log_room(struct store *store, unsigned bytes, struct record **ret);
void log_add(struct store *store, const struct record *record);
void log_seal(struct store *store); /* the open section, if there is anything in it */
const struct section_header *tail_section(struct store *store, uint64_t sequence);
uint64_t tail_offset(uint64_t sequence); /* of a section's slot in the tail file */
uint64_t log_used(const struct store *store);
static inline unsigned record_bytes(size_t bytes)
{
	return (unsigned)((bytes + 7) & ~(size_t)7);
}
uint64_t log_next_block(const struct store *store, uint64_t block, uint32_t bytes);

void flush_wait(struct store *store, struct waiter *waiter, bool force);
void flush_request(struct store *store, struct dpu_block_request *request);
void flush_go(struct store *store);

/* ---- checkpoint.c ---- */
void checkpoint_wait(struct store *store, struct waiter *waiter);
void checkpoint_want(struct store *store);
unsigned checkpoint_go(struct store *store);
size_t root_bytes(uint32_t pages);
int checkpoint_memory(struct store *store);
void checkpoint_fini(struct store *store);

/* ---- apply.c: the effect of a record ---- */
void record_apply(struct store *store, const struct record *record, uint64_t skip);
/* Whether a record from a medium may be applied, with all it needs in memory. -EAGAIN; -EBADMSG: its volume is
 * damaged, and how if that was not reported; -EINVAL and what is wrong with it. */
int record_check(struct store *store, const struct record *record, const char **ret_why);
/* Instead of applying it: its volume is quarantined, or is made as one that is. false: it stays as it is. */
bool record_give_up(struct store *store, const struct record *record);
bool entry_check(struct store *store, const struct volume_entry *entry);
/* NULL, or what is wrong with its form. */
const char *record_form(const struct record *record, uint32_t room);
static inline const uint32_t *record_crc(const struct record *record)
{
	return record->write.list + record->pages;
}

/* ---- volume.c ---- */
struct volume_entry *entry_at(struct store *store, uint32_t slot);
struct frame *entry_frame(struct store *store, uint32_t slot);
int volume_attach(struct store *store, uint32_t slot);
void volumes_align(struct store *store); /* as the media want it */
void volume_free(struct store_volume *volume);
void volume_resized(struct store_volume *volume);
void volume_gone(struct store_volume *volume);
/* flags: ENTRY_BEHIND or 0. */
void volume_quarantine(struct store_volume *volume, unsigned flags);
void volume_release(struct store_volume *volume); /* … no more */
void volume_detach(struct store *store, uint32_t slot);
unsigned volume_trim(struct store *store);

/* ---- io.c, cancel.c, fast.c, read.c, write.c, unmap.c ---- */
int ios_init(struct store *store);
void ios_fini(struct store *store);
unsigned ios_go(struct store *store);
unsigned cancels_go(struct store *store);
struct store_io *io_take(struct store *store);
void io_give(struct store_io *io);
void io_run(struct store_io *io, void (*step)(struct store_io *io));  /* soon */
void io_wait(struct store_io *io, void (*step)(struct store_io *io)); /* after the next event */
void io_finish(struct store_io *io, enum dpu_block_status status);
void io_error(struct store_io *io, int rc);
void io_restart(struct store_io *io, void (*step)(struct store_io *io)); /* the same once more */
void io_next(struct store_io *io, void (*step)(struct store_io *io));    /* goes on with what is left, or ends */
void io_split(struct store_io *io, void (*step)(struct store_io *io));   /* what is left gets a piece of its own */
bool io_partial(const struct store_io *io);
unsigned io_slice(const struct store_io *io, uint64_t position, uint32_t bytes, struct iovec *iov, unsigned room);
void io_copy(const struct store_io *io, uint8_t *block, bool to_request);
void io_submit(struct store_io *io, enum dpu_block_op op, const struct iovec *iov, unsigned segments,
	       void (*done)(struct dpu_block_request *request));
bool io_bounce_holds(const struct store_io *io); /* the bounce block that was read has its CRC */
/* … or the request is finished with what is wrong. */
bool io_bounce_is_good(struct store_io *io, const struct dpu_block_request *request);
struct store_volume *io_volume(const struct store_io *io);
uint32_t *io_crc(const struct store_io *io);
/* One of the store's own, which may be behind the volume's end. false: not now. */
bool request_start(struct store_volume *volume, struct dpu_block_request *request);
void request_piece_done(struct dpu_block_request *request, enum dpu_block_status status);
void io_integrity(struct store_io *io, uint64_t block, uint64_t place);
void read_step(struct store_io *io);
/* Of a run of whole blocks that was read into the request's memory, from block `at` on; then checked(io). A block that
 * contradicts its CRC there is read once more, where nobody else writes: a guest may have put one page several times
 * into its list, for parts that it does not want, or change what it likes. The second time it is damage. */
void read_check(struct store_io *io, unsigned at, void (*checked)(struct store_io *io));
void read_again(struct store_io *io, unsigned at, void (*checked)(struct store_io *io));
void compare_step(struct store_io *io);
void write_start(struct store_io *io);
void write_commit(struct store_io *io);
/* Start it if it is a simple one; there is a free piece. */
bool fast_read(struct store *store, struct dpu_block_request *request);
bool fast_write(struct store *store, struct dpu_block_request *request);
void fast_look_ahead(struct store *store);         /* at requests that wait */
void fast_look_ahead_commits(struct store *store); /* at records that are to be made */
static inline void store_count_error(struct store *store, const struct dpu_block_request *medium)
{
	store->stats.medium_errors += medium->status != DPU_BLOCK_OK;
}
static inline enum dpu_block_status medium_status(struct store *store, const struct dpu_block_request *medium)
{
	store->stats.medium_errors++;
	if (medium->status == DPU_BLOCK_NO_SPACE || medium->status == DPU_BLOCK_INTEGRITY)
		return (enum dpu_block_status)medium->status;
	return DPU_BLOCK_IO_ERROR;
}
void unmap_start(struct store_io *io);
int unmap_range(struct store *store, struct store_volume *volume, uint64_t *cursor, uint64_t end, unsigned budget);
extern const uint8_t store_zero_block[STORE_BLOCK];
extern uint32_t store_zero_crc;

/* ---- commands ---- */
unsigned commands_go(struct store *store);
int command_error(struct store_command *command, enum dpu_error_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
typedef int (*command_step)(struct store *store, struct store_command *command);
int command_then(struct store_command *command, command_step step);     /* goes on there: -EAGAIN */
int command_failed(struct store *store, struct store_command *command); /* the pool has: the error says how */
/* Of long work: its submitter wants it to end now, or the pool closes; and the error that says which. */
bool command_is_cut_short(const struct store *store, const struct store_command *command);
int command_cut_short(const struct store *store, struct store_command *command);
int command_flush(struct store *store, struct store_command *command); /* done when all is durable */
int command_flush_media(struct store *store, struct store_command *command, command_step then);
int command_checkpoint(struct store *store, struct store_command *command, command_step then);
int command_waited(struct store *store, struct store_command *command); /* -EAGAIN: not yet */
int create_step(struct store *store, struct store_command *command);
int copy_step(struct store *store, struct store_command *command);
int resize_step(struct store *store, struct store_command *command);
int delete_step(struct store *store, struct store_command *command);
int format_step(struct store *store, struct store_command *command);
int open_step(struct store *store, struct store_command *command);
int grow_step(struct store *store, struct store_command *command);
int close_step(struct store *store, struct store_command *command);
struct store_volume *command_target(struct store *store, struct store_command *command);
int locate_step(struct store *store, struct store_command *command);
int seek_step(struct store *store, struct store_command *command);
int scrub_step(struct store *store, struct store_command *command);
void scrubs_free(struct store *store);
int repair_step(struct store *store, struct store_command *command);
int checkpoint_step(struct store *store, struct store_command *command);
int measure_step(struct store *store, struct store_command *command);

/* ---- format.c: setting up ---- */
struct raw_io { /* of whole blocks, one at a time */
	struct dpu_block_request medium;
	struct iovec iov;
	struct store *store;
	struct medium *on;
	bool busy, failed;
};
void raw_start(struct raw_io *io, struct medium *medium, enum dpu_block_op op, uint64_t block, void *data,
	       size_t bytes);

/* The medium's superblock: the first one of a pool, or a further one. Else the command says why not. */
int super_make(struct store *store, struct store_command *command, unsigned index);
void store_extend(struct store *store);
int pool_set_up(struct store *store); /* all that depends on the superblocks, in memory */
int residents_get(struct store *store);
int residents_load(struct store *store); /* … and what they count */
int directory_load(struct store *store);
void pool_ready(struct store *store);

/* ---- super.c ---- */
enum { SUPERS = 2 }; /* of a medium: its first block, and a copy that is its last one */
/* Memory for those of some media; free it before it is wanted for others. -ENOMEM. */
int supers_new(struct store *store, unsigned first, unsigned media);
void supers_free(struct store *store);
void supers_read(struct store *store); /* both of each medium, where a new one would have them */
/* Those that are elsewhere, because the medium has grown since. */
void supers_read_moved(struct store *store);
/* One of each medium, the one that does not count; called again, the other. */
void supers_write(struct store *store);
int supers_wait(const struct store *store); /* 0, -EAGAIN or -EIO */
const struct raw_io *supers_failed(const struct store *store);
const uint8_t *super_block(const struct store *store, const struct medium *medium, unsigned which);
/* The one that counts is the medium's. NULL, or what is wrong with the first one if both are. */
const char *super_take(struct store *store, struct medium *medium);

/* ---- open.c, replay.c ---- */
int replay_step(struct store *store, const char **ret_why, uint64_t *ret_offset);
void recovery_free(struct store *store);
