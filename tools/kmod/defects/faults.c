// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of a device that FAULT has refuse a transition, or that has to fail while saving or resuming.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>

#include "defects.h"
#include "shapes.h"

/* A write of device_state that is refused because of FAULT */

ssize_t defect_refusal_silent(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_silent)(refd, value);

	return past(refd)->user.commanded ? (ssize_t)sizeof(u32) : ret;
}

ssize_t defect_refusal_moves_state(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_moves_state)(refd, value);

	if (past(refd)->user.commanded)
		refd->ops->enter(refd, value & REFD_STATE_MASK);
	return ret;
}

ssize_t defect_refusal_becomes_error(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_becomes_error)(refd, value);

	if (past(refd)->user.commanded)
		refd->ops->enter(refd, ERROR);
	return ret;
}

READS(refusal_sets_error_bits, REFD_FIELD_STATE, past(refd)->user.commanded, refd->state | ERROR)

ssize_t defect_refusal_latches(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_latches)(refd, value);

	past(refd)->user.latched |= past(refd)->user.commanded;
	return ret;
}

ssize_t defect_refusal_freezes(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_freezes)(refd, value);

	if (past(refd)->user.commanded && refd->state & REFD_STATE_BIT_RUNNING) {
		past(refd)->state.stuck = true;
		refd_settle(refd);
	}
	return ret;
}

ssize_t defect_refusal_ends_dma(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_ends_dma)(refd, value);

	if (past(refd)->user.commanded)
		refd_set_register(refd, REFD_REG_CONTROL, 0);
	return ret;
}

ssize_t defect_refusal_wakes(struct refd_device *refd, u32 value)
{
	ssize_t ret = under(refusal_wakes)(refd, value);

	if (past(refd)->user.commanded && !(refd->state & REFD_STATE_BIT_RUNNING)) {
		past(refd)->state.restless = true;
		refd_settle(refd);
	}
	return ret;
}

/* A fault while saving or resuming */

/* Consumes the fault that is due at this buffer, if there is one. */
static bool overlooks_fault(struct refd_device *refd)
{
	bool due = refd_fault_is_due(refd);

	if (due)
		refd->load_fault = 0;
	return due;
}

int defect_resume_fault_loses_buffer(struct refd_device *refd, u64 size)
{
	past(refd)->state.loses = overlooks_fault(refd);
	return under(resume_fault_loses_buffer)(refd, size);
}

const u8 *defect_resume_fault_loses_buffer_keep(struct refd_device *refd, const u8 *bytes,
						u32 length)
{
	return past(refd)->state.loses ? bytes :
		under(resume_fault_loses_buffer_keep)(refd, bytes, length);
}

int defect_resume_fault_loses_later_buffer(struct refd_device *refd, u64 size)
{
	past(refd)->state.loses = refd->transfer.number && overlooks_fault(refd);
	return under(resume_fault_loses_later_buffer)(refd, size);
}

const u8 *defect_resume_fault_loses_later_buffer_keep(struct refd_device *refd, const u8 *bytes,
						      u32 length)
{
	return past(refd)->state.loses ? bytes :
		under(resume_fault_loses_later_buffer_keep)(refd, bytes, length);
}

int defect_resume_fault_keeps_old(struct refd_device *refd, u64 size)
{
	past(refd)->state.deaf |= overlooks_fault(refd);
	return past(refd)->state.deaf ? 0 : under(resume_fault_keeps_old)(refd, size);
}

int defect_resume_fault_keeps_old_finish_resuming(struct refd_device *refd, bool works)
{
	return past(refd)->state.deaf ? 0 :
		under(resume_fault_keeps_old_finish_resuming)(refd, works);
}

ssize_t defect_resume_fault_short(struct refd_device *refd, enum refd_field field, u64 value)
{
	bool due = field == REFD_FIELD_SIZE && refd_fault_is_due(refd);
	ssize_t ret = under(resume_fault_short)(refd, field, value);

	return due && ret < 0 ? 0 : ret;
}

int defect_resume_fault_outlives_reset(struct refd_device *refd, u64 size)
{
	return past(refd)->user.struck ? -EIO : under(resume_fault_outlives_reset)(refd, size);
}

REFUSES_RESET(resume_fault_wedges, -EIO, past(refd)->user.struck)
REFUSES_RESET(save_fault_wedges, -EIO, past(refd)->user.save_struck)
