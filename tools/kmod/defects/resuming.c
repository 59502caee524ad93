// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of resuming: which data is accepted, and what happens to it.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "defects.h"
#include "shapes.h"

/* What is refused */

REFUSES_READ(second_offset_refused, -EINVAL, REFD_FIELD_OFFSET,
	     refd->state == RESUMING && past(refd)->state.offset_asked > 1)
REFUSES_READ(resume_offset_wants_pending, -EINVAL, REFD_FIELD_OFFSET,
	     refd->state == RESUMING && !past(refd)->state.pending_asked)

int defect_resuming_data_refused(struct refd_device *refd, u64 size)
{
	return -EINVAL;
}

int defect_resume_odd_size_refused(struct refd_device *refd, u64 size)
{
	return size % sizeof(u64) ? -EINVAL : under(resume_odd_size_refused)(refd, size);
}

int defect_resume_again_refused(struct refd_device *refd, u64 size)
{
	return past(refd)->user.resumed ? -EINVAL : under(resume_again_refused)(refd, size);
}

/* What happens to a buffer */

int defect_data_consumed_late(struct refd_device *refd, const struct refd_range *buffer)
{
	struct refd_range held = past(refd)->state.held;

	past(refd)->state.held = *buffer;
	return held.size ? under(data_consumed_late)(refd, &held) : 0;
}

int defect_data_consumed_late_finish_resuming(struct refd_device *refd, bool works)
{
	struct refd_range held = past(refd)->state.held;
	int ret = 0;

	past(refd)->state.held = (struct refd_range) { 0 };
	if (held.size)
		ret = under(data_consumed_late)(refd, &held);
	return ret ? ret : under(data_consumed_late_finish_resuming)(refd, works);
}

int defect_bad_data_swallowed(struct refd_device *refd, const struct refd_range *buffer)
{
	under(bad_data_swallowed)(refd, buffer);
	return 0;
}

bool defect_bad_data_swallowed_is_whole(struct refd_device *refd)
{
	return true;
}

int defect_resuming_data_ignored(struct refd_device *refd, const struct refd_range *buffer)
{
	return 0;
}

int defect_resume_again_ignored(struct refd_device *refd, const struct refd_range *buffer)
{
	return past(refd)->user.resumed ? 0 : under(resume_again_ignored)(refd, buffer);
}

int defect_resume_first_page_only(struct refd_device *refd, const struct refd_range *buffer)
{
	int ret = under(resume_first_page_only)(refd, buffer);
	u32 length = buffer->size - REFD_TRAILER_SIZE;

	if (!ret && length > SZ_4K)
		memset(refd_image_bytes(refd) + refd->transfer.position - length + SZ_4K, 0,
		       length - SZ_4K);
	return ret;
}

const u8 *defect_resume_last_buffer_only(struct refd_device *refd, const u8 *bytes, u32 length)
{
	refd->ops->take_image(refd);
	return under(resume_last_buffer_only)(refd, bytes, length);
}

const u8 *defect_resume_drops_a_buffer(struct refd_device *refd, const u8 *bytes, u32 length)
{
	return refd->transfer.number == 1 ? bytes :
					    under(resume_drops_a_buffer)(refd, bytes, length);
}

void defect_resume_high_half_lost(struct refd_device *refd)
{
	u32 which;

	under(resume_high_half_lost)(refd);
	for (which = 0; which < REFD_REG_COUNT; which++)
		refd->live->registers[which] &= cpu_to_le64(U32_MAX);
}
