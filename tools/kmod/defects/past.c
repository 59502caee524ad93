// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device remembers for its defects: functions over the steps in which it
 * happens. By themselves they leave the device as it is; what a defect has put
 * into struct refd_past takes effect here.
 */
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "defects.h"

struct refd_past *refd_past_new(struct refd_device *refd)
{
	struct refd_past *past = kzalloc(sizeof(*past), GFP_KERNEL);

	if (!past)
		return NULL;
	past->refd = refd;
	INIT_LIST_HEAD(&past->entry);
	INIT_DELAYED_WORK(&past->late_byte, refd_late_byte);
	INIT_DELAYED_WORK(&past->late_beat, refd_late_beat);
	refd_past_begin(past);
	return past;
}

void refd_past_free(struct refd_past *past)
{
	cancel_delayed_work_sync(&past->late_byte);
	cancel_delayed_work_sync(&past->late_beat);
	vfree(past->shadow);
	kfree(past);
}

/* Nothing is known of the time before. */
void refd_past_begin(struct refd_past *past)
{
	past->user = (struct refd_past_user) { .unread = true };
	past->state = (struct refd_past_state) { 0 };
	past->buffer = (struct refd_past_buffer) { 0 };
	past->next = (struct refd_past_next) { 0 };
	past->previous = past->refd->state;
	past->left = (struct refd_transfer) { 0 };
	past->reserved = 0;
	past->asked_again = false;
	past->wedged = false;
	past->bad_size = false;
	past->error_outlives = false;
	past->part_outlives = false;
	past->stale = false;
}

/* Whether the present buffer is the last one. */
bool refd_at_last(struct refd_device *refd)
{
	u32 left = refd->transfer.end - refd->transfer.position;

	return refd_saving(refd) && left && left <= refd_step(refd);
}

/* Whether the present state is stop-and-copy, and the one before was pre-copy. */
bool refd_after_pre_copy(struct refd_device *refd)
{
	return refd->state == COPY && past(refd)->previous == PRE_COPY;
}

/* Whether the device has to fail at the next buffer written to it. */
bool refd_fault_is_due(struct refd_device *refd)
{
	return refd->state == RESUMING && refd->load_fault == 1;
}

/* A second window as large as the first; null if there is no memory for it. */
u8 *refd_shadow(struct refd_device *refd)
{
	u32 size = refd_migration_size(refd);

	if (past(refd)->shadow_size != size) {
		vfree(past(refd)->shadow);
		past(refd)->shadow = vzalloc(size);
		past(refd)->shadow_size = past(refd)->shadow ? size : 0;
	}
	return past(refd)->shadow;
}

/* The window that reads show. */
u8 *refd_served(struct refd_device *refd)
{
	u8 *shadow = past(refd)->stale ? refd_shadow(refd) : NULL;

	return shadow ? shadow : refd->window;
}

static void clear_shadow(struct refd_device *refd)
{
	if (past(refd)->shadow)
		memset(past(refd)->shadow, 0, past(refd)->shadow_size);
}

/* Before all defects */

bool past_should_work(struct refd_device *refd)
{
	bool works = under_past(should_work)(refd);

	return (works || past(refd)->state.restless) && !past(refd)->state.stuck;
}

static int touch_pending(struct refd_device *refd)
{
	int ret;

	past(refd)->state.pending_asked = true;
	if (refd_left(refd) && !refd->transfer.staged && past(refd)->buffer.asked)
		past(refd)->asked_again = true;
	ret = under_past(touch)(refd, REFD_FIELD_PENDING);
	if (refd_saving(refd)) {
		past(refd)->buffer.asked++;
		past(refd)->state.zeros += !refd_left(refd);
	}
	return ret;
}

int past_touch(struct refd_device *refd, enum refd_field field)
{
	switch (field) {
	case REFD_FIELD_STATE:
		if (past(refd)->state.stale_reads)
			past(refd)->state.stale_reads--;
		break;
	case REFD_FIELD_PENDING:
		return touch_pending(refd);
	case REFD_FIELD_OFFSET:
		past(refd)->state.offset_asked++;
		past(refd)->buffer.offset_reads++;
		break;
	case REFD_FIELD_SIZE:
		past(refd)->buffer.size_reads++;
		break;
	default:
		break;
	}
	return under_past(touch)(refd, field);
}

u64 past_peek(struct refd_device *refd, enum refd_field field)
{
	u64 value = under_past(peek)(refd, field);

	if (field == REFD_FIELD_PENDING && past(refd)->state.pending_written)
		value = past(refd)->state.pending;
	if (field == REFD_FIELD_OFFSET && past(refd)->state.data_offset)
		value = past(refd)->state.data_offset;
	past(refd)->last_read = value;
	return value;
}

int past_check(struct refd_device *refd, u32 from, u32 to)
{
	return past(refd)->user.latched ? -EIO : under_past(check)(refd, from, to);
}

/* The device was brought back to an initial state. */
static void note_start(struct refd_device *refd, u32 before)
{
	struct refd_past_user *user = &past(refd)->user;

	user->refusals = 0;
	user->refused = 0;
	user->commanded = false;
	user->unread = false;
	user->latched = false;
	user->resumed = false;
	user->hurt = before == ERROR;
	user->withdrawn = false;
	user->unfinished = false;
	user->old_image = false;
	user->offered = 0;
	user->adopted = false;
}

int past_reset(struct refd_device *refd)
{
	u32 before = refd->state;
	int ret;

	past(refd)->next = (struct refd_past_next) { 0 };
	ret = under_past(reset)(refd);
	if (ret)
		return ret;
	clear_shadow(refd);
	past(refd)->user.was_reset = true;
	past(refd)->wedged = false;
	past(refd)->bad_size = false;
	past(refd)->error_outlives = false;
	past(refd)->reserved = 0;
	note_start(refd, before);
	return 0;
}

u32 past_lay(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc)
{
	u32 size = under_past(lay)(refd, room, start, length, crc);

	if (past(refd)->state.spoilt)
		room[0] ^= 0xff;
	if (past(refd)->state.garbage)
		memset(room, 0xa5, size);
	past(refd)->state.spoilt = false;
	past(refd)->state.garbage = false;
	return size;
}

/* After all defects */

ssize_t past_store(struct refd_device *refd, enum refd_field field, u64 value)
{
	if (field == REFD_FIELD_RESERVED)
		past(refd)->reserved = value;
	return under_past(store)(refd, field, value);
}

ssize_t past_write_state(struct refd_device *refd, u32 value)
{
	struct refd_past_user *user = &past(refd)->user;
	bool commanded = refd->fault == REFD_FAULT_KEEP;
	ssize_t ret = under_past(write_state)(refd, value);

	user->commanded = commanded;
	user->refusals += ret < 0;
	user->refused = ret < 0 ? user->refused + 1 : 0;
	past(refd)->state.refused |= ret < 0;
	return ret;
}

/* The device goes from one state to the next. */
static void note_move(struct refd_device *refd, u32 from, u32 to)
{
	struct refd_past_user *user = &past(refd)->user;

	if (BIT(to) & SAVING)
		user->saved = true;
	if (from == RESUMING && refd->transfer.begun)
		user->resumed = true;
	if (from == PRE_COPY && to == RESUMING)
		user->cancelled = true;
	if (from == PRE_COPY && to == RUNNING)
		user->withdrawn = true;
	if (from == COPY && refd_left(refd))
		user->unfinished = true;
	if (to == RESUMING)
		user->old_image = false;
}

void past_enter(struct refd_device *refd, u32 state)
{
	u32 before = refd->state;

	note_move(refd, before, state);
	past(refd)->previous = before;
	past(refd)->left = refd->transfer;
	past(refd)->state = (struct refd_past_state) {
		.stale_reads = before == PRE_COPY && state == COPY ? 2 : 0,
	};
	past(refd)->buffer = (struct refd_past_buffer) { 0 };
	under_past(enter)(refd, state);
	if (refd_saving(refd))
		past(refd)->asked_again = false;
}

void past_opened(struct refd_device *refd)
{
	clear_shadow(refd);
	past(refd)->user = (struct refd_past_user) { .unread = true };
	past(refd)->next = (struct refd_past_next) { 0 };
	past(refd)->state.stuck = false;
	past(refd)->buffer.missing = false;
	past(refd)->previous = refd->state;
	past(refd)->wedged = false;
	under_past(opened)(refd);
}

void past_hand_over(struct refd_device *refd)
{
	u32 before = refd->state;

	under_past(hand_over)(refd);
	note_start(refd, before);
}

u8 *past_room(struct refd_device *refd, u32 place)
{
	past(refd)->buffer.missing = false;
	past(refd)->stale = false;
	return under_past(room)(refd, place);
}

static void note_read(struct refd_device *refd, size_t count, u32 place)
{
	struct refd_past_buffer *buffer = &past(refd)->buffer;

	if (!buffer->present.size)
		return;
	past(refd)->state.reread |= place < buffer->read_to;
	buffer->read_to = place + count;
}

/* A buffer that is there to be read may be in the shadow. */
ssize_t past_section_read(struct refd_device *refd, char __user *buffer, size_t count, u32 place)
{
	note_read(refd, count, place);
	if (!past(refd)->buffer.present.size || !past(refd)->stale)
		return under_past(section_read)(refd, buffer, count, place);
	return copy_to_user(buffer, refd_served(refd) + place, count) ? -EFAULT : (ssize_t)count;
}

void past_begin_saving(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 behind = past(refd)->next.behind;

	under_past(begin_saving)(refd);
	if (transfer->start < behind && behind < transfer->end) {
		transfer->position = behind;
		past(refd)->next.behind = 0;
	}
}

void past_offer(struct refd_device *refd)
{
	under_past(offer)(refd);
	past(refd)->buffer.present = (struct refd_range) {
		.offset = refd_data_offset(refd),
		.size = refd->transfer.size,
	};
}

void past_advance(struct refd_device *refd)
{
	past(refd)->buffer = (struct refd_past_buffer) { 0 };
	under_past(advance)(refd);
}

int past_apply(struct refd_device *refd, const struct refd_range *buffer)
{
	int ret = under_past(apply)(refd, buffer);

	if (ret)
		past(refd)->wedged = true;
	else
		past(refd)->buffer = (struct refd_past_buffer) { 0 };
	return ret;
}

int past_consume(struct refd_device *refd, u64 size)
{
	bool due = refd_fault_is_due(refd);
	int ret = under_past(consume)(refd, size);

	past(refd)->user.struck |= due && ret;
	return ret;
}

int past_make_buffer(struct refd_device *refd)
{
	bool due = refd->save_fault == 1;
	int ret = under_past(make_buffer)(refd);

	past(refd)->user.save_struck |= due && ret;
	return ret;
}
