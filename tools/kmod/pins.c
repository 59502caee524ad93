// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of the user's memory that the device has pinned, as a driver has whose
 * hardware writes to them unseen: the container reports them dirty all the time.
 */
#include <linux/errno.h>
#include <linux/iommu.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "vfio_refdriver.h"

#define MOST_RANGES	1024
#define MOST_PAGES	4096	/* in all of them together */
#define PAGES_AT_ONCE	32

struct refd_pin {
	u64 iova;
	u32 pages;
};

int refd_pins_init(struct refd_pins *pins)
{
	sema_init(&pins->lock, 1);
	pins->ranges = kvcalloc(MOST_RANGES, sizeof(*pins->ranges), GFP_KERNEL);
	return pins->ranges ? 0 : -ENOMEM;
}

void refd_pins_free(struct refd_pins *pins)
{
	kvfree(pins->ranges);
}

static void unpin_pages(struct refd_device *refd, u64 iova, u32 pages)
{
	while (pages) {
		u32 part = min_t(u32, pages, PAGES_AT_ONCE);

		vfio_unpin_pages(&refd->vdev, iova, part);
		iova += (u64)part << PAGE_SHIFT;
		pages -= part;
	}
}

/* All of them, or none. */
static int pin_pages(struct refd_device *refd, u64 iova, u32 pages)
{
	struct page *found[PAGES_AT_ONCE];
	u32 done = 0;

	while (done < pages) {
		u32 part = min_t(u32, pages - done, PAGES_AT_ONCE);
		int ret = vfio_pin_pages(&refd->vdev, iova + ((u64)done << PAGE_SHIFT), part,
					 IOMMU_WRITE, found);

		if (ret != part) {
			unpin_pages(refd, iova, done);
			return ret == -ENOMEM ? -ENOMEM : -EFAULT;
		}
		done += part;
	}
	return 0;
}

static int add(struct refd_device *refd, u64 iova, u32 pages)
{
	struct refd_pins *pins = &refd->pins;
	int ret;

	if (pins->count == MOST_RANGES || pages > MOST_PAGES - pins->pages)
		return -ENOSPC;
	ret = pin_pages(refd, iova, pages);
	if (ret)
		return ret;
	pins->ranges[pins->count++] = (struct refd_pin){ iova, pages };
	pins->pages += pages;
	return 0;
}

/* The last range takes the place of the removed one. */
static void remove(struct refd_device *refd, u32 index)
{
	struct refd_pins *pins = &refd->pins;
	struct refd_pin gone = pins->ranges[index];

	pins->ranges[index] = pins->ranges[--pins->count];
	pins->pages -= gone.pages;
	unpin_pages(refd, gone.iova, gone.pages);
}

static int find_and_remove(struct refd_device *refd, u64 iova, u32 pages)
{
	struct refd_pins *pins = &refd->pins;
	u32 index;

	for (index = 0; index < pins->count; index++) {
		if (pins->ranges[index].iova == iova && pins->ranges[index].pages == pages) {
			remove(refd, index);
			return 0;
		}
	}
	return -EINVAL;
}

/* What a write of PIN asks for. */
int refd_pin(struct refd_device *refd, u32 what, u64 iova, u64 length)
{
	u64 last;
	int ret;

	/* As PIN_LENGTH, a length has 32 bits. */
	if (!length || length > U32_MAX || !PAGE_ALIGNED(iova) || !PAGE_ALIGNED(length) ||
	    check_add_overflow(iova, length - 1, &last) ||
	    (what != REFD_PIN && what != REFD_UNPIN))
		return -EINVAL;
	down(&refd->pins.lock);
	ret = what == REFD_PIN ? add(refd, iova, length >> PAGE_SHIFT) :
				 find_and_remove(refd, iova, length >> PAGE_SHIFT);
	up(&refd->pins.lock);
	return ret;
}

/*
 * Unpins every range that overlaps this one. It works from the end, because the last
 * range moves to a place that becomes free.
 */
static void remove_meeting(struct refd_device *refd, u64 first, u64 last)
{
	struct refd_pins *pins = &refd->pins;
	u32 index;

	for (index = pins->count; index--;) {
		u64 begin = pins->ranges[index].iova;
		u64 end = begin + ((u64)pins->ranges[index].pages << PAGE_SHIFT) - 1;

		if (begin <= last && first <= end)
			remove(refd, index);
	}
}

void refd_unpin_all(struct refd_device *refd)
{
	down(&refd->pins.lock);
	remove_meeting(refd, 0, U64_MAX);
	up(&refd->pins.lock);
}

/*
 * The container is about to remove a mapping of which pages are pinned. It
 * calls with its list of devices locked, and another of its users may wait for
 * that list while it holds the lock which pinning needs: so this must not wait
 * for a pinning without end. The container calls again if pages are left.
 */
void refd_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct refd_device *refd = to_refd(vdev);

	if (down_timeout(&refd->pins.lock, HZ))
		return;
	remove_meeting(refd, iova, iova + length - 1);
	up(&refd->pins.lock);
}
