// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of device_state: how it reads, what a write answers and asks for, and
 * which transitions are refused or go wrong.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/string.h>

#include "defects.h"
#include "shapes.h"

/* Reads */

READS(state_read_stale, REFD_FIELD_STATE, true, past(refd)->previous)
READS(state_read_stale_once, REFD_FIELD_STATE, past(refd)->state.stale_reads, PRE_COPY)
READS(stop_and_copy_reads_stop, REFD_FIELD_STATE, refd->state == COPY, STOP)
READS(pre_copy_reads_running, REFD_FIELD_STATE, refd->state == PRE_COPY, RUNNING)
READS(state_failure_reports_7, REFD_FIELD_STATE, past(refd)->user.refused, 7)
READS(state_fault_reports_7, REFD_FIELD_STATE, refd->state == ERROR, 7)

int defect_header_late(struct refd_device *refd, enum refd_field field)
{
	if (field != REFD_FIELD_STATE || !past(refd)->user.unread)
		return under(header_late)(refd, field);
	past(refd)->user.unread = false;
	return -EAGAIN;
}

/* What a write answers */

ssize_t defect_state_write_returns_state(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(state_write_returns_state)(refd, value);

	return ret < 0 ? ret : value & REFD_STATE_MASK;
}

ssize_t defect_state_write_short(struct refd_device *refd, u32 value)
{
	return min_t(ssize_t, under(state_write_short)(refd, value), 0);
}

ssize_t defect_state_write_short_from_pre_copy(struct refd_device *refd, u32 value)
{
	u32 from = refd->state;
	ssize_t ret = under(state_write_short_from_pre_copy)(refd, value);

	return from == PRE_COPY ? min_t(ssize_t, ret, 0) : ret;
}

ssize_t defect_state_failure_short(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(state_failure_short)(refd, value);

	return ret < 0 ? 2 : ret;
}

static ssize_t silenced(ssize_t ret, bool silent)
{
	return ret < 0 && silent ? (ssize_t)sizeof(u32) : ret;
}

ssize_t defect_state_failure_silent(struct refd_device *refd, u32 value)
{
	return silenced(under(state_failure_silent)(refd, value), true);
}

ssize_t defect_state_failure_silent_again(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(state_failure_silent_again)(refd, value);

	return silenced(ret, past(refd)->user.refused > 1);
}

ssize_t defect_state_fault_silent(struct refd_device *refd, u32 value)
{
	u32 from = refd->state;
	ssize_t ret = under(state_fault_silent)(refd, value);

	return silenced(ret, refd->state != from);
}

/* What a refused write does nevertheless */

ssize_t defect_state_failure_stores(struct refd_device *refd, u32 value)
{
	u32 from = refd->state;
	ssize_t ret = under(state_failure_stores)(refd, value);

	if (ret < 0 && from != ERROR)
		refd->ops->enter(refd, value & REFD_STATE_MASK);
	return ret;
}

ssize_t defect_state_failure_ends_pre_copy(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(state_failure_ends_pre_copy)(refd, value);

	if (ret < 0 && refd->state == PRE_COPY)
		refd->ops->enter(refd, RUNNING);
	return ret;
}

static ssize_t latched(struct refd_device *refd, ssize_t ret, bool latches)
{
	if (ret < 0 && latches)
		past(refd)->user.latched = true;
	return ret;
}

ssize_t defect_state_latched_after_failure(struct refd_device *refd, u32 value)
{
	return latched(refd, under(state_latched_after_failure)(refd, value), true);
}

ssize_t defect_state_latched_after_second_failure(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(state_latched_after_second_failure)(refd, value);

	return latched(refd, ret, past(refd)->user.refusals > 1);
}

ssize_t defect_state_latched_in_pre_copy(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(state_latched_in_pre_copy)(refd, value);

	return latched(refd, ret, refd->state == PRE_COPY);
}

/* What a write asks for */

int defect_reserved_bits_confuse(struct refd_device *refd, u32 value)
{
	u32 reserved = value & ~(u32)REFD_STATE_MASK;

	if (!reserved)
		return under(reserved_bits_confuse)(refd, value);
	refd->ops->enter(refd, value << 1 & REFD_STATE_MASK);
	past(refd)->state.reserved_bits = reserved;
	return 0;
}

u64 defect_reserved_bits_confuse_peek(struct refd_device *refd, enum refd_field field)
{
	u64 value = under(reserved_bits_confuse_peek)(refd, field);

	return field == REFD_FIELD_STATE ? value | past(refd)->state.reserved_bits : value;
}

int defect_reserved_bits_swallowed(struct refd_device *refd, u32 value)
{
	return value > REFD_STATE_MASK ? 0 : under(reserved_bits_swallowed)(refd, value);
}

int defect_reserved_bit_31_stops(struct refd_device *refd, u32 value)
{
	return under(reserved_bit_31_stops)(refd, value & BIT(31) ? STOP : value);
}

int defect_state_invalid_7_as_pre_copy(struct refd_device *refd, u32 value)
{
	if ((value & REFD_STATE_MASK) == 7)
		value ^= 7 ^ PRE_COPY;
	return under(state_invalid_7_as_pre_copy)(refd, value);
}

int defect_error_write_ignored(struct refd_device *refd, u32 value)
{
	return refd->state == ERROR ? 0 : under(error_write_ignored)(refd, value);
}

TAKES(state_invalid_5_accepted, 5, true)
TAKES(state_invalid_5_in_resuming, 5, refd->state == RESUMING)
TAKES(state_invalid_7_accepted, 7, true)
TAKES(state_error_accepted, ERROR, true)
TAKES(state_error_accepted_in_resuming, ERROR, refd->state == RESUMING)

int defect_error_left_by_write(struct refd_device *refd, u32 from, u32 to)
{
	return from == ERROR && to == RUNNING ? 0 : under(error_left_by_write)(refd, from, to);
}

int defect_error_left_by_second_write(struct refd_device *refd, u32 from, u32 to)
{
	if (from == ERROR && refd->ops->is_state(refd, to) && past(refd)->state.asked++)
		return 0;
	return under(error_left_by_second_write)(refd, from, to);
}

/* Transitions that are refused */

REFUSES(stop_refused, -EINVAL, BIT(RUNNING), BIT(STOP), true)
REFUSES(stop_refused_while_busy, -EBUSY, BIT(RUNNING), BIT(STOP), refd_stream_on(refd))
REFUSES(stop_and_copy_to_stop_refused, -EINVAL, BIT(COPY), BIT(STOP), true)
REFUSES(stop_refused_after_pre_copy, -EINVAL, BIT(COPY), BIT(STOP),
	past(refd)->previous == PRE_COPY)
REFUSES(pre_copy_refused, -EINVAL, BIT(RUNNING), BIT(PRE_COPY), true)
REFUSES(pre_copy_refused_after_resume, -EBUSY, BIT(RUNNING), BIT(PRE_COPY),
	past(refd)->user.resumed)
REFUSES(pre_copy_to_stop_and_copy_refused, -EINVAL, BIT(PRE_COPY), BIT(COPY), true)
REFUSES(resuming_refused, -EINVAL, BIT(RUNNING), BIT(RESUMING), true)
REFUSES(resumed_refused, -EINVAL, BIT(RESUMING), BIT(RUNNING), refd->transfer.complete)
REFUSES(resuming_refused_after_saving, -EBUSY, BIT(RUNNING), BIT(RESUMING),
	past(refd)->user.saved)
REFUSES(cancel_refused, -EINVAL, BIT(PRE_COPY), BIT(RUNNING), true)
REFUSES(pre_copy_must_drain, -EBUSY, BIT(PRE_COPY), ANY, refd_left(refd))
REFUSES(stop_and_copy_must_drain, -EBUSY, BIT(COPY), ANY, refd_left(refd))
REFUSES(leave_mid_buffer_refused, -EBUSY, SAVING, ANY, refd->transfer.staged)
REFUSES(reset_error_refuses_saving, -EIO, ANY, BIT(COPY), past(refd)->user.hurt)

/* Transitions that do not do what they should */

int defect_half_state_reads_next(struct refd_device *refd, u32 from, u32 to)
{
	int ret = under(half_state_reads_next)(refd, from, to);

	if (ret && from == RESUMING)
		refd->state = to;
	return ret;
}

int defect_early_leave_wedges(struct refd_device *refd, u32 from, u32 to)
{
	bool early = from == RESUMING && to != RESUMING && !refd->transfer.begun &&
		     !past(refd)->state.held.size;
	int ret = under(early_leave_wedges)(refd, from, to);

	if (!ret && early)
		refd->state = 5;
	return ret;
}

int defect_saved_state_dropped(struct refd_device *refd, u32 from, u32 to)
{
	int ret = under(saved_state_dropped)(refd, from, to);

	if (!ret && from == COPY && to == STOP)
		memset(refd->live->memory, 0, refd->memory_size);
	return ret;
}

static int stuck(struct refd_device *refd, int ret, bool stays_stopped)
{
	if (!ret && stays_stopped) {
		past(refd)->state.stuck = true;
		refd_settle(refd);
	}
	return ret;
}

int defect_resumed_stays_stopped(struct refd_device *refd, u32 from, u32 to)
{
	int ret = under(resumed_stays_stopped)(refd, from, to);

	return stuck(refd, ret, from == RESUMING && to == RUNNING);
}

int defect_cancelled_stays_stopped(struct refd_device *refd, u32 from, u32 to)
{
	int ret = under(cancelled_stays_stopped)(refd, from, to);

	return stuck(refd, ret, from == COPY && to == RUNNING);
}

int defect_self_write_ends_data(struct refd_device *refd, u32 from, u32 to)
{
	if (from == to && refd_saving(refd))
		refd->transfer.end = refd->transfer.position;
	return under(self_write_ends_data)(refd, from, to);
}

/* The requested transition, except for the state in which it ends. */
static int end_in(struct refd_device *refd, u32 from, u32 to, u32 end)
{
	int ret = 0;

	if (from == end)
		return 0;
	if (from == RESUMING)
		ret = refd->ops->finish_resuming(refd, to & REFD_STATE_BIT_RUNNING);
	if (!ret)
		refd->ops->enter(refd, end);
	return ret;
}

int defect_self_write_moves(struct refd_device *refd, u32 from, u32 to)
{
	return from == to ? end_in(refd, from, to, STOP) :
			    under(self_write_moves)(refd, from, to);
}

int defect_self_write_resuming_runs(struct refd_device *refd, u32 from, u32 to)
{
	return from == to && from == RESUMING ? end_in(refd, from, to, RUNNING) :
						under(self_write_resuming_runs)(refd, from, to);
}

int defect_stop_and_copy_to_stop_runs(struct refd_device *refd, u32 from, u32 to)
{
	return from == COPY && to == STOP ? end_in(refd, from, to, RUNNING) :
					    under(stop_and_copy_to_stop_runs)(refd, from, to);
}

static bool undrawn(u32 from, u32 to)
{
	return from != to && !refd_drawn(from, to);
}

int defect_undrawn_wrong_state(struct refd_device *refd, u32 from, u32 to)
{
	u32 third = STOP;

	while (third == from || third == to)
		third++;
	return undrawn(from, to) ? end_in(refd, from, to, third) :
				   under(undrawn_wrong_state)(refd, from, to);
}

int defect_undrawn_ignored(struct refd_device *refd, u32 from, u32 to)
{
	return undrawn(from, to) ? 0 : under(undrawn_ignored)(refd, from, to);
}

/* Transitions that the user did not ask for */

/* The remaining data can still be read: only the state differs, until it is written. */
READS(state_changes_by_itself, REFD_FIELD_STATE, refd->state == COPY && past(refd)->state.pending_asked, STOP)

ssize_t defect_state_changes_by_itself_write_state(struct refd_device *refd, u32 value)
{
	past(refd)->state.pending_asked = false;
	return under(state_changes_by_itself_write_state)(refd, value);
}

int defect_drained_stops(struct refd_device *refd, enum refd_field field)
{
	int ret = under(drained_stops)(refd, field);

	if (field == REFD_FIELD_PENDING && refd->state == COPY && !refd_left(refd))
		refd->ops->enter(refd, STOP);
	return ret;
}

int defect_resuming_runs_by_itself(struct refd_device *refd, u64 size)
{
	int ret = under(resuming_runs_by_itself)(refd, size);

	return ret || !refd->transfer.complete ? ret :
						 refd->ops->transition(refd, RESUMING, RUNNING);
}

int defect_stop_wears_off(struct refd_device *refd, enum refd_field field)
{
	u64 until = past(refd)->state.until;

	if (field == REFD_FIELD_STATE && refd->state == STOP && until && ktime_get_ns() > until)
		refd->ops->transition(refd, STOP, RUNNING);
	return under(stop_wears_off)(refd, field);
}

int defect_stop_wears_off_transition(struct refd_device *refd, u32 from, u32 to)
{
	int ret = under(stop_wears_off_transition)(refd, from, to);

	if (!ret && from == RUNNING && to == STOP)
		past(refd)->state.until = ktime_get_ns() + 20 * NSEC_PER_MSEC;
	return ret;
}
