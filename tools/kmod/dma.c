// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing to the user's memory: one buffer at a time at the doorbell, and a
 * stream of counts while the device runs.
 */
#include <linux/delay.h>
#include <linux/overflow.h>
#include <linux/string.h>

#include "vfio_refdriver.h"

static void record(struct refd_device *refd, int result)
{
	refd_set_register(refd, REFD_REG_STATUS, result ? REFD_STATUS_FAILED : REFD_STATUS_OK);
}

static int fill(struct refd_device *refd, u64 iova, u32 length)
{
	u64 last;
	int ret;

	if (length && check_add_overflow(iova, (u64)length - 1, &last))
		return -EINVAL;
	while (length) {
		u32 part = min_t(u32, length, REFD_BOUNCE_SIZE);

		ret = vfio_dma_rw(&refd->vdev, iova, refd->bounce, part, true);
		if (ret)
			return ret;
		iova += part;
		length -= part;
	}
	return 0;
}

/* Fills the DMA buffer with one byte before it returns. */
void refd_doorbell(struct refd_device *refd, u8 value)
{
	if (!refd_works(refd))
		return;
	memset(refd->bounce, value, REFD_BOUNCE_SIZE);
	record(refd, fill(refd, refd_register(refd, REFD_REG_DMA_ADDRESS),
			  refd_register(refd, REFD_REG_DMA_LENGTH)));
}

/* Whether the user has the stream on, stopped or not. */
bool refd_stream_on(struct refd_device *refd)
{
	return refd->open && refd_register(refd, REFD_REG_CONTROL) & REFD_CONTROL_STREAM;
}

/* Whether the stream writes at this moment. */
bool refd_streams(struct refd_device *refd)
{
	return refd_stream_on(refd) && refd_works(refd);
}

/* One write of the stream. */
void refd_beat(struct refd_device *refd)
{
	__le64 beat = cpu_to_le64(++refd->beats);

	record(refd, vfio_dma_rw(&refd->vdev, refd_register(refd, REFD_REG_DMA_ADDRESS),
				 &beat, sizeof(beat), true));
}

/*
 * Queues the stream if it should write. It is never cancelled: the work checks
 * before each write, under the lock, and ends if it should not. So a
 * device that was stopped under the lock writes nothing from then on.
 */
void refd_stream_start(struct refd_device *refd)
{
	if (refd->ops->streams(refd))
		queue_work(system_unbound_wq, &refd->stream);
}

void refd_stream_work(struct work_struct *work)
{
	struct refd_device *refd = container_of(work, struct refd_device, stream);
	bool more;

	for (;;) {
		mutex_lock(&refd->lock);
		more = refd->ops->streams(refd);
		if (more)
			refd_beat(refd);
		mutex_unlock(&refd->lock);
		if (!more)
			return;
		usleep_range(900, 1100);
	}
}
