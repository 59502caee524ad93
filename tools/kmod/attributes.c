// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files in the platform device's folder of sysfs: what some registers do, for
 * users without access to these. They are there while the driver is bound.
 */
#include <linux/device.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/time64.h>

#include "vfio_refdriver.h"

#define LONGEST		64	/* a line with two numbers, with room for spaces */

static struct refd_device *refd_of(struct device *dev)
{
	return dev_get_drvdata(dev);
}

/* Two numbers, decimal or 0x..., separated by spaces and followed by a newline. */
static int parse_range(const char *text, u64 *iova, u64 *length)
{
	char line[LONGEST], *rest = line, *first;

	if (strscpy(line, text, sizeof(line)) < 0)
		return -EINVAL;
	rest = strim(line);
	first = strsep(&rest, " \t");
	if (!rest || kstrtou64(first, 0, iova) || kstrtou64(skip_spaces(rest), 0, length))
		return -EINVAL;
	return 0;
}

/* Pins or unpins pages; ENODEV unless a user, whose memory it would be, has the device open. */
static ssize_t change_pins(struct device *dev, u32 what, const char *text, size_t count)
{
	struct refd_device *refd = refd_of(dev);
	u64 iova, length;
	int ret;

	ret = parse_range(text, &iova, &length);
	if (ret)
		return ret;
	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	ret = refd->open ? refd_pin(refd, what, iova, length) : -ENODEV;
	mutex_unlock(&refd->lock);
	return ret ? ret : count;
}

static ssize_t pin_store(struct device *dev, struct device_attribute *attribute, const char *text,
			 size_t count)
{
	return change_pins(dev, REFD_PIN, text, count);
}
static DEVICE_ATTR_WO(pin);

static ssize_t unpin_store(struct device *dev, struct device_attribute *attribute,
			   const char *text, size_t count)
{
	return change_pins(dev, REFD_UNPIN, text, count);
}
static DEVICE_ATTR_WO(unpin);

enum { FAULT_ERROR, FAULT_REFUSAL, FAULT_SAVE, FAULT_RESUME };

static const char *const faults[] = {
	[FAULT_ERROR] = "error",
	[FAULT_REFUSAL] = "refusal",
	[FAULT_SAVE] = "save",
	[FAULT_RESUME] = "resume",
};

static ssize_t fault_store(struct device *dev, struct device_attribute *attribute,
			   const char *text, size_t count)
{
	int which = sysfs_match_string(faults, text);
	struct refd_device *refd = refd_of(dev);

	if (which < 0)
		return -EINVAL;
	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	switch (which) {
	case FAULT_ERROR:
		refd->fault = REFD_FAULT_ERROR;
		break;
	case FAULT_REFUSAL:
		refd->fault = REFD_FAULT_KEEP;
		break;
	case FAULT_SAVE:
		refd->save_fault = 1;
		break;
	case FAULT_RESUME:
		refd->load_fault = 1;
		break;
	}
	mutex_unlock(&refd->lock);
	return count;
}
static DEVICE_ATTR_WO(fault);

static ssize_t counter_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct refd_device *refd = refd_of(dev);
	u64 counter;

	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	refd_clock_fold(refd);
	counter = refd_register(refd, REFD_REG_COUNTER) / NSEC_PER_USEC;
	mutex_unlock(&refd->lock);
	return sysfs_emit(text, "%llu\n", counter);
}
static DEVICE_ATTR_RO(counter);

static ssize_t state_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct refd_device *refd = refd_of(dev);
	u64 value;

	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	value = refd_register(refd, REFD_REG_SCRATCH0);
	mutex_unlock(&refd->lock);
	return sysfs_emit(text, "%#llx\n", value);
}

static ssize_t state_store(struct device *dev, struct device_attribute *attribute,
			   const char *text, size_t count)
{
	struct refd_device *refd = refd_of(dev);
	u64 value;

	if (kstrtou64(text, 0, &value))
		return -EINVAL;
	if (mutex_lock_killable(&refd->lock))
		return -EINTR;
	refd_set_register(refd, REFD_REG_SCRATCH0, value);
	mutex_unlock(&refd->lock);
	return count;
}
static DEVICE_ATTR_RW(state);

static struct attribute *refd_attrs[] = {
	&dev_attr_pin.attr,
	&dev_attr_unpin.attr,
	&dev_attr_fault.attr,
	&dev_attr_counter.attr,
	&dev_attr_state.attr,
	NULL
};

static const struct attribute_group refd_group = {
	.attrs = refd_attrs,
};

const struct attribute_group *refd_attribute_groups[] = {
	&refd_group,
	NULL
};
