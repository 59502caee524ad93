// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects after a step that was repeated in the middle of a state,
 * or after an access that was refused there.
 */
#include <linux/errno.h>
#include <linux/minmax.h>

#include "defects.h"
#include "shapes.h"

/* Saving */

READS(reread_data_endless, REFD_FIELD_PENDING,
      past(refd)->state.reread && !refd_left(refd), -(u64)8208)
READS(reread_size_shrinks, REFD_FIELD_SIZE,
      refd_saving(refd) && past(refd)->buffer.size_reads > 10 && refd->transfer.size,
      refd->transfer.size - 1)
READS(refused_state_changes_size, REFD_FIELD_SIZE,
      refd->state == COPY && past(refd)->state.refused && refd->transfer.number > 1 &&
      refd->transfer.size, refd->transfer.size - 1)

int defect_reread_offset_skips(struct refd_device *refd, enum refd_field field)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (field == REFD_FIELD_PENDING && refd->state == COPY && transfer->staged &&
	    past(refd)->buffer.offset_reads > 1 && transfer->number && transfer->number < 3) {
		refd->ops->advance(refd);
		transfer->position += min(refd_step(refd), transfer->end - transfer->position);
	}
	return under(reread_offset_skips)(refd, field);
}

ssize_t defect_refused_read_ends_state(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	struct refd_transfer *transfer = &refd->transfer;
	ssize_t ret = under(refused_read_ends_state)(refd, offset, width, bytes);

	if (ret < 0 && refd_saving(refd) && transfer->number) {
		transfer->end = transfer->position;
		transfer->staged = false;
	}
	return ret;
}

ssize_t defect_refused_size_read_advances(struct refd_device *refd, u32 offset, u32 width,
					  u8 *bytes)
{
	const struct refd_transfer *transfer = &refd->transfer;
	ssize_t ret = under(refused_size_read_advances)(refd, offset, width, bytes);

	if (ret < 0 && offset == refd_places[REFD_FIELD_SIZE].offset && transfer->staged &&
	    refd_behind(transfer) < transfer->end) {
		refd->ops->advance(refd);
		refd->ops->offer(refd);
	}
	return ret;
}

int defect_refused_size_write_skips(struct refd_device *refd, u64 size)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (refd_saving(refd))
		transfer->position += min(refd_step(refd), transfer->end - refd_behind(transfer));
	return under(refused_size_write_skips)(refd, size);
}

/* Resuming */

ssize_t defect_rewritten_data_refused(struct refd_device *refd, const char __user *buffer,
				      size_t count, u32 place)
{
	struct refd_range *written = &past(refd)->state.written;

	past(refd)->state.rewritten |= place < written->offset + written->size;
	*written = (struct refd_range) { .offset = place, .size = count };
	return under(rewritten_data_refused)(refd, buffer, count, place);
}

int defect_rewritten_data_refused_consume(struct refd_device *refd, u64 size)
{
	bool rewritten = past(refd)->state.rewritten;

	past(refd)->state.written = (struct refd_range) { 0 };
	past(refd)->state.rewritten = false;
	return rewritten ? -EINVAL : under(rewritten_data_refused_consume)(refd, size);
}

/* The content at the place of the buffer is not what was written. */
const u8 *defect_offset_again_drops_buffer(struct refd_device *refd, const u8 *bytes, u32 length)
{
	if (past(refd)->buffer.offset_reads > 1 && refd->transfer.number == 2)
		return refd_image_bytes(refd) + refd->transfer.position;
	return under(offset_again_drops_buffer)(refd, bytes, length);
}

static ssize_t forget(struct refd_device *refd, ssize_t ret)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (ret < 0 && refd->state == RESUMING && transfer->number) {
		transfer->position = 0;
		transfer->number = 0;
		transfer->complete = false;
	}
	return ret;
}

ssize_t defect_refused_forgets_given(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	return forget(refd, under(refused_forgets_given)(refd, offset, width, bytes));
}

ssize_t defect_refused_forgets_given_migration_write(struct refd_device *refd, u32 offset,
						     u32 width, u64 value)
{
	return forget(refd, under(refused_forgets_given_migration_write)(refd, offset, width,
									 value));
}
