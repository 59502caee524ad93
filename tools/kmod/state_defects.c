// SPDX-License-Identifier: GPL-2.0-only
/*
 * What defects make of device_state: how it reads, what a write answers, and
 * which transitions go wrong. Without a defect each function here gives what its
 * arguments say, and refuses nothing.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>

#include "defects.h"
#include "vfio_refdriver.h"

#define STOP		REFD_STATE_STOP
#define RUNNING		REFD_STATE_RUNNING
#define COPY		REFD_STATE_STOP_AND_COPY
#define PRE_COPY	REFD_STATE_PRE_COPY
#define RESUMING	REFD_STATE_RESUMING
#define ERROR		REFD_STATE_ERROR

#define ANY		GENMASK(REFD_STATE_MASK, 0)
#define SAVING		(BIT(PRE_COPY) | BIT(COPY))

/* When a refusal is in force */

static bool always(struct refd_device *refd)
{
	return true;
}

static bool pending(struct refd_device *refd)
{
	return refd_left(refd);
}

static bool in_buffer(struct refd_device *refd)
{
	return refd->transfer.staged;
}

static bool streaming(struct refd_device *refd)
{
	return refd_register(refd, REFD_REG_CONTROL) & REFD_CONTROL_STREAM;
}

static bool from_pre_copy(struct refd_device *refd)
{
	return refd->previous_state == PRE_COPY;
}

static bool filled(struct refd_device *refd)
{
	return refd->transfer.complete;
}

static bool resumed(struct refd_device *refd)
{
	return refd->past.resumed;
}

static bool saved(struct refd_device *refd)
{
	return refd->past.saved;
}

static bool hurt(struct refd_device *refd)
{
	return refd->past.hurt;
}

static const struct refusal {
	enum refd_defect defect;
	int error;
	u8 from, to;		/* sets of states */
	bool (*when)(struct refd_device *refd);
} refusals[] = {
#define REFUSAL(name, error, from, to, when) { REFD_DEFECT_##name, error, from, to, when }
	REFUSAL(STOP_REFUSED, -EINVAL, BIT(RUNNING), BIT(STOP), always),
	REFUSAL(STOP_REFUSED_WHILE_BUSY, -EBUSY, BIT(RUNNING), BIT(STOP), streaming),
	REFUSAL(STOP_AND_COPY_TO_STOP_REFUSED, -EINVAL, BIT(COPY), BIT(STOP), always),
	REFUSAL(STOP_REFUSED_AFTER_PRE_COPY, -EINVAL, BIT(COPY), BIT(STOP), from_pre_copy),
	REFUSAL(PRE_COPY_REFUSED, -EINVAL, BIT(RUNNING), BIT(PRE_COPY), always),
	REFUSAL(PRE_COPY_REFUSED_AFTER_RESUME, -EBUSY, BIT(RUNNING), BIT(PRE_COPY), resumed),
	REFUSAL(PRE_COPY_TO_STOP_AND_COPY_REFUSED, -EINVAL, BIT(PRE_COPY), BIT(COPY), always),
	REFUSAL(RESUMING_REFUSED, -EINVAL, BIT(RUNNING), BIT(RESUMING), always),
	REFUSAL(RESUMED_REFUSED, -EINVAL, BIT(RESUMING), BIT(RUNNING), filled),
	REFUSAL(RESUMING_REFUSED_AFTER_SAVING, -EBUSY, BIT(RUNNING), BIT(RESUMING), saved),
	REFUSAL(CANCEL_REFUSED, -EINVAL, BIT(PRE_COPY), BIT(RUNNING), always),
	REFUSAL(PRE_COPY_MUST_DRAIN, -EBUSY, BIT(PRE_COPY), ANY, pending),
	REFUSAL(STOP_AND_COPY_MUST_DRAIN, -EBUSY, BIT(COPY), ANY, pending),
	REFUSAL(LEAVE_MID_BUFFER_REFUSED, -EBUSY, SAVING, ANY, in_buffer),
	REFUSAL(RESET_ERROR_REFUSES_SAVING, -EIO, ANY, BIT(COPY), hurt),
#undef REFUSAL
};

int refd_refusal(struct refd_device *refd, u32 from, u32 to)
{
	const struct refusal *each;

	for (each = refusals; each < refusals + ARRAY_SIZE(refusals); each++)
		if (refd_defect_chosen(each->defect) && BIT(from) & each->from &&
		    BIT(to) & each->to && each->when(refd))
			return each->error;
	return 0;
}

/* What was */

/* The device went from one state to the next. */
void refd_note_move(struct refd_device *refd, u32 from, u32 to)
{
	struct refd_past *past = &refd->past;

	past->stale_reads = from == PRE_COPY && to == COPY ? 2 : 0;
	past->asked_in_error = 0;
	if (BIT(to) & SAVING)
		past->saved = true;
	if (from == RESUMING && refd->transfer.begun)
		past->resumed = true;
	if (from == PRE_COPY && to == RESUMING)
		past->cancelled = true;
}

/* A reset or a last close brought the device from a state to one that it begins with. */
void refd_note_start(struct refd_device *refd, u32 before)
{
	struct refd_past *past = &refd->past;

	past->refusals = 0;
	past->refused = 0;
	past->unread = false;
	past->latched = false;
	past->resumed = false;
	past->hurt = before == ERROR;
}

void refd_note_open(struct refd_device *refd)
{
	refd->past = (struct refd_past) { .unread = true };
}

static void note_refusal(struct refd_device *refd, u32 from)
{
	struct refd_past *past = &refd->past;

	past->refusals++;
	past->refused++;
	if (defect(STATE_LATCHED_AFTER_FAILURE) ||
	    (defect(STATE_LATCHED_AFTER_SECOND_FAILURE) && past->refusals > 1) ||
	    (defect(STATE_LATCHED_IN_PRE_COPY) && from == PRE_COPY))
		past->latched = true;
}

/* Reads */

/* A read of device_state begins. */
int refd_state_asked(struct refd_device *refd)
{
	struct refd_past *past = &refd->past;

	if (past->stale_reads)
		past->stale_reads--;
	if (defect(HEADER_LATE) && past->unread) {
		past->unread = false;
		return -EAGAIN;
	}
	return 0;
}

u32 refd_reported_state(struct refd_device *refd)
{
	if (defect(STATE_READ_STALE))
		return refd->previous_state;
	if (defect(STATE_READ_STALE_ONCE) && refd->past.stale_reads)
		return PRE_COPY;
	if (defect(STOP_AND_COPY_READS_STOP) && refd->state == COPY)
		return STOP;
	if (defect(PRE_COPY_READS_RUNNING) && refd->state == PRE_COPY)
		return RUNNING;
	if (defect(STATE_FAILURE_REPORTS_7) && refd->past.refused)
		return 7;
	if (defect(STATE_FAULT_REPORTS_7) && refd->state == ERROR)
		return 7;
	return refd->state;
}

/* Writes */

/* Deals with a value that has reserved bits; false where that makes no difference. */
bool refd_confused(struct refd_device *refd, u32 value)
{
	u32 reserved = value & ~(u32)REFD_STATE_MASK;

	if (reserved && defect(RESERVED_BITS_CONFUSE)) {
		refd_set_state(refd, reserved | (value << 1 & REFD_STATE_MASK));
		return true;
	}
	return reserved && defect(RESERVED_BITS_SWALLOWED);
}

/* The state that a written value asks for. */
u32 refd_meaning(u32 value)
{
	u32 state = value & REFD_STATE_MASK;

	if (defect(RESERVED_BIT_31_STOPS) && value & BIT(31))
		return STOP;
	return defect(STATE_INVALID_7_AS_PRE_COPY) && state == 7 ? PRE_COPY : state;
}

/* Whether a value that is no state is taken for one. */
bool refd_takes(u32 from, u32 value)
{
	switch (value) {
	case 5:
		return defect(STATE_INVALID_5_ACCEPTED) ||
		       (defect(STATE_INVALID_5_IN_RESUMING) && from == RESUMING);
	case 6:
		return defect(STATE_ERROR_ACCEPTED) ||
		       (defect(STATE_ERROR_ACCEPTED_IN_RESUMING) && from == RESUMING);
	default:
		return defect(STATE_INVALID_7_ACCEPTED);
	}
}

/* Whether a write leads out of the error state. */
bool refd_leaves_error(struct refd_device *refd, u32 to)
{
	bool again = refd->past.asked_in_error++;

	return (defect(ERROR_LEFT_BY_WRITE) && to == RUNNING) ||
	       (defect(ERROR_LEFT_BY_SECOND_WRITE) && again);
}

static u32 third_state(u32 from, u32 to)
{
	u32 state = STOP;

	while (state == from || state == to)
		state++;
	return state;
}

/* Where a transition ends that nobody refused. */
u32 refd_end(u32 from, u32 to, bool is_drawn)
{
	if (from == to) {
		if (defect(SELF_WRITE_MOVES))
			return STOP;
		return defect(SELF_WRITE_RESUMING_RUNS) && from == RESUMING ? RUNNING : to;
	}
	if (is_drawn)
		return defect(STOP_AND_COPY_TO_STOP_RUNS) && from == COPY && to == STOP ?
		       RUNNING : to;
	if (defect(UNDRAWN_WRONG_STATE))
		return third_state(from, to);
	return defect(UNDRAWN_IGNORED) ? from : to;
}

/* The bytes that a successful write of a value in a state answers. */
ssize_t refd_answer(struct refd_device *refd, u32 from, u32 value)
{
	refd->past.refused = 0;
	if (defect(STATE_WRITE_RETURNS_STATE))
		return value & REFD_STATE_MASK;
	if (defect(STATE_WRITE_SHORT) || (defect(STATE_WRITE_SHORT_FROM_PRE_COPY) && from == PRE_COPY))
		return 0;
	return sizeof(u32);
}

/* The same for one that was refused with an error. */
ssize_t refd_answer_refused(struct refd_device *refd, u32 from, u32 value, int error)
{
	bool fault = refd_state(refd) != from;

	note_refusal(refd, refd_state(refd));
	if (defect(STATE_FAILURE_STORES) && from != ERROR)
		refd_set_state(refd, value & REFD_STATE_MASK);
	if (defect(STATE_FAILURE_ENDS_PRE_COPY) && refd_state(refd) == PRE_COPY)
		refd_set_state(refd, RUNNING);
	if (defect(STATE_FAILURE_SILENT) || (defect(STATE_FAULT_SILENT) && fault) ||
	    (defect(STATE_FAILURE_SILENT_AGAIN) && refd->past.refused > 1))
		return sizeof(u32);
	return defect(STATE_FAILURE_SHORT) ? 2 : error;
}

/* Running, stopping, reset, close */

/* Whether the device works in a state: bit 0 says so. */
bool refd_should_work(struct refd_device *refd)
{
	u32 state = refd_state(refd);
	bool run = state & REFD_STATE_BIT_RUNNING;

	if (defect(RUNNING_BIT_INVERTED))
		run = !run;
	if ((defect(STOP_AND_COPY_KEEPS_RUNNING) && state == COPY) ||
	    (defect(RESUMING_KEEPS_RUNNING) && state == RESUMING))
		run = true;
	if (defect(PRE_COPY_STOPS) && state == PRE_COPY)
		run = false;
	return (run || refd->restless) && !refd->stuck;
}

/* Whether the device stands still though it has gone to RUNNING. */
bool refd_stays_stopped(u32 from, u32 to)
{
	return to == RUNNING && ((from == RESUMING && defect(RESUMED_STAYS_STOPPED)) ||
				 (from == COPY && defect(CANCELLED_STAYS_STOPPED)));
}

/* Whether it is still at work when the write that stops it returns. */
bool refd_stops_late(struct refd_device *refd)
{
	return defect(STOP_LATE) ||
	       (defect(PRE_COPY_EXIT_LATE) && refd->previous_state == PRE_COPY);
}

/* A buffer was made available. */
void refd_disturb_work(struct refd_device *refd)
{
	if (defect(PRE_COPY_STOPS_AT_DATA) && refd_state(refd) == PRE_COPY)
		refd->stuck = true;
	if (defect(STOP_AND_COPY_WORKS_AT_DATA) && refd_state(refd) == COPY)
		refd->restless = true;
	if (refd->stuck || refd->restless)
		refd_settle(refd);
}

int refd_reset_refusal(struct refd_device *refd)
{
	if ((defect(BAD_DATA_WEDGES) && refd->wedged) ||
	    (defect(UNDRAWN_WEDGES) && refd->past.cancelled))
		return -EIO;
	if ((defect(RESET_REFUSED_IN_STOP) && refd_state(refd) == STOP) ||
	    (defect(RESET_REFUSED_MID_BUFFER) && refd->transfer.staged))
		return -EBUSY;
	return 0;
}

/* The state that a reset ends in. */
u32 refd_after_reset(struct refd_device *refd)
{
	u32 state = refd_state(refd);
	bool outlives = refd->error_outlives, bad_size = refd->bad_size;

	refd->error_outlives = false;
	refd->bad_size = false;
	if (bad_size)
		return RESUMING;
	if (state == ERROR) {
		if (outlives || defect(RESET_KEEPS_ERROR) ||
		    (defect(RESET_RECOVERS_ONCE) && refd->past.recovered))
			return ERROR;
		refd->past.recovered = true;
	}
	if (defect(RESET_KEEPS_SAVING) && BIT(state) & SAVING)
		return PRE_COPY;
	return defect(RESET_TO_STOP) ? STOP : RUNNING;
}

/* The state that the next user finds. */
u32 refd_after_close(struct refd_device *refd)
{
	u32 state = refd_state(refd);

	if (defect(ERROR_OUTLIVES_CLOSE) && state == ERROR) {
		refd->error_outlives = true;
		return state;
	}
	if (defect(CLOSE_NEEDS_STOP) && state != STOP)
		return state;
	return defect(CLOSE_KEEPS_RESUMING) && state == RESUMING ? RESUMING : RUNNING;
}
