// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory behind region 9: where buffers lie in it, and how the user reaches
 * it. Places are offsets in the region.
 */
#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "defects.h"
#include "vfio_refdriver.h"

#define LATE_MS		20
#define WORD		sizeof(u32)

u32 refd_migration_size(struct refd_device *refd)
{
	return REFD_DATA_OFFSET + refd->section_size;
}

/* The mappable part of the region; false where there is none. */
bool refd_mappable(struct refd_device *refd, u64 *offset, u64 *size)
{
	if (refd_data_section() == REFD_DATA_TRAPPED)
		return false;
	*offset = REFD_DATA_OFFSET;
	*size = refd->section_size;
	if (refd_data_section() == REFD_DATA_PARTITIONED)
		*size /= 2;
	if (defect(AREA_COVERS_REGISTERS)) {
		*size += *offset;
		*offset = 0;
	}
	if (defect(AREA_OUTSIDE_REGION))
		*size = refd_migration_size(refd) + SZ_4K - *offset;
	return true;
}

/* Lays the section out as options and defects say. */
void refd_section_settle(struct refd_device *refd)
{
	u32 first = REFD_DATA_OFFSET + (defect(DATA_OFFSET_UNALIGNED) ? 8 : 0);
	u32 drift = defect(DATA_OFFSET_UNALIGNED_LATER) ? 8 : 0;
	u32 room = refd_migration_size(refd) - first - drift;

	refd->buffer_drift = drift;
	refd->buffer_offset = first;
	refd->buffer_size = min(refd_buffer(), room);
	refd->buffer_step = refd_data_section() == REFD_DATA_TRAPPED ? 8 : SZ_4K;
	refd->buffer_places = 1;
	if (refd_offset_moves())
		refd->buffer_places += (room - refd->buffer_size) / refd->buffer_step;
}

/* Where the buffer of this number lies. */
u32 refd_place(struct refd_device *refd, u32 number)
{
	return refd->buffer_offset + number % refd->buffer_places * refd->buffer_step +
	       (number ? refd->buffer_drift : 0);
}

static u8 *served(struct refd_device *refd)
{
	return refd->stale ? refd->shadow : refd->window;
}

void refd_section_clear(struct refd_device *refd)
{
	memset(refd->window, 0, refd_migration_size(refd));
	memset(refd->shadow, 0, refd_migration_size(refd));
}

/* Room for a buffer of the device's, up to the end of the region. */
u8 *refd_section_room(struct refd_device *refd, u32 place)
{
	refd->missing = false;
	refd->stale = defect(MAPPED_VIEW_STALE) || defect(MAPPED_VIEW_FIRST_PAGE);
	if (defect(MAPPED_VIEW_STALE))
		memcpy(refd->window, refd->shadow, refd_migration_size(refd));
	return served(refd) + place;
}

/* A buffer was put there for the user to read, mapped or not. */
void refd_section_show(struct refd_device *refd, u32 place, u32 size)
{
	refd->present = (struct refd_range) { place, size };
	if (defect(MAPPED_VIEW_FIRST_PAGE))
		memcpy(refd->window + place, refd->shadow + place, min_t(u32, size, SZ_4K));
}

/* Has the present buffer lack what comes from start on. */
void refd_section_hide(struct refd_device *refd, u32 start)
{
	if (start < refd->present.size)
		memset(served(refd) + refd->present.offset + start, 0, refd->present.size - start);
}

/* What the user has put there. */
const u8 *refd_section_taken(struct refd_device *refd, u32 place)
{
	return (defect(MAPPED_WRITES_UNSEEN) ? refd->shadow : refd->window) + place;
}

/* The buffer that was there is of no interest any more. */
void refd_section_withdraw(struct refd_device *refd)
{
	refd->present = (struct refd_range) { 0 };
	refd->missing = false;
}

/* Has the last byte of the present buffer arrive later. */
void refd_section_delay(struct refd_device *refd)
{
	if (!refd->present.size || refd->missing)
		return;
	refd->missing = true;
	refd->missing_at = refd->present.offset + refd->present.size - 1;
	refd->missing_byte = served(refd)[refd->missing_at];
	served(refd)[refd->missing_at] = 0;
	mod_delayed_work(system_wq, &refd->late, msecs_to_jiffies(LATE_MS));
}

void refd_late_work(struct work_struct *work)
{
	struct refd_device *refd = container_of(to_delayed_work(work), struct refd_device, late);

	mutex_lock(&refd->lock);
	if (refd->missing)
		served(refd)[refd->missing_at] = refd->missing_byte;
	refd->missing = false;
	mutex_unlock(&refd->lock);
}

/* What is there, but with the part past the middle of the section shifted by a byte. */
static ssize_t read_torn(struct refd_device *refd, char __user *buffer, size_t count, u32 place)
{
	u32 middle = REFD_DATA_OFFSET + refd->section_size / 2;
	size_t before = place < middle ? min_t(size_t, count, middle - place) : 0;

	if (copy_to_user(buffer, served(refd) + place, before) ||
	    copy_to_user(buffer + before, served(refd) + place + before - 1, count - before))
		return -EFAULT;
	return count;
}

/* Whether defects refuse to read so much of the present buffer there. */
static bool read_refused(const struct refd_range *present, size_t count, u32 place)
{
	return (defect(DATA_READ_WHOLE_ONLY) &&
		(place != present->offset || count != present->size)) ||
	       (defect(DATA_READ_NARROW_REFUSED) && count < WORD) ||
	       (defect(DATA_READ_REFUSED_PAST_PAGE) && place + count > present->offset + SZ_4K);
}

/* Any part of the section, mappable or not. */
ssize_t refd_section_read(struct refd_device *refd, char __user *buffer, size_t count, u32 place)
{
	const struct refd_range *present = &refd->present;
	u64 offset, size;

	if (defect(DATA_READ_REFUSED) && refd_mappable(refd, &offset, &size) &&
	    place < offset + size && offset < place + count)
		return -EINVAL;
	if (!present->offset)
		return copy_to_user(buffer, refd->window + place, count) ? -EFAULT : (ssize_t)count;
	if (read_refused(present, count, place))
		return -EINVAL;
	if (defect(DATA_READ_NARROW_MISPLACED) && count < WORD)
		place = rounddown(place, WORD);
	if (defect(PARTITION_TORN))
		return read_torn(refd, buffer, count, place);
	if (copy_to_user(buffer, served(refd) + place, count))
		return -EFAULT;
	if (defect(DATA_READ_ONCE))
		memset(served(refd) + place, 0, count);
	return count;
}

ssize_t refd_section_write(struct refd_device *refd, const char __user *buffer, size_t count,
			   u32 place)
{
	struct refd_range *written = &refd->transfer.written;
	u64 offset, size;

	if (defect(DATA_WRITE_REFUSED) && refd_mappable(refd, &offset, &size) &&
	    place < offset + size && offset < place + count)
		return -EINVAL;
	if (defect(DATA_WRITE_WHOLE_ONLY) && refd_state(refd) == REFD_STATE_RESUMING) {
		if (written->size || place != refd_data_offset(refd))
			return -EINVAL;
		*written = (struct refd_range) { place, count };
	}
	if (defect(DATA_WRITE_NARROW_REFUSED) && count < WORD)
		return -EINVAL;
	if (defect(DATA_WRITE_NARROW_MISPLACED) && count < WORD)
		place = rounddown(place, WORD);
	if (copy_from_user(refd->window + place, buffer, count))
		return -EFAULT;
	if (defect(MAPPED_WRITES_UNSEEN))
		memcpy(refd->shadow + place, refd->window + place, count);
	return count;
}
