// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module, its options, its platform devices, and the operations that the
 * VFIO core asks of each. What the device is: tools/refdriver/DEVICE.md.
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/time64.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "vfio_refdriver.h"

#define MOST_DEVICES	8

/* Options that are one word of a list, as its index */

struct option {
	const char *const *words;
	unsigned int count;
	unsigned int chosen;
};

#define OPTION(name, text, ...)							\
	static const char *const name##_words[] = { __VA_ARGS__ };		\
	static struct option name = { name##_words, ARRAY_SIZE(name##_words) };	\
	module_param_cb(name, &option_ops, &name, 0644);			\
	MODULE_PARM_DESC(name, text)

static int option_set(const char *value, const struct kernel_param *kp)
{
	struct option *option = kp->arg;
	int index = __sysfs_match_string(option->words, option->count, value);

	if (index < 0)
		return -EINVAL;
	WRITE_ONCE(option->chosen, index);
	return 0;
}

static int option_get(char *buffer, const struct kernel_param *kp)
{
	struct option *option = kp->arg;

	return sysfs_emit(buffer, "%s\n", option->words[option->chosen]);
}

static const struct kernel_param_ops option_ops = {
	.set = option_set,
	.get = option_get,
};

OPTION(data_section, "what of the data section may be mapped: mapped (all), trapped, partitioned",
	[REFD_DATA_MAPPED] = "mapped", [REFD_DATA_TRAPPED] = "trapped",
	[REFD_DATA_PARTITIONED] = "partitioned");
OPTION(offset, "data_offset from buffer to buffer: fixed, moving", "fixed", "moving");
OPTION(pre_copy, "what pre-copy offers: data (the device memory), none", "data", "none");
OPTION(quiet, "whether COUNTER is left out of the state: no, yes", "no", "yes");
OPTION(undrawn, "transitions that the interface does not draw: accept, refuse",
	"accept", "refuse");
OPTION(read_only, "writes to read-only registers: ignore, refuse", "ignore", "refuse");

/* Options that are numbers within bounds */

struct number {
	u32 value;
	u32 least;
	u32 most;
	u32 unit;	/* that it is a multiple of */
};

#define NUMBER(name, text, ...)							\
	static struct number name = { __VA_ARGS__ };				\
	module_param_cb(name, &number_ops, &name, 0644);			\
	MODULE_PARM_DESC(name, text)

static int number_set(const char *value, const struct kernel_param *kp)
{
	struct number *number = kp->arg;
	unsigned int wanted;
	int ret;

	ret = kstrtouint(value, 0, &wanted);
	if (ret)
		return ret;
	if (wanted < number->least || wanted > number->most || wanted % number->unit)
		return -EINVAL;
	WRITE_ONCE(number->value, wanted);
	return 0;
}

static int number_get(char *buffer, const struct kernel_param *kp)
{
	struct number *number = kp->arg;

	return sysfs_emit(buffer, "%u\n", number->value);
}

static const struct kernel_param_ops number_ops = {
	.set = number_set,
	.get = number_get,
};

NUMBER(memory, "bytes of device memory, up to 64 MiB",
	.value = SZ_64K, .most = SZ_64M, .unit = 1);
NUMBER(section, "bytes of the data section, a multiple of 8192 up to 64 MiB",
	.value = SZ_16K, .least = SZ_8K, .most = SZ_64M, .unit = SZ_8K);
NUMBER(buffer, "bytes of a buffer at most, from 8; more than the section means that",
	.value = SZ_16K, .least = 8, .most = SZ_64M, .unit = 1);
NUMBER(slow, "microseconds for making a buffer available, or consuming one, up to 10000000",
	.most = 10 * USEC_PER_SEC, .unit = 1);

static unsigned int devices = 1;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "how many devices: 1 to 8");

enum refd_data_section refd_data_section(void)
{
	return READ_ONCE(data_section.chosen);
}

bool refd_undrawn_refused(void)
{
	return READ_ONCE(undrawn.chosen);
}

bool refd_read_only_refused(void)
{
	return READ_ONCE(read_only.chosen);
}

bool refd_offset_moves(void)
{
	return READ_ONCE(offset.chosen);
}

bool refd_pre_copy_has_data(void)
{
	return !READ_ONCE(pre_copy.chosen);
}

bool refd_quiet(void)
{
	return READ_ONCE(quiet.chosen);
}

u32 refd_buffer(void)
{
	return READ_ONCE(buffer.value);
}

u32 refd_slow(void)
{
	return READ_ONCE(slow.value);
}

/* Operations */

static void free_state(struct refd_device *refd)
{
	vfree(refd->live);
	vfree(refd->image);
	vfree(refd->window);
}

/*
 * Gives the device the sizes chosen. If they are not those it has, it becomes
 * a new one, at its initial state.
 */
static int resize(struct refd_device *refd)
{
	u32 memory_size = READ_ONCE(memory.value);
	u32 section_size = READ_ONCE(section.value);
	size_t image_size = struct_size(refd->live, memory, memory_size);
	struct refd_image *live, *image;
	void *window;

	if (refd->window && memory_size == refd->memory_size && section_size == refd->section_size)
		return 0;
	live = vzalloc(image_size);
	image = vzalloc(image_size);
	window = vmalloc_user(REFD_DATA_OFFSET + section_size);
	if (!live || !image || !window) {
		vfree(live);
		vfree(image);
		vfree(window);
		return -ENOMEM;
	}
	free_state(refd);
	refd->live = live;
	refd->image = image;
	refd->window = window;
	refd->memory_size = memory_size;
	refd->section_size = section_size;
	refd->ops->enter(refd, REFD_STATE_RUNNING);
	return 0;
}

static void refd_release(struct vfio_device *vdev)
{
	struct refd_device *refd = to_refd(vdev);

	free_state(refd);
	refd_pins_free(&refd->pins);
	kfree(refd->bounce);
	mutex_destroy(&refd->lock);
	refd_free_device(vdev);
}

static int refd_init(struct vfio_device *vdev)
{
	struct refd_device *refd = to_refd(vdev);
	int ret;

	refd->ops = &refd_plain_ops;
	mutex_init(&refd->lock);
	INIT_WORK(&refd->stream, refd_stream_work);
	refd->bounce = kzalloc(REFD_BOUNCE_SIZE, GFP_KERNEL);
	if (!refd->bounce)
		return -ENOMEM;
	ret = refd_pins_init(&refd->pins);
	if (ret)
		goto free_bounce;
	ret = resize(refd);
	if (ret)
		goto free_pins;
	return 0;
free_pins:
	refd_pins_free(&refd->pins);
free_bounce:
	kfree(refd->bounce);
	return ret;
}

static int refd_open(struct vfio_device *vdev)
{
	struct refd_device *refd = to_refd(vdev);
	int ret;

	mutex_lock(&refd->lock);
	ret = resize(refd);
	if (!ret)
		refd->ops->opened(refd);
	mutex_unlock(&refd->lock);
	return ret;
}

static void refd_close(struct vfio_device *vdev)
{
	struct refd_device *refd = to_refd(vdev);

	mutex_lock(&refd->lock);
	refd_closed(refd);
	refd_unpin_all(refd);
	mutex_unlock(&refd->lock);
	/* The device is closed here; once the work has ended, nothing starts it again. */
	cancel_work_sync(&refd->stream);
}

static long refd_get_info(struct refd_device *refd, unsigned long argument)
{
	const unsigned long fixed = offsetofend(struct vfio_device_info, num_irqs);
	void __user *user = (void __user *)argument;
	struct vfio_device_info info;

	if (copy_from_user(&info, user, fixed))
		return -EFAULT;
	if (info.argsz < fixed)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	info.num_regions = refd->ops->region_count(refd);
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(user, &info, fixed) ? -EFAULT : 0;
}

/*
 * The five indexes of any PCI device, without an interrupt at any of them. The one for errors is
 * only for PCI Express devices: users consider a count of 0 there a fault.
 */
static long refd_get_irq_info(unsigned long argument)
{
	const unsigned long fixed = offsetofend(struct vfio_irq_info, count);
	void __user *user = (void __user *)argument;
	struct vfio_irq_info info;

	if (copy_from_user(&info, user, fixed))
		return -EFAULT;
	if (info.argsz < fixed || info.index >= VFIO_PCI_NUM_IRQS ||
	    info.index == VFIO_PCI_ERR_IRQ_INDEX)
		return -EINVAL;
	info.flags = 0;
	info.count = 0;
	return copy_to_user(user, &info, fixed) ? -EFAULT : 0;
}

static long refd_ioctl(struct vfio_device *vdev, unsigned int command, unsigned long argument)
{
	struct refd_device *refd = to_refd(vdev);
	int ret;

	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		return refd_get_info(refd, argument);
	case VFIO_DEVICE_GET_REGION_INFO:
		return refd_get_region_info(refd, argument);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return refd_get_irq_info(argument);
	case VFIO_DEVICE_SET_IRQS:
		return -EINVAL;
	case VFIO_DEVICE_RESET:
		if (mutex_lock_killable(&refd->lock))
			return -EINTR;
		ret = refd->ops->reset(refd);
		mutex_unlock(&refd->lock);
		return ret;
	default:
		return -ENOTTY;
	}
}

static const struct vfio_device_ops refd_vfio_ops = {
	.name = REFD_NAME,
	.init = refd_init,
	.release = refd_release,
	.open_device = refd_open,
	.close_device = refd_close,
	.read = refd_read,
	.write = refd_write,
	.ioctl = refd_ioctl,
	.mmap = refd_mmap,
	.dma_unmap = refd_dma_unmap,
	REFD_IOMMUFD_OPS
};

/* The driver */

/* Waits until the last user has left. */
static void refd_remove(void *data)
{
	struct refd_device *refd = data;

	vfio_unregister_group_dev(&refd->vdev);
	vfio_put_device(&refd->vdev);
}

static int refd_probe(struct platform_device *pdev)
{
	struct refd_device *refd;
	int ret;

	refd = vfio_alloc_device(refd_device, vdev, &pdev->dev, &refd_vfio_ops);
	if (IS_ERR(refd))
		return PTR_ERR(refd);
	platform_set_drvdata(pdev, refd);
	ret = refd_overlay(refd);
	if (!ret)
		ret = vfio_register_emulated_iommu_dev(&refd->vdev);
	if (ret) {
		vfio_put_device(&refd->vdev);
		return ret;
	}
	return devm_add_action_or_reset(&pdev->dev, refd_remove, refd);
}

static struct platform_driver refd_driver = {
	.driver.name = REFD_NAME,
	.driver.dev_groups = refd_attribute_groups,
	.probe = refd_probe,
	/*
	 * The user owns the device's DMA. It also keeps the bus from giving back
	 * a default domain that the group, made after binding, never took.
	 */
	.driver_managed_dma = true,
};

static struct platform_device *platform_devices[MOST_DEVICES];

static void remove_devices(void)
{
	unsigned int index;

	for (index = 0; index < devices; index++)
		platform_device_unregister(platform_devices[index]);
}

static int __init refd_module_init(void)
{
	unsigned int index;
	int ret;

	if (!devices || devices > MOST_DEVICES) {
		pr_err(REFD_NAME ": devices=%u, but it is 1 to %u\n", devices, MOST_DEVICES);
		return -EINVAL;
	}
	ret = platform_driver_register(&refd_driver);
	if (ret)
		return ret;
	for (index = 0; index < devices; index++) {
		struct platform_device *pdev;

		pdev = platform_device_register_simple(REFD_NAME, index, NULL, 0);
		if (IS_ERR(pdev)) {
			ret = PTR_ERR(pdev);
			goto undo;
		}
		platform_devices[index] = pdev;
	}
	return 0;
undo:
	remove_devices();
	platform_driver_unregister(&refd_driver);
	return ret;
}
module_init(refd_module_init);

static void __exit refd_module_exit(void)
{
	remove_devices();
	platform_driver_unregister(&refd_driver);
}
module_exit(refd_module_exit);

MODULE_DESCRIPTION("VFIO device with the migration region of version 1, to be tested against");
MODULE_LICENSE("GPL");
