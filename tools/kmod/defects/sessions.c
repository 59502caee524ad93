// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of sessions: what is lost if one ends early, and what the next one
 * finds of it.
 */
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/stddef.h>
#include <linux/string.h>

#include "defects.h"
#include "shapes.h"

/* What stop-and-copy wrongly considers sent */

/* After pre-copy there are zeros in place of a part of the image. */
static void lose(struct refd_device *refd, u32 start, u32 end)
{
	if (refd_after_pre_copy(refd))
		memset(refd_image_bytes(refd) + start, 0, end - start);
}

void defect_left_unread_lost(struct refd_device *refd)
{
	const struct refd_transfer *left = &past(refd)->left;

	under(left_unread_lost)(refd);
	lose(refd, refd_behind(left), left->end);
}

void defect_left_offered_lost(struct refd_device *refd)
{
	const struct refd_transfer *left = &past(refd)->left;

	under(left_offered_lost)(refd);
	lose(refd, left->position, refd_behind(left));
}

void defect_left_change_lost(struct refd_device *refd)
{
	const struct refd_transfer *left = &past(refd)->left;

	if (refd_after_pre_copy(refd))
		refd_take_around(refd, left->position, refd_behind(left));
	else
		under(left_change_lost)(refd);
}

/* The image is still that of pre-copy. */
void defect_left_cancelled_counts(struct refd_device *refd)
{
	const u32 start = offsetof(struct refd_image, memory);
	u32 end = past(refd)->user.offered, place, length;
	u8 *image = refd_image_bytes(refd), *live = (u8 *)refd->live;

	if (refd->state != COPY || !end) {
		under(left_cancelled_counts)(refd);
		return;
	}
	for (place = start; place < end; place += length) {
		length = min(refd_step(refd), end - place);
		if (memcmp(image + place, live + place, length))
			memcpy(image + place, live + place, length);
		else
			memset(image + place, 0, length);
	}
	refd_take_around(refd, start, end);
}

int defect_left_cancelled_counts_transition(struct refd_device *refd, u32 from, u32 to)
{
	if (from == PRE_COPY && to == RUNNING)
		past(refd)->user.offered = refd_behind(&refd->transfer);
	else if (from != RUNNING || to != COPY)
		past(refd)->user.offered = 0;
	return under(left_cancelled_counts_transition)(refd, from, to);
}

/* What is saved again */

static bool saves_again(struct refd_device *refd)
{
	return refd_saving(refd) && past(refd)->user.old_image;
}

void defect_left_cancelled_kept(struct refd_device *refd)
{
	if (!saves_again(refd))
		under(left_cancelled_kept)(refd);
}

int defect_left_cancelled_kept_transition(struct refd_device *refd, u32 from, u32 to)
{
	if (from == PRE_COPY && to == RUNNING)
		past(refd)->user.old_image = true;
	return under(left_cancelled_kept_transition)(refd, from, to);
}

void defect_saved_again_stale(struct refd_device *refd)
{
	if (saves_again(refd))
		return;
	under(saved_again_stale)(refd);
	past(refd)->user.old_image = refd->state == COPY;
}

/* The image has the previous content. */
void defect_resumed_saves_stale(struct refd_device *refd)
{
	refd_clock_fold(refd);
	swap(refd->live, refd->image);
	past(refd)->user.old_image = true;
}

void defect_resumed_saves_stale_take_image(struct refd_device *refd)
{
	if (!saves_again(refd))
		under(resumed_saves_stale_take_image)(refd);
}

/* What is not saved */

READS(left_poisons_next, REFD_FIELD_SIZE,
      refd->state == COPY && past(refd)->user.unfinished, 0)
OFFERS_NOTHING(cancelled_then_reset_empty, refd->state == COPY && past(refd)->next.empty)
OFFERS_NOTHING(resumed_saves_nothing, past(refd)->user.resumed)

static bool in_second_buffer(struct refd_device *refd)
{
	return refd->state == COPY && refd->transfer.staged && refd->transfer.number == 1;
}

int defect_cancelled_then_reset_empty_reset(struct refd_device *refd)
{
	if (past(refd)->user.withdrawn && in_second_buffer(refd))
		past(refd)->next.empty = true;
	return under(cancelled_then_reset_empty_reset)(refd);
}

int defect_left_buffer_skipped(struct refd_device *refd, u32 from, u32 to)
{
	if (from == COPY && from != to && refd->transfer.staged)
		past(refd)->next.behind = refd_behind(&refd->transfer);
	return under(left_buffer_skipped)(refd, from, to);
}

int defect_left_by_reset_skipped(struct refd_device *refd)
{
	if (in_second_buffer(refd))
		past(refd)->next.behind = refd_behind(&refd->transfer);
	return under(left_by_reset_skipped)(refd);
}

/* What goes wrong in a reset, and after it */

RESTARTS_IN(reset_in_second_buffer_stops, STOP, in_second_buffer(refd))

void defect_reset_in_buffer_freezes(struct refd_device *refd)
{
	bool freezes = in_second_buffer(refd);

	under(reset_in_buffer_freezes)(refd);
	if (!freezes)
		return;
	past(refd)->state.stuck = true;
	refd_settle(refd);
}

WORKS(resumed_never_stops, refd->state == STOP && past(refd)->user.resumed, true)

int defect_resumed_in_part_remembered(struct refd_device *refd, u64 size)
{
	if (refd->state != RESUMING || !past(refd)->next.in_part)
		return under(resumed_in_part_remembered)(refd, size);
	past(refd)->next.in_part = false;
	return -EIO;
}

int defect_resumed_in_part_remembered_reset(struct refd_device *refd)
{
	const struct refd_transfer *transfer = &refd->transfer;

	past(refd)->next.in_part = refd->state == RESUMING && transfer->number == 1 &&
				   !transfer->complete;
	return under(resumed_in_part_remembered_reset)(refd);
}

int defect_resumed_in_part_outlives_user(struct refd_device *refd, u64 size)
{
	if (refd->state == RESUMING && past(refd)->part_outlives && !refd->transfer.number)
		return -EIO;
	return under(resumed_in_part_outlives_user)(refd, size);
}

void defect_resumed_in_part_outlives_user_hand_over(struct refd_device *refd)
{
	const struct refd_transfer *transfer = &refd->transfer;

	if (refd->state == RESUMING && transfer->number && !transfer->complete)
		past(refd)->part_outlives = true;
	under(resumed_in_part_outlives_user_hand_over)(refd);
}

/* What is loaded the second time */

void defect_resumed_again_first_registers(struct refd_device *refd)
{
	struct refd_past_user *user = &past(refd)->user;

	if (user->adopted)
		memcpy(refd->image->registers, user->registers, sizeof(user->registers));
	else
		memcpy(user->registers, refd->image->registers, sizeof(user->registers));
	user->adopted = true;
	under(resumed_again_first_registers)(refd);
}
