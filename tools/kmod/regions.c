// SPDX-License-Identifier: GPL-2.0-only
/*
 * The regions of the device: what GET_REGION_INFO says of them, and the ways
 * from read, write and mmap to what lies behind. No size, offset or count that
 * the user gives is used before it was held against the region.
 */
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "defects.h"
#include "vfio_refdriver.h"

#define REGION_MASK		(BIT_ULL(REFD_REGION_SHIFT) - 1)

#define REGION_REGISTERS	VFIO_PCI_BAR0_REGION_INDEX
#define REGION_MEMORY		VFIO_PCI_BAR2_REGION_INDEX
#define REGION_CONFIG		VFIO_PCI_CONFIG_REGION_INDEX
#define REGION_MIGRATION	VFIO_PCI_NUM_REGIONS
#define REGION_COUNT		(VFIO_PCI_NUM_REGIONS + 1)

#define REGISTERS_SIZE		SZ_4K
#define CONFIG_SIZE		256

static const u8 config[CONFIG_SIZE] = { 0xf4, 0x1a, 0xf1, 0x10 };

static u32 region_size(struct refd_device *refd, u64 index)
{
	switch (index) {
	case REGION_REGISTERS:
		return REGISTERS_SIZE;
	case REGION_MEMORY:
		return refd->memory_size;
	case REGION_CONFIG:
		return CONFIG_SIZE;
	case REGION_MIGRATION:
		return refd_migration_size(refd);
	default:
		return 0;
	}
}

/* How many region indexes there are; one of no size too many by defect. */
u32 refd_region_count(void)
{
	return REGION_COUNT + defect(REGION_ANNOUNCED_TWICE);
}

static int add_type(struct vfio_info_cap *caps)
{
	struct vfio_region_info_cap_type type = {
		.header.id = VFIO_REGION_INFO_CAP_TYPE,
		.header.version = 1,
		.type = VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
		.subtype = VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED,
	};

	if (defect(REGION_TYPE_MISSING))
		return 0;
	if (defect(REGION_SUBTYPE_ZERO))
		type.subtype = 0;
	return vfio_info_add_capability(caps, &type.header, sizeof(type));
}

/* Areas that defects list behind the true one */
static const struct {
	enum refd_defect defect;
	u64 offset;
	u64 size;
} more_areas[] = {
	{ REFD_DEFECT_AREA_EMPTY, REFD_DATA_OFFSET, 0 },
	{ REFD_DEFECT_AREA_WRAPS, -(u64)SZ_4K, SZ_8K },
	{ REFD_DEFECT_AREA_SECOND_COVERS_REGISTERS, 0, SZ_4K },
};

static int add_areas(struct vfio_info_cap *caps, u64 offset, u64 length)
{
	struct vfio_region_info_cap_sparse_mmap *sparse;
	size_t size = struct_size(sparse, areas, 1 + ARRAY_SIZE(more_areas));
	unsigned int each;
	int ret;

	sparse = kzalloc(size, GFP_KERNEL);
	if (!sparse)
		return -ENOMEM;
	sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	sparse->header.version = 1;
	sparse->nr_areas = 1;
	sparse->areas[0].offset = offset;
	sparse->areas[0].size = length;
	for (each = 0; each < ARRAY_SIZE(more_areas); each++) {
		if (!refd_defect_chosen(more_areas[each].defect))
			continue;
		sparse->areas[sparse->nr_areas].offset = more_areas[each].offset;
		sparse->areas[sparse->nr_areas++].size = more_areas[each].size;
	}
	size = struct_size(sparse, areas, sparse->nr_areas);
	ret = vfio_info_add_capability(caps, &sparse->header, size);
	kfree(sparse);
	return ret;
}

static int describe_migration(struct refd_device *refd, struct vfio_region_info *info,
			      struct vfio_info_cap *caps)
{
	u64 offset, size;
	int ret = 0;

	if (!(defect(REGION_TYPE_LOST_BY_RESET) && refd->past.was_reset))
		ret = add_type(caps);
	if (!ret && refd_mappable(refd, &offset, &size)) {
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
		ret = add_areas(caps, offset, size);
	}
	return ret;
}

/* The sizes are those of the user who asks: they stay while the device is open. */
long refd_get_region_info(struct refd_device *refd, unsigned long argument)
{
	const unsigned long fixed = offsetofend(struct vfio_region_info, offset);
	void __user *user = (void __user *)argument;
	struct vfio_info_cap caps = { 0 };
	struct vfio_region_info info;
	int ret = 0;

	if (copy_from_user(&info, user, fixed))
		return -EFAULT;
	if (info.argsz < fixed || info.index >= refd_region_count())
		return -EINVAL;
	info.size = region_size(refd, info.index);
	info.offset = (u64)info.index << REFD_REGION_SHIFT;
	info.flags = 0;
	info.cap_offset = 0;
	if (info.size)
		info.flags |= VFIO_REGION_INFO_FLAG_READ;
	if (info.size && info.index != REGION_CONFIG)
		info.flags |= VFIO_REGION_INFO_FLAG_WRITE;
	if (info.index == REGION_MIGRATION)
		ret = describe_migration(refd, &info, &caps);
	else if (info.index >= REGION_COUNT)
		ret = add_type(&caps);
	if (ret)
		goto out;

	if (caps.size) {
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info.argsz < sizeof(info) + caps.size) {
			info.argsz = sizeof(info) + caps.size;
		} else {
			vfio_info_cap_shift(&caps, sizeof(info));
			if (copy_to_user(user + sizeof(info), caps.buf, caps.size))
				ret = -EFAULT;
			info.cap_offset = sizeof(info);
		}
	}
	if (!ret && copy_to_user(user, &info, fixed))
		ret = -EFAULT;
out:
	kfree(caps.buf);
	return ret;
}

/* Splits a file offset; the access then lies wholly inside a region. */
static int locate(struct refd_device *refd, loff_t offset, size_t count, u64 *index, u32 *place)
{
	u32 size;

	*index = (u64)offset >> REFD_REGION_SHIFT;
	size = region_size(refd, *index);
	if ((offset & REGION_MASK) >= size || count > size - (offset & REGION_MASK))
		return -EINVAL;
	*place = offset & REGION_MASK;
	return 0;
}

static ssize_t read_bytes(char __user *buffer, const void *from, size_t count)
{
	return copy_to_user(buffer, from, count) ? -EFAULT : (ssize_t)count;
}

static ssize_t write_bytes(void *to, const char __user *buffer, size_t count)
{
	return copy_from_user(to, buffer, count) ? -EFAULT : (ssize_t)count;
}

static ssize_t read_register(struct refd_device *refd, char __user *buffer, size_t count, u32 place)
{
	__le64 bytes;
	u64 value;
	int ret;

	ret = refd_registers_read(refd, place, count, &value);
	if (ret)
		return ret;
	bytes = cpu_to_le64(value);
	return read_bytes(buffer, &bytes, count);
}

static ssize_t read_migration(struct refd_device *refd, char __user *buffer, size_t count,
			      u32 place)
{
	u8 bytes[REFD_HEADER_SIZE];
	ssize_t ret;

	if (place >= REFD_DATA_OFFSET)
		return refd_section_read(refd, buffer, count, place);
	if (count > sizeof(bytes))
		return -EINVAL;
	ret = refd_migration_read(refd, place, count, bytes);
	return ret < 0 ? ret : read_bytes(buffer, bytes, ret);
}

/* A little-endian number of 1 to 8 bytes from the user. */
static int get_value(const char __user *buffer, size_t count, u64 *value)
{
	__le64 bytes = 0;

	if (count > sizeof(bytes))
		return -EINVAL;
	if (copy_from_user(&bytes, buffer, count))
		return -EFAULT;
	*value = le64_to_cpu(bytes);
	return 0;
}

static ssize_t write_register(struct refd_device *refd, const char __user *buffer, size_t count,
			      u32 place)
{
	u64 value;
	int ret;

	ret = get_value(buffer, count, &value);
	if (!ret)
		ret = refd_registers_write(refd, place, count, value);
	return ret ? ret : (ssize_t)count;
}

static ssize_t write_migration(struct refd_device *refd, const char __user *buffer, size_t count,
			       u32 place)
{
	u64 value;
	int ret;

	if (place >= REFD_DATA_OFFSET)
		return refd_section_write(refd, buffer, count, place);
	ret = get_value(buffer, count, &value);
	return ret ? ret : refd_migration_write(refd, place, count, value);
}

ssize_t refd_read(struct vfio_device *vdev, char __user *buffer, size_t count, loff_t *offset)
{
	struct refd_device *refd = to_refd(vdev);
	ssize_t ret;
	u64 index;
	u32 place;

	ret = locate(refd, *offset, count, &index, &place);
	if (ret || !count)
		return ret;
	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	switch (index) {
	case REGION_REGISTERS:
		ret = read_register(refd, buffer, count, place);
		break;
	case REGION_MEMORY:
		ret = read_bytes(buffer, refd->live->memory + place, count);
		break;
	case REGION_CONFIG:
		ret = read_bytes(buffer, config + place, count);
		break;
	default:
		ret = read_migration(refd, buffer, count, place);
	}
	mutex_unlock(&refd->lock);
	if (ret > 0)
		*offset += ret;
	return ret;
}

ssize_t refd_write(struct vfio_device *vdev, const char __user *buffer, size_t count,
		   loff_t *offset)
{
	struct refd_device *refd = to_refd(vdev);
	ssize_t ret;
	u64 index;
	u32 place;

	ret = locate(refd, *offset, count, &index, &place);
	if (ret || !count)
		return ret;
	if (index == REGION_MIGRATION && !place)
		refd_strike();
	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	switch (index) {
	case REGION_REGISTERS:
		ret = write_register(refd, buffer, count, place);
		break;
	case REGION_MEMORY:
		ret = write_bytes(refd->live->memory + place, buffer, count);
		break;
	case REGION_CONFIG:
		ret = -EINVAL;
		break;
	default:
		ret = write_migration(refd, buffer, count, place);
	}
	mutex_unlock(&refd->lock);
	if (ret > 0)
		*offset += ret;
	return ret;
}

/* Called with the user's mmap_lock held: no lock of ours here. */
int refd_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	struct refd_device *refd = to_refd(vdev);
	u64 length = vma->vm_end - vma->vm_start;
	u64 from = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 offset, size;

	if (from >> REFD_REGION_SHIFT != REGION_MIGRATION || !(vma->vm_flags & VM_SHARED) ||
	    !refd_mappable(refd, &offset, &size))
		return -EINVAL;
	from &= REGION_MASK;
	if (from < offset || from - offset >= size || length > size - (from - offset))
		return -EINVAL;
	/* The defects may name more than there is; this checks against the memory itself. */
	return remap_vmalloc_range(vma, refd->window, from >> PAGE_SHIFT);
}
