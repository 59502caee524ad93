// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of what the registers of region 9, except device_state, read, and of
 * what can be written to those that the user only reads.
 */
#include <linux/errno.h>
#include <linux/kernel.h>

#include "defects.h"
#include "shapes.h"

/* Where the region begins in the device's file */
#define FILE_POSITION	((u64)REFD_REGION_MIGRATION << REFD_REGION_SHIFT)

/* reserved */

READS(reserved_garbage, REFD_FIELD_RESERVED, true, 0xdeadbeef)
READS(reserved_stale, REFD_FIELD_RESERVED, true, past(refd)->last_read)
READS(reserved_stored, REFD_FIELD_RESERVED, true, past(refd)->reserved)
READS(reserved_stored_in_part, REFD_FIELD_RESERVED, true, past(refd)->reserved & 0xff)

REFUSES_READ(reserved_read_refused, -EINVAL, REFD_FIELD_RESERVED, true)

ssize_t defect_reserved_write_refused(struct refd_device *refd, enum refd_field field, u64 value)
{
	if (field == REFD_FIELD_RESERVED)
		return -EINVAL;
	return under(reserved_write_refused)(refd, field, value);
}

ssize_t defect_reserved_write_empty(struct refd_device *refd, enum refd_field field, u64 value)
{
	ssize_t ret = under(reserved_write_empty)(refd, field, value);

	return field == REFD_FIELD_RESERVED && ret > 0 ? 0 : ret;
}

/* pending_bytes */

READS(pending_returns_later, REFD_FIELD_PENDING,
      refd->state == COPY && past(refd)->state.zeros > 2, 1)
READS(pending_zero_early, REFD_FIELD_PENDING, refd_at_last(refd), 0)

u64 defect_pending_returns(struct refd_device *refd, enum refd_field field)
{
	if (field != REFD_FIELD_PENDING || refd->state != COPY || !refd_at_last(refd) ||
	    past(refd)->state.was_zero)
		return under(pending_returns)(refd, field);
	past(refd)->state.was_zero = true;
	return 0;
}

static ssize_t set_pending(struct refd_device *refd, u64 value)
{
	past(refd)->state.pending = value;
	past(refd)->state.pending_written = true;
	return sizeof(value);
}

ssize_t defect_pending_writable(struct refd_device *refd, enum refd_field field, u64 value)
{
	if (field != REFD_FIELD_PENDING)
		return under(pending_writable)(refd, field, value);
	return set_pending(refd, value);
}

ssize_t defect_pending_writable_in_pre_copy(struct refd_device *refd, enum refd_field field,
					    u64 value)
{
	if (field != REFD_FIELD_PENDING || refd->state != PRE_COPY)
		return under(pending_writable_in_pre_copy)(refd, field, value);
	return set_pending(refd, value);
}

ssize_t defect_pending_write_zero_ends(struct refd_device *refd, enum refd_field field, u64 value)
{
	if (field == REFD_FIELD_PENDING && !value && refd_saving(refd)) {
		refd->transfer.end = refd->transfer.position;
		refd->transfer.staged = false;
	}
	return under(pending_write_zero_ends)(refd, field, value);
}

/* data_offset */

READS(data_offset_zero, REFD_FIELD_OFFSET, true, 0)
READS(data_offset_in_header, REFD_FIELD_OFFSET, refd->state == RESUMING,
      refd_places[REFD_FIELD_SIZE].offset)
READS(data_offset_file_position, REFD_FIELD_OFFSET, true, FILE_POSITION + refd_data_offset(refd))
READS(resume_offset_marches, REFD_FIELD_OFFSET, refd->state == RESUMING,
      refd_data_offset(refd) + (u64)refd->transfer.number * refd->buffer_size)
READS(offset_outside_section, REFD_FIELD_OFFSET, refd->transfer.staged && refd_at_last(refd),
      refd_migration_size(refd) - rounddown((u32)refd->transfer.size - 1, SZ_4K))
READS(offset_in_registers, REFD_FIELD_OFFSET,
      refd->transfer.staged && refd->transfer.number == 1, 16)
READS(offset_rereads_drift, REFD_FIELD_OFFSET,
      refd->transfer.staged && refd->transfer.number && past(refd)->buffer.offset_reads > 1,
      refd_data_offset(refd) + 8)
READS(offset_high_half, REFD_FIELD_OFFSET, refd->transfer.staged,
      refd_data_offset(refd) | (u64)refd->transfer.number << 32)

static ssize_t set_offset(struct refd_device *refd, u64 value)
{
	past(refd)->state.data_offset = value;
	return sizeof(value);
}

ssize_t defect_data_offset_writable(struct refd_device *refd, enum refd_field field, u64 value)
{
	if (field != REFD_FIELD_OFFSET)
		return under(data_offset_writable)(refd, field, value);
	return set_offset(refd, value);
}

ssize_t defect_data_offset_writable_while_saving(struct refd_device *refd, enum refd_field field,
						 u64 value)
{
	if (field != REFD_FIELD_OFFSET || !refd_saving(refd))
		return under(data_offset_writable_while_saving)(refd, field, value);
	return set_offset(refd, value);
}

ssize_t defect_data_offset_high_half_writable(struct refd_device *refd, enum refd_field field,
					      u64 value)
{
	if (field != REFD_FIELD_OFFSET || !(value >> 32))
		return under(data_offset_high_half_writable)(refd, field, value);
	return set_offset(refd, value);
}

/* data_size */

READS(size_off_by_one, REFD_FIELD_SIZE, refd_saving(refd) && refd->transfer.size,
      refd->transfer.size - 1)

ssize_t defect_resume_size_short(struct refd_device *refd, enum refd_field field, u64 value)
{
	ssize_t ret = under(resume_size_short)(refd, field, value);

	return field == REFD_FIELD_SIZE && ret > 0 ? (ssize_t)sizeof(u32) : ret;
}
