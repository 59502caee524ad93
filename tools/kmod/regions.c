// SPDX-License-Identifier: GPL-2.0-only
/*
 * The regions of the device: what GET_REGION_INFO reports, and the paths
 * from read, write and mmap to their content. No size, offset or count that
 * the user gives is used before it was checked against the region.
 */
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "vfio_refdriver.h"

#define REGION_MASK		(BIT_ULL(REFD_REGION_SHIFT) - 1)

#define REGION_REGISTERS	VFIO_PCI_BAR0_REGION_INDEX
#define REGION_MEMORY		VFIO_PCI_BAR2_REGION_INDEX
#define REGION_CONFIG		VFIO_PCI_CONFIG_REGION_INDEX

#define REGISTERS_SIZE		SZ_4K

u32 refd_region_size(struct refd_device *refd, u64 index)
{
	switch (index) {
	case REGION_REGISTERS:
		return REGISTERS_SIZE;
	case REGION_MEMORY:
		return refd->memory_size;
	case REGION_CONFIG:
		return REFD_CONFIG_SIZE;
	case REFD_REGION_MIGRATION:
		return refd_migration_size(refd);
	default:
		return 0;
	}
}

/* How many region indexes there are. */
u32 refd_region_count(struct refd_device *refd)
{
	return REFD_REGION_COUNT;
}

int refd_add_type(struct vfio_info_cap *caps, u32 type, u32 subtype)
{
	struct vfio_region_info_cap_type capability = {
		.header.id = VFIO_REGION_INFO_CAP_TYPE,
		.header.version = 1,
		.type = type,
		.subtype = subtype,
	};

	return vfio_info_add_capability(caps, &capability.header, sizeof(capability));
}

/* Announces a region as the migration region. */
int refd_announce(struct refd_device *refd, struct vfio_info_cap *caps)
{
	return refd_add_type(caps, VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
			     VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED);
}

/* The mappable areas of the migration region; returns their number, REFD_AREAS_MAX at most. */
u32 refd_list_areas(struct refd_device *refd, struct vfio_region_sparse_mmap_area *areas)
{
	u64 offset, size;

	if (!refd->ops->mappable(refd, &offset, &size))
		return 0;
	areas[0].offset = offset;
	areas[0].size = size;
	return 1;
}

static int add_areas(struct refd_device *refd, struct vfio_region_info *info,
		     struct vfio_info_cap *caps)
{
	struct vfio_region_info_cap_sparse_mmap *sparse;
	int ret = 0;

	sparse = kzalloc(struct_size(sparse, areas, REFD_AREAS_MAX), GFP_KERNEL);
	if (!sparse)
		return -ENOMEM;
	sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	sparse->header.version = 1;
	sparse->nr_areas = refd->ops->list_areas(refd, sparse->areas);
	if (sparse->nr_areas) {
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
		ret = vfio_info_add_capability(caps, &sparse->header,
					       struct_size(sparse, areas, sparse->nr_areas));
	}
	kfree(sparse);
	return ret;
}

/* Describes a region. */
int refd_describe(struct refd_device *refd, struct vfio_region_info *info,
		  struct vfio_info_cap *caps)
{
	int ret;

	info->size = refd_region_size(refd, info->index);
	info->offset = (u64)info->index << REFD_REGION_SHIFT;
	info->flags = 0;
	info->cap_offset = 0;
	if (info->size)
		info->flags |= VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (info->index != REFD_REGION_MIGRATION)
		return 0;
	ret = refd->ops->announce(refd, caps);
	return ret ? ret : add_areas(refd, info, caps);
}

/* The sizes are those of the present user: they stay while the device is open. */
long refd_get_region_info(struct refd_device *refd, unsigned long argument)
{
	const unsigned long fixed = offsetofend(struct vfio_region_info, offset);
	void __user *user = (void __user *)argument;
	struct vfio_info_cap caps = { 0 };
	struct vfio_region_info info;
	int ret;

	if (copy_from_user(&info, user, fixed))
		return -EFAULT;
	if (info.argsz < fixed || info.index >= refd->ops->region_count(refd))
		return -EINVAL;
	ret = refd->ops->describe(refd, &info, &caps);
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

/* Splits a file offset; the access is then wholly inside a region. */
static int locate(struct refd_device *refd, loff_t offset, size_t count, u64 *index, u32 *place)
{
	u32 size;

	*index = (u64)offset >> REFD_REGION_SHIFT;
	size = refd_region_size(refd, *index);
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
		return refd->ops->section_read(refd, buffer, count, place);
	if (count > sizeof(bytes))
		return -EINVAL;
	ret = refd->ops->migration_read(refd, place, count, bytes);
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

static ssize_t write_config(struct refd_device *refd, const char __user *buffer, size_t count,
			    u32 place)
{
	u8 bytes[REFD_CONFIG_SIZE];

	if (copy_from_user(bytes, buffer, count))
		return -EFAULT;
	refd_config_write(refd, place, bytes, count);
	return count;
}

static ssize_t write_migration(struct refd_device *refd, const char __user *buffer, size_t count,
			       u32 place)
{
	u64 value;
	int ret;

	if (place >= REFD_DATA_OFFSET)
		return refd->ops->section_write(refd, buffer, count, place);
	ret = get_value(buffer, count, &value);
	return ret ? ret : refd->ops->migration_write(refd, place, count, value);
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
		ret = read_bytes(buffer, refd->config + place, count);
		break;
	default:
		ret = read_migration(refd, buffer, count, place);
	}
	mutex_unlock(&refd->lock);
	if (ret > 0)
		*offset += ret;
	return ret;
}

/* A write that is wholly inside a region. */
ssize_t refd_write_region(struct refd_device *refd, u64 index, const char __user *buffer,
			  size_t count, u32 place)
{
	ssize_t ret;

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
		ret = write_config(refd, buffer, count, place);
		break;
	default:
		ret = write_migration(refd, buffer, count, place);
	}
	mutex_unlock(&refd->lock);
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
	ret = refd->ops->write_region(refd, index, buffer, count, place);
	if (ret > 0)
		*offset += ret;
	return ret;
}

/* Called with the user's mmap_lock held: takes no lock of ours. */
int refd_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	struct refd_device *refd = to_refd(vdev);
	u64 length = vma->vm_end - vma->vm_start;
	u64 from = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 offset, size;

	if (from >> REFD_REGION_SHIFT != REFD_REGION_MIGRATION || !(vma->vm_flags & VM_SHARED) ||
	    !refd->ops->mappable(refd, &offset, &size))
		return -EINVAL;
	from &= REGION_MASK;
	if (from < offset || from - offset >= size || length > size - (from - offset))
		return -EINVAL;
	/* This checks the range against the existing memory, whatever was reported. */
	return remap_vmalloc_range(vma, refd->window, from >> PAGE_SHIFT);
}
