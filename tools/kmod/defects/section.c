// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of the data section: where buffers are in it, and how the user reaches
 * them.
 */
#include <linux/errno.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "defects.h"

#define WORD		sizeof(u32)

/* Where buffers are */

void defect_data_offset_unaligned(struct refd_device *refd)
{
	under(data_offset_unaligned)(refd);
	refd_divide(refd, refd->buffer_offset + 8, refd->buffer_end);
}

void defect_data_offset_unaligned_later(struct refd_device *refd)
{
	under(data_offset_unaligned_later)(refd);
	refd_divide(refd, refd->buffer_offset, refd->buffer_end - 8);
}

u32 defect_data_offset_unaligned_later_place(struct refd_device *refd, u32 number)
{
	return under(data_offset_unaligned_later_place)(refd, number) + (number ? 8 : 0);
}

/* Reading */

/* Whether an access touches the mappable part. */
static bool meets_mappable(struct refd_device *refd, size_t count, u32 place)
{
	u64 offset, size;

	return refd->ops->mappable(refd, &offset, &size) && place < offset + size &&
	       offset < place + count;
}

/* The buffer that is there to be read; null without one. */
static const struct refd_range *present(struct refd_device *refd)
{
	const struct refd_range *present = &past(refd)->buffer.present;

	return present->size ? present : NULL;
}

ssize_t defect_data_read_refused(struct refd_device *refd, char __user *buffer, size_t count,
				 u32 place)
{
	if (meets_mappable(refd, count, place))
		return -EINVAL;
	return under(data_read_refused)(refd, buffer, count, place);
}

ssize_t defect_data_read_whole_only(struct refd_device *refd, char __user *buffer, size_t count,
				    u32 place)
{
	const struct refd_range *there = present(refd);

	if (there && (place != there->offset || count != there->size))
		return -EINVAL;
	return under(data_read_whole_only)(refd, buffer, count, place);
}

ssize_t defect_data_read_narrow_refused(struct refd_device *refd, char __user *buffer,
					size_t count, u32 place)
{
	if (present(refd) && count < WORD)
		return -EINVAL;
	return under(data_read_narrow_refused)(refd, buffer, count, place);
}

ssize_t defect_data_read_refused_past_page(struct refd_device *refd, char __user *buffer,
					   size_t count, u32 place)
{
	const struct refd_range *there = present(refd);

	if (there && place + count > there->offset + SZ_4K)
		return -EINVAL;
	return under(data_read_refused_past_page)(refd, buffer, count, place);
}

ssize_t defect_data_read_narrow_misplaced(struct refd_device *refd, char __user *buffer,
					  size_t count, u32 place)
{
	if (present(refd) && count < WORD)
		place = rounddown(place, WORD);
	return under(data_read_narrow_misplaced)(refd, buffer, count, place);
}

ssize_t defect_data_read_once(struct refd_device *refd, char __user *buffer, size_t count,
			      u32 place)
{
	ssize_t ret = under(data_read_once)(refd, buffer, count, place);

	if (ret > 0 && present(refd))
		memset(refd_served(refd) + place, 0, count);
	return ret;
}

/* Data past the middle of the section is shifted by a byte. */
ssize_t defect_partition_torn(struct refd_device *refd, char __user *buffer, size_t count,
			      u32 place)
{
	u32 middle = REFD_DATA_OFFSET + refd->section_size / 2;
	size_t before = place < middle ? min_t(size_t, count, middle - place) : 0;
	ssize_t ret = 0;

	if (!present(refd))
		return under(partition_torn)(refd, buffer, count, place);
	if (before)
		ret = under(partition_torn)(refd, buffer, before, place);
	if (ret >= 0 && before < count)
		ret = under(partition_torn)(refd, buffer + before, count - before,
					    place + before - 1);
	return ret < 0 ? ret : (ssize_t)count;
}

/* Writing */

ssize_t defect_data_write_refused(struct refd_device *refd, const char __user *buffer,
				  size_t count, u32 place)
{
	if (meets_mappable(refd, count, place))
		return -EINVAL;
	return under(data_write_refused)(refd, buffer, count, place);
}

ssize_t defect_data_write_whole_only(struct refd_device *refd, const char __user *buffer,
				     size_t count, u32 place)
{
	struct refd_range *written = &past(refd)->state.written;

	if (refd->state == RESUMING) {
		if (written->size || place != refd_data_offset(refd))
			return -EINVAL;
		*written = (struct refd_range) { .offset = place, .size = count };
	}
	return under(data_write_whole_only)(refd, buffer, count, place);
}

/* Data not written through the file may have been written through a mapping. */
int defect_data_write_whole_only_consume(struct refd_device *refd, u64 size)
{
	struct refd_range written = past(refd)->state.written;

	past(refd)->state.written = (struct refd_range) { 0 };
	if (written.size && (written.offset != refd_data_offset(refd) || written.size != size))
		return -EINVAL;
	return under(data_write_whole_only_consume)(refd, size);
}

ssize_t defect_data_write_narrow_refused(struct refd_device *refd, const char __user *buffer,
					 size_t count, u32 place)
{
	if (count < WORD)
		return -EINVAL;
	return under(data_write_narrow_refused)(refd, buffer, count, place);
}

ssize_t defect_data_write_narrow_misplaced(struct refd_device *refd, const char __user *buffer,
					   size_t count, u32 place)
{
	if (count < WORD)
		place = rounddown(place, WORD);
	return under(data_write_narrow_misplaced)(refd, buffer, count, place);
}

/* Mapping: a shadow has what the driver sees, the window what the user sees. */

ssize_t defect_mapped_writes_unseen(struct refd_device *refd, const char __user *buffer,
				    size_t count, u32 place)
{
	ssize_t ret = under(mapped_writes_unseen)(refd, buffer, count, place);
	u8 *shadow = refd_shadow(refd);

	if (ret > 0 && shadow)
		memcpy(shadow + place, refd->window + place, count);
	return ret;
}

const u8 *defect_mapped_writes_unseen_taken(struct refd_device *refd, u32 place)
{
	const u8 *shadow = refd_shadow(refd);

	return shadow ? shadow + place : under(mapped_writes_unseen_taken)(refd, place);
}

u8 *defect_mapped_view_stale(struct refd_device *refd, u32 place)
{
	u8 *room = under(mapped_view_stale)(refd, place);
	u8 *shadow = refd_shadow(refd);

	if (!shadow)
		return room;
	past(refd)->stale = true;
	memcpy(refd->window, shadow, refd_migration_size(refd));
	return shadow + place;
}

u8 *defect_mapped_view_first_page(struct refd_device *refd, u32 place)
{
	u8 *room = under(mapped_view_first_page)(refd, place);
	u8 *shadow = refd_shadow(refd);

	if (!shadow)
		return room;
	past(refd)->stale = true;
	return shadow + place;
}

void defect_mapped_view_first_page_offer(struct refd_device *refd)
{
	u32 place = refd_data_offset(refd);
	u8 *shadow = refd_shadow(refd);

	under(mapped_view_first_page_offer)(refd);
	if (shadow)
		memcpy(refd->window + place, shadow + place,
		       min_t(u32, refd->transfer.size, SZ_4K));
}
