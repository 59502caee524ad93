// SPDX-License-Identifier: GPL-2.0-only
/*
 * device_state and its transitions; reset, open and close.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "vfio_refdriver.h"

/* For each state, the states that the interface draws an arrow to. */
static const u8 drawn[] = {
	[REFD_STATE_RUNNING]		= BIT(REFD_STATE_STOP) | BIT(REFD_STATE_STOP_AND_COPY) |
					  BIT(REFD_STATE_PRE_COPY) | BIT(REFD_STATE_RESUMING),
	[REFD_STATE_PRE_COPY]		= BIT(REFD_STATE_STOP_AND_COPY),
	[REFD_STATE_STOP_AND_COPY]	= BIT(REFD_STATE_STOP),
	[REFD_STATE_RESUMING]		= BIT(REFD_STATE_RUNNING),
	[REFD_STATE_MASK]		= 0,	/* every value of the three bits has a place */
};

bool refd_drawn(u32 from, u32 to)
{
	return BIT(to) & drawn[from];
}

/* Enters a state whatever the device was doing. */
void refd_enter(struct refd_device *refd, u32 state)
{
	refd->state = state;
	refd_settle(refd);
	refd_begin_transfer(refd);
}

/* Whether a value is a state that the user may ask for. */
bool refd_is_state(struct refd_device *refd, u32 value)
{
	switch (value) {
	case REFD_STATE_STOP:
	case REFD_STATE_RUNNING:
	case REFD_STATE_STOP_AND_COPY:
	case REFD_STATE_PRE_COPY:
	case REFD_STATE_RESUMING:
		return true;
	default:
		return false;
	}
}

/* Whether a transition may be made. */
int refd_check(struct refd_device *refd, u32 from, u32 to)
{
	if (!refd->ops->is_state(refd, to))
		return -EINVAL;
	if (from == REFD_STATE_ERROR)
		return -EIO;
	return refd_drawn(from, to) || !refd_undrawn_refused() ? 0 : -EINVAL;
}

int refd_transition(struct refd_device *refd, u32 from, u32 to)
{
	int ret;

	if (from == to)
		return 0;
	if (from == REFD_STATE_RESUMING) {
		ret = refd->ops->finish_resuming(refd, to & REFD_STATE_BIT_RUNNING);
		if (ret)
			return ret;
	}
	refd->ops->enter(refd, to);
	return 0;
}

int refd_change_state(struct refd_device *refd, u32 value)
{
	u32 from = refd->state, to = value & REFD_STATE_MASK;
	int ret;

	ret = refd->ops->check(refd, from, to);
	return ret ? ret : refd->ops->transition(refd, from, to);
}

/* Does what the FAULT register asks for, once. */
static int use_fault(struct refd_device *refd)
{
	u32 fault = refd->fault;

	refd->fault = 0;
	if (fault == REFD_FAULT_ERROR)
		refd->ops->enter(refd, REFD_STATE_ERROR);
	return fault ? -EIO : 0;
}

/* A write of device_state: the number of bytes to answer, or an error. */
ssize_t refd_write_state(struct refd_device *refd, u32 value)
{
	int ret;

	ret = use_fault(refd);
	if (!ret)
		ret = refd->ops->change_state(refd, value);
	return ret ? ret : (ssize_t)sizeof(u32);
}

/* After a reset the device runs. */
void refd_restart(struct refd_device *refd)
{
	refd->ops->enter(refd, REFD_STATE_RUNNING);
}

int refd_reset(struct refd_device *refd)
{
	refd_clock_fold(refd);
	memset(refd->live, 0, sizeof(*refd->live));
	memset(refd->live->memory, 0, refd->memory_size);
	refd_config_reset(refd);
	refd_section_clear(refd);
	refd->fault = 0;
	refd->save_fault = 0;
	refd->load_fault = 0;
	refd->pin_address = 0;
	refd->pin_length = 0;
	refd_unpin_all(refd);
	refd->beats = 0;
	refd->ops->restart(refd);
	return 0;
}

void refd_opened(struct refd_device *refd)
{
	refd->open = true;
	refd_config_reset(refd);
	refd_section_clear(refd);
	refd_settle(refd);
}

/* The next user finds the device running. */
void refd_hand_over(struct refd_device *refd)
{
	refd->ops->enter(refd, REFD_STATE_RUNNING);
}

/* The stream ends here; the caller waits for its work outside the lock. */
void refd_closed(struct refd_device *refd)
{
	refd->open = false;
	refd_set_register(refd, REFD_REG_CONTROL,
			  refd_register(refd, REFD_REG_CONTROL) & ~(u64)REFD_CONTROL_STREAM);
	refd->ops->hand_over(refd);
}
