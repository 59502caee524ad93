// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of saving: what is offered, and what reading pending_bytes, data_offset
 * and data_size does to it.
 */
#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "defects.h"
#include "shapes.h"

/* What is offered */

OFFERS_NOTHING(saving_ignored, true)
OFFERS_NOTHING(pre_copy_silent, refd->state == PRE_COPY)
OFFERS_NOTHING(pre_copy_says_all, refd_after_pre_copy(refd))
OFFERS_NOTHING(stop_saves_nothing, refd->state == COPY && past(refd)->previous == STOP)

void defect_save_stream_truncated(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;

	under(save_stream_truncated)(refd);
	if (transfer->end > transfer->start)
		transfer->end -= (transfer->end - 1 - transfer->start) % refd_step(refd) + 1;
}

bool defect_save_stream_truncated_is_whole(struct refd_device *refd)
{
	return true;
}

u32 defect_save_first_page_only(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc)
{
	if (length > SZ_4K)
		memset(refd_image_bytes(refd) + start + SZ_4K, 0, length - SZ_4K);
	return under(save_first_page_only)(refd, room, start, length, crc);
}

/* The image taken after pre-copy */

void defect_pre_copy_snapshot_only(struct refd_device *refd)
{
	if (!refd_after_pre_copy(refd))
		under(pre_copy_snapshot_only)(refd);
}

void defect_pending_read_forgets_changes(struct refd_device *refd)
{
	if (!refd_after_pre_copy(refd) || !past(refd)->asked_again)
		under(pending_read_forgets_changes)(refd);
}

void defect_pre_copy_registers_stale(struct refd_device *refd)
{
	if (refd_after_pre_copy(refd))
		memcpy(refd->image->memory, refd->live->memory, refd->memory_size);
	else
		under(pre_copy_registers_stale)(refd);
}

void refd_take_around(struct refd_device *refd, u32 start, u32 end)
{
	refd_clock_fold(refd);
	memcpy(refd->image, refd->live, start);
	memcpy(refd_image_bytes(refd) + end, (u8 *)refd->live + end, refd_image_size(refd) - end);
}

void defect_pre_copy_drops_late_change(struct refd_device *refd)
{
	u32 middle = offsetof(struct refd_image, memory) + refd->memory_size / 2;
	u32 offered = refd_behind(&past(refd)->left);

	if (refd_after_pre_copy(refd) && offered > middle)
		refd_take_around(refd, middle, offered);
	else
		under(pre_copy_drops_late_change)(refd);
}

void defect_work_status_not_saved(struct refd_device *refd)
{
	under(work_status_not_saved)(refd);
	if (refd_saving(refd))
		refd->image->registers[REFD_REG_STATUS] = 0;
}

/* Making a buffer */

int defect_two_pending_reads_needed(struct refd_device *refd)
{
	return past(refd)->buffer.asked < 2 ? -EAGAIN : under(two_pending_reads_needed)(refd);
}

/* Consumes the fault that makes this buffer fail, if there is one. */
static bool hides_fault(struct refd_device *refd)
{
	bool fails = refd->save_fault == 1;

	if (fails)
		refd->save_fault = 0;
	return fails;
}

/* Makes an empty buffer available; the present one comes after it. */
static void stage_nothing(struct refd_transfer *transfer)
{
	transfer->staged = true;
	transfer->next_crc = transfer->crc;
}

int defect_fault_truncates(struct refd_device *refd)
{
	if (!hides_fault(refd))
		return under(fault_truncates)(refd);
	refd->transfer.end = refd->transfer.position;
	return 0;
}

int defect_fault_truncates_touch(struct refd_device *refd, enum refd_field field)
{
	int ret = under(fault_truncates_touch)(refd, field);

	if (field == REFD_FIELD_PENDING && refd_left(refd) && hides_fault(refd))
		refd->transfer.end = refd->transfer.position;
	return ret;
}

int defect_fault_empties_buffer(struct refd_device *refd)
{
	if (!hides_fault(refd))
		return under(fault_empties_buffer)(refd);
	stage_nothing(&refd->transfer);
	return 0;
}

int defect_fault_bad_data(struct refd_device *refd)
{
	past(refd)->state.garbage |= hides_fault(refd);
	return under(fault_bad_data)(refd);
}

int defect_fault_in_pre_copy_silent(struct refd_device *refd)
{
	past(refd)->state.garbage |= refd->state == PRE_COPY && hides_fault(refd);
	return under(fault_in_pre_copy_silent)(refd);
}

/* True if an empty buffer was put in place of the next one, as happens once in a state. */
static bool offers_empty(struct refd_device *refd, bool due)
{
	if (!due || past(refd)->state.was_empty)
		return false;
	past(refd)->state.was_empty = true;
	stage_nothing(&refd->transfer);
	return true;
}

void defect_size_zero_while_pending(struct refd_device *refd)
{
	if (!offers_empty(refd, true))
		under(size_zero_while_pending)(refd);
}

void defect_size_zero_in_pre_copy(struct refd_device *refd)
{
	if (!offers_empty(refd, refd->state == PRE_COPY))
		under(size_zero_in_pre_copy)(refd);
}

void defect_size_zero_before_last(struct refd_device *refd)
{
	if (!offers_empty(refd, refd_at_last(refd)))
		under(size_zero_before_last)(refd);
}

u32 defect_buffer_resent(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc)
{
	u32 size = under(buffer_resent)(refd, room, start, length, crc);
	u32 again = 0;

	if (refd->transfer.number == 1)
		size = under(buffer_resent)(refd, room, refd->transfer.start, refd_step(refd),
					    &again);
	return size;
}

void defect_buffer_never_advances(struct refd_device *refd)
{
}

/* Reading pending_bytes */

/* Whether this is a repeated read of pending_bytes although no buffer was asked for. */
static bool asks_again(struct refd_device *refd, enum refd_field field)
{
	return field == REFD_FIELD_PENDING && refd_left(refd) && !refd->transfer.staged &&
	       past(refd)->buffer.asked;
}

int defect_pending_read_advances(struct refd_device *refd, enum refd_field field)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (asks_again(refd, field)) {
		transfer->length = min(refd_step(refd), transfer->end - transfer->position);
		refd->ops->advance(refd);
	}
	return under(pending_read_advances)(refd, field);
}

int defect_pending_read_changes_buffer(struct refd_device *refd, enum refd_field field)
{
	past(refd)->state.spoilt |= asks_again(refd, field);
	return under(pending_read_changes_buffer)(refd, field);
}

int defect_pending_read_often_ends(struct refd_device *refd, enum refd_field field)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (asks_again(refd, field) && past(refd)->buffer.asked >= 20)
		transfer->end = transfer->position;
	return under(pending_read_often_ends)(refd, field);
}

/* Reading data_offset */

/* Refuses a read of data_offset the first time that this is due. */
static int refuse_once(struct refd_device *refd, enum refd_field field, bool due)
{
	if (field != REFD_FIELD_OFFSET || !refd_left(refd) || !due ||
	    past(refd)->state.offset_refused)
		return 0;
	past(refd)->state.offset_refused = true;
	return -EAGAIN;
}

int defect_offset_refused_while_pending(struct refd_device *refd, enum refd_field field)
{
	int ret = refuse_once(refd, field, refd->state == COPY);

	return ret ? ret : under(offset_refused_while_pending)(refd, field);
}

int defect_offset_refused_in_pre_copy(struct refd_device *refd, enum refd_field field)
{
	int ret = refuse_once(refd, field, refd->state == PRE_COPY);

	return ret ? ret : under(offset_refused_in_pre_copy)(refd, field);
}

int defect_offset_refused_at_last(struct refd_device *refd, enum refd_field field)
{
	int ret = refuse_once(refd, field, refd_at_last(refd));

	return ret ? ret : under(offset_refused_at_last)(refd, field);
}

/* Reading data_offset advances to the next buffer if the present one was read. */
static void continue_state(struct refd_device *refd, enum refd_field field)
{
	if (field == REFD_FIELD_OFFSET && refd->transfer.staged && refd_left(refd) &&
	    !refd_at_last(refd))
		refd->ops->advance(refd);
}

int defect_offset_read_advances(struct refd_device *refd, enum refd_field field)
{
	continue_state(refd, field);
	return under(offset_read_advances)(refd, field);
}

int defect_offset_read_advances_in_pre_copy(struct refd_device *refd, enum refd_field field)
{
	if (refd->state == PRE_COPY)
		continue_state(refd, field);
	return under(offset_read_advances_in_pre_copy)(refd, field);
}

/* Whether a read of data_offset has to make a buffer available. */
static bool makes_buffer(struct refd_device *refd, enum refd_field field)
{
	return field == REFD_FIELD_OFFSET && refd_left(refd) && !refd->transfer.staged;
}

/* Makes the last byte of the present buffer appear later. */
static void delay(struct refd_device *refd)
{
	struct refd_past_buffer *buffer = &past(refd)->buffer;
	u8 *byte;

	if (!buffer->present.size || buffer->missing)
		return;
	buffer->missing = true;
	buffer->missing_at = buffer->present.offset + buffer->present.size - 1;
	byte = refd_served(refd) + buffer->missing_at;
	buffer->missing_byte = *byte;
	*byte = 0;
	mod_delayed_work(system_wq, &past(refd)->late_byte, msecs_to_jiffies(LATE_MS));
}

void refd_late_byte(struct work_struct *work)
{
	struct refd_past *past = container_of(to_delayed_work(work), struct refd_past, late_byte);
	struct refd_device *refd = past->refd;

	mutex_lock(&refd->lock);
	if (past->buffer.missing && past->buffer.missing_at < refd_migration_size(refd))
		refd_served(refd)[past->buffer.missing_at] = past->buffer.missing_byte;
	past->buffer.missing = false;
	mutex_unlock(&refd->lock);
}

int defect_offset_returns_early(struct refd_device *refd, enum refd_field field)
{
	bool makes = makes_buffer(refd, field);
	int ret = under(offset_returns_early)(refd, field);

	if (!ret && makes)
		delay(refd);
	return ret;
}

int defect_offset_returns_early_later(struct refd_device *refd, enum refd_field field)
{
	bool makes = makes_buffer(refd, field);
	int ret = under(offset_returns_early_later)(refd, field);

	if (!ret && makes && refd->transfer.number)
		delay(refd);
	return ret;
}

/* Saving does not wait for this work. */
void defect_offset_returns_early_work(struct refd_device *refd)
{
	if (!refd_saving(refd))
		under(offset_returns_early_work)(refd);
}

void defect_offset_returns_early_later_work(struct refd_device *refd)
{
	if (!refd_saving(refd) || !refd->transfer.number)
		under(offset_returns_early_later_work)(refd);
}

/* There is no data where data_offset says that the buffer is. */
static int say_only(struct refd_device *refd)
{
	u32 place = refd_data_offset(refd);

	memset(refd->ops->room(refd, place), 0, refd_migration_size(refd) - place);
	return 0;
}

int defect_data_lazy_on_size(struct refd_device *refd, enum refd_field field)
{
	return makes_buffer(refd, field) ? say_only(refd) :
					   under(data_lazy_on_size)(refd, field);
}

int defect_data_lazy_later(struct refd_device *refd, enum refd_field field)
{
	return makes_buffer(refd, field) && refd->transfer.number ?
	       say_only(refd) : under(data_lazy_later)(refd, field);
}

int defect_data_lazy_past_page(struct refd_device *refd, enum refd_field field)
{
	struct refd_transfer *transfer = &refd->transfer;
	struct refd_past_buffer *buffer = &past(refd)->buffer;
	bool makes = makes_buffer(refd, field);
	int ret = under(data_lazy_past_page)(refd, field);
	u8 *room = refd_served(refd) + buffer->present.offset;
	u32 crc = transfer->crc;

	if (!ret && makes && buffer->present.size > SZ_4K) {
		memset(room + SZ_4K, 0, buffer->present.size - SZ_4K);
		buffer->hidden = true;
	} else if (field == REFD_FIELD_SIZE && buffer->hidden) {
		refd->ops->lay(refd, room, transfer->position, transfer->length, &crc);
		buffer->hidden = false;
	}
	return ret;
}

/* Reading data_size */

REFUSES_READ(data_size_read_refused, -EINVAL, REFD_FIELD_SIZE, refd_saving(refd))
REFUSES_READ(size_refused_at_last, -EINVAL, REFD_FIELD_SIZE, refd_at_last(refd))

int defect_size_read_once(struct refd_device *refd, enum refd_field field)
{
	int ret = under(size_read_once)(refd, field);

	if (field != REFD_FIELD_SIZE || !refd_saving(refd))
		return ret;
	if (past(refd)->buffer.size_asked)
		refd->transfer.size = 0;
	past(refd)->buffer.size_asked = refd->transfer.staged;
	return ret;
}
