// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of running and being stopped, of reset, open and close.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/time64.h>

#include "defects.h"
#include "shapes.h"

/* Running and stopped */

WORKS(pre_copy_stops, refd->state == PRE_COPY, false)
WORKS(resuming_keeps_running, refd->state == RESUMING, true)
WORKS(stop_and_copy_keeps_running, refd->state == COPY, true)

bool defect_running_bit_inverted(struct refd_device *refd)
{
	return !under(running_bit_inverted)(refd);
}

/* Whether a buffer that is not empty was made available in a state. */
static bool has_buffer(struct refd_device *refd, u32 state)
{
	return refd->state == state && refd->transfer.length;
}

void defect_pre_copy_stops_at_data(struct refd_device *refd)
{
	under(pre_copy_stops_at_data)(refd);
	if (has_buffer(refd, PRE_COPY)) {
		past(refd)->state.stuck = true;
		refd_settle(refd);
	}
}

void defect_stop_and_copy_works_at_data(struct refd_device *refd)
{
	under(stop_and_copy_works_at_data)(refd);
	if (has_buffer(refd, COPY)) {
		past(refd)->state.restless = true;
		refd_settle(refd);
	}
}

void defect_work_forgotten_at_stop(struct refd_device *refd)
{
	refd_set_register(refd, REFD_REG_STATUS, 0);
	under(work_forgotten_at_stop)(refd);
}

void defect_stop_late(struct refd_device *refd)
{
	refd->clock_until = refd->clock_since + LATE_MS * NSEC_PER_MSEC;
}

void defect_pre_copy_exit_late(struct refd_device *refd)
{
	under(pre_copy_exit_late)(refd);
	if (past(refd)->previous == PRE_COPY)
		refd->clock_until = refd->clock_since + LATE_MS * NSEC_PER_MSEC;
}

void defect_stop_one_late_dma(struct refd_device *refd)
{
	under(stop_one_late_dma)(refd);
	mod_delayed_work(system_wq, &past(refd)->late_beat, msecs_to_jiffies(LATE_MS));
}

/* Unless the device runs again, or the stream was switched off in the meantime. */
void refd_late_beat(struct work_struct *work)
{
	struct refd_past *past = container_of(to_delayed_work(work), struct refd_past, late_beat);
	struct refd_device *refd = past->refd;

	mutex_lock(&refd->lock);
	if (refd_stream_on(refd) && !refd_works(refd))
		refd_beat(refd);
	mutex_unlock(&refd->lock);
}

bool defect_stop_dma_continues(struct refd_device *refd)
{
	return refd_stream_on(refd);
}

/* Reset */

REFUSES_RESET(bad_data_wedges, -EIO, past(refd)->wedged)
REFUSES_RESET(undrawn_wedges, -EIO, past(refd)->user.cancelled)
REFUSES_RESET(reset_refused_in_stop, -EBUSY, refd->state == STOP)
REFUSES_RESET(reset_refused_mid_buffer, -EBUSY, refd->transfer.staged)

RESTARTS_IN(bad_size_outlives_reset, RESUMING, past(refd)->bad_size)
RESTARTS_IN(error_outlives_close_restart, ERROR,
	    refd->state == ERROR && past(refd)->error_outlives)
RESTARTS_IN(reset_keeps_error, ERROR, refd->state == ERROR)
RESTARTS_IN(reset_keeps_saving, PRE_COPY, refd_saving(refd))
RESTARTS_IN(reset_to_stop, STOP, true)

void defect_reset_recovers_once(struct refd_device *refd)
{
	bool hurt = refd->state == ERROR;

	if (hurt && past(refd)->user.recovered)
		refd->ops->enter(refd, ERROR);
	else
		under(reset_recovers_once)(refd);
	past(refd)->user.recovered |= hurt;
}

int defect_bad_size_outlives_reset_consume(struct refd_device *refd, u64 size)
{
	if (refd->state == RESUMING && size > refd_migration_size(refd) - refd_data_offset(refd))
		past(refd)->bad_size = true;
	return under(bad_size_outlives_reset_consume)(refd, size);
}

/* Open and close */

void defect_open_in_stop(struct refd_device *refd)
{
	under(open_in_stop)(refd);
	refd->ops->enter(refd, STOP);
	past(refd)->previous = STOP;
}

void defect_open_stands_still(struct refd_device *refd)
{
	under(open_stands_still)(refd);
	past(refd)->state.stuck = true;
	refd_settle(refd);
}

void defect_close_needs_stop(struct refd_device *refd)
{
	if (refd->state == STOP)
		under(close_needs_stop)(refd);
}

void defect_close_keeps_resuming(struct refd_device *refd)
{
	if (refd->state != RESUMING)
		under(close_keeps_resuming)(refd);
}

void defect_error_outlives_close(struct refd_device *refd)
{
	if (refd->state == ERROR)
		past(refd)->error_outlives = true;
	else
		under(error_outlives_close)(refd);
}
