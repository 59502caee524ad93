// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory behind region 9: where buffers are in it, and how the user reaches
 * it. Places are offsets in the region.
 */
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "vfio_refdriver.h"

u32 refd_migration_size(struct refd_device *refd)
{
	return REFD_DATA_OFFSET + refd->section_size;
}

/* The mappable part of the region; false without one. */
bool refd_mappable(struct refd_device *refd, u64 *offset, u64 *size)
{
	if (refd_data_section() == REFD_DATA_TRAPPED)
		return false;
	*offset = REFD_DATA_OFFSET;
	*size = refd->section_size;
	if (refd_data_section() == REFD_DATA_PARTITIONED)
		*size /= 2;
	return true;
}

/* Divides a part of the region among buffers, as the options say. */
void refd_divide(struct refd_device *refd, u32 first, u32 end)
{
	refd->buffer_offset = first;
	refd->buffer_end = end;
	refd->buffer_size = min(refd_buffer(), end - first);
	refd->buffer_step = refd_data_section() == REFD_DATA_TRAPPED ? 8 : SZ_4K;
	refd->buffer_places = 1;
	if (refd_offset_moves())
		refd->buffer_places += (end - first - refd->buffer_size) / refd->buffer_step;
}

void refd_lay_out(struct refd_device *refd)
{
	refd_divide(refd, REFD_DATA_OFFSET, refd_migration_size(refd));
}

/* The place of the buffer with this number. */
u32 refd_place(struct refd_device *refd, u32 number)
{
	return refd->buffer_offset + number % refd->buffer_places * refd->buffer_step;
}

/* The place of the present buffer while saving, and of the next one while resuming. */
u32 refd_data_offset(struct refd_device *refd)
{
	return refd->ops->place(refd, refd->transfer.number);
}

/* Room for a buffer of the device's, up to the end of the region. */
u8 *refd_room(struct refd_device *refd, u32 place)
{
	return refd->window + place;
}

/* The data that the user has put there. */
const u8 *refd_taken(struct refd_device *refd, u32 place)
{
	return refd->window + place;
}

void refd_section_clear(struct refd_device *refd)
{
	memset(refd->window, 0, refd_migration_size(refd));
}

/* Any part of the section, mappable or not. */
ssize_t refd_section_read(struct refd_device *refd, char __user *buffer, size_t count, u32 place)
{
	return copy_to_user(buffer, refd->window + place, count) ? -EFAULT : (ssize_t)count;
}

ssize_t refd_section_write(struct refd_device *refd, const char __user *buffer, size_t count,
			   u32 place)
{
	return copy_from_user(refd->window + place, buffer, count) ? -EFAULT : (ssize_t)count;
}
