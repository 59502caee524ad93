// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects of the region, of where its registers are, and of accesses that are not
 * of a whole register.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "defects.h"

/* The region's capabilities */

int defect_region_subtype_zero(struct refd_device *refd, struct vfio_info_cap *caps)
{
	return refd_add_type(caps, VFIO_REGION_TYPE_MIGRATION_DEPRECATED, 0);
}

int defect_region_type_missing(struct refd_device *refd, struct vfio_info_cap *caps)
{
	return 0;
}

int defect_region_type_lost_by_reset(struct refd_device *refd, struct vfio_info_cap *caps)
{
	return past(refd)->user.was_reset ? 0 : under(region_type_lost_by_reset)(refd, caps);
}

int defect_region_announced_twice(struct refd_device *refd, struct vfio_region_info *info,
				  struct vfio_info_cap *caps)
{
	int ret = under(region_announced_twice)(refd, info, caps);

	return ret || info->index < REFD_REGION_COUNT ? ret : refd->ops->announce(refd, caps);
}

u32 defect_region_announced_twice_region_count(struct refd_device *refd)
{
	return REFD_REGION_COUNT + 1;
}

bool defect_area_covers_registers(struct refd_device *refd, u64 *offset, u64 *size)
{
	if (!under(area_covers_registers)(refd, offset, size))
		return false;
	*size += *offset;
	*offset = 0;
	return true;
}

bool defect_area_outside_region(struct refd_device *refd, u64 *offset, u64 *size)
{
	if (!under(area_outside_region)(refd, offset, size))
		return false;
	*size = refd_migration_size(refd) + SZ_4K - *offset;
	return true;
}

/* Lists one more area than there is, if there is any. */
static u32 add_area(struct vfio_region_sparse_mmap_area *areas, u32 count, u64 offset, u64 size)
{
	if (!count)
		return 0;
	areas[count].offset = offset;
	areas[count].size = size;
	return count + 1;
}

u32 defect_area_second_covers_registers(struct refd_device *refd,
					struct vfio_region_sparse_mmap_area *areas)
{
	return add_area(areas, under(area_second_covers_registers)(refd, areas), 0, SZ_4K);
}

u32 defect_area_empty(struct refd_device *refd, struct vfio_region_sparse_mmap_area *areas)
{
	return add_area(areas, under(area_empty)(refd, areas), REFD_DATA_OFFSET, 0);
}

u32 defect_area_wraps(struct refd_device *refd, struct vfio_region_sparse_mmap_area *areas)
{
	return add_area(areas, under(area_wraps)(refd, areas), -(u64)SZ_4K, SZ_8K);
}

/* Where registers are */

enum refd_field defect_header_shifted(struct refd_device *refd, u32 offset, u32 width)
{
	return under(header_shifted)(refd, offset - 8, width);
}

enum refd_field defect_pending_misplaced(struct refd_device *refd, u32 offset, u32 width)
{
	enum refd_field field = under(pending_misplaced)(refd, offset, width);

	if (offset == 12 && width == 4)
		return REFD_FIELD_RESERVED;
	if (offset == 4 && width == 8)
		return REFD_FIELD_PENDING;
	return field == REFD_FIELD_RESERVED || field == REFD_FIELD_PENDING ? REFD_FIELD_COUNT :
									     field;
}

/* Reads that are not of a whole register */

static bool is_register(struct refd_device *refd, u32 offset, u32 width)
{
	return refd->ops->find(refd, offset, width) != REFD_FIELD_COUNT;
}

static bool in_header(u32 offset, u32 width)
{
	return offset < REFD_HEADER_SIZE && width <= REFD_HEADER_SIZE - offset;
}

/* Whether an access touches more than one register. */
static bool spans_several(u32 offset, u32 width)
{
	const struct refd_place *each;
	unsigned int touched = 0;

	for (each = refd_places; each < refd_places + REFD_FIELD_COUNT; each++)
		touched += offset < each->offset + each->width && each->offset < offset + width;
	return touched > 1;
}

/* Reads whatever is there, registers or parts of them. */
static ssize_t read_loosely(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	u8 header[REFD_HEADER_SIZE];
	enum refd_field field;

	for (field = 0; field < REFD_FIELD_COUNT; field++) {
		__le64 value = cpu_to_le64(refd->ops->peek(refd, field));

		memcpy(header + refd_places[field].offset, &value, refd_places[field].width);
	}
	memcpy(bytes, header + offset, width);
	return width;
}

ssize_t defect_width_read_empty(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	if (is_register(refd, offset, width))
		return under(width_read_empty)(refd, offset, width, bytes);
	return 0;
}

ssize_t defect_width_read_short(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	const struct refd_place *each = refd_places;

	if (is_register(refd, offset, width) || !in_header(offset, width))
		return under(width_read_short)(refd, offset, width, bytes);
	for (; each < refd_places + REFD_FIELD_COUNT; each++)
		if (offset == each->offset && width > each->width)
			width = each->width;
	return under(width_read_short)(refd, offset, width, bytes);
}

ssize_t defect_width_byte_read_accepted(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	if (width != 1 || !in_header(offset, width))
		return under(width_byte_read_accepted)(refd, offset, width, bytes);
	return read_loosely(refd, offset, width, bytes);
}

ssize_t defect_width_straddling_read_accepted(struct refd_device *refd, u32 offset, u32 width,
					      u8 *bytes)
{
	if (!spans_several(offset, width) || !in_header(offset, width) ||
	    is_register(refd, offset, width))
		return under(width_straddling_read_accepted)(refd, offset, width, bytes);
	return read_loosely(refd, offset, width, bytes);
}

ssize_t defect_width_several_registers_read(struct refd_device *refd, u32 offset, u32 width,
					    u8 *bytes)
{
	if (offset != refd_places[REFD_FIELD_PENDING].offset || (width != 16 && width != 24))
		return under(width_several_registers_read)(refd, offset, width, bytes);
	return read_loosely(refd, offset, width, bytes);
}

ssize_t defect_width_read_past_header(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	if (offset != REFD_HEADER_SIZE - 4 || width != 8)
		return under(width_read_past_header)(refd, offset, width, bytes);
	memset(bytes + 4, 0, 4);
	read_loosely(refd, offset, 4, bytes);
	return width;
}

ssize_t defect_size_read_short(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	ssize_t ret = under(size_read_short)(refd, offset, width, bytes);

	if (ret > 0 && refd->state == PRE_COPY &&
	    refd->ops->find(refd, offset, width) == REFD_FIELD_SIZE)
		ret = sizeof(u32);
	return ret;
}

/* Writes at device_state that are not of its width */

ssize_t defect_width_halfword_write_applied(struct refd_device *refd, u32 offset, u32 width,
					    u64 value)
{
	if (offset || width != 2)
		return under(width_halfword_write_applied)(refd, offset, width, value);
	return min_t(ssize_t, refd->ops->write_state(refd, value), width);
}

ssize_t defect_width_refused_but_applied(struct refd_device *refd, u32 offset, u32 width,
					 u64 value)
{
	if (!offset && width == 1)
		refd->ops->write_state(refd, value);
	return under(width_refused_but_applied)(refd, offset, width, value);
}

ssize_t defect_width_wide_write_applied(struct refd_device *refd, u32 offset, u32 width, u64 value)
{
	if (offset || width != 8)
		return under(width_wide_write_applied)(refd, offset, width, value);
	return refd->ops->write_state(refd, value);
}

ssize_t defect_width_write_ignored(struct refd_device *refd, u32 offset, u32 width, u64 value)
{
	if (is_register(refd, offset, width))
		return under(width_write_ignored)(refd, offset, width, value);
	return width;
}

ssize_t defect_width_write_past_header(struct refd_device *refd, u32 offset, u32 width, u64 value)
{
	if (offset != REFD_HEADER_SIZE - 4 || width != 8)
		return under(width_write_past_header)(refd, offset, width, value);
	return width;
}
