// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of sessions: what is lost where one ends early, and what the next one
 * meets of it.
 */
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "defects.h"
#include "shapes.h"

/* What stop-and-copy takes for sent */

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

/* The image has what was there before. */
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
