// SPDX-License-Identifier: GPL-2.0-only
/*
 * The defects chosen, the module parameter that holds them, and the table of
 * operations that results.
 */
#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "defects.h"

enum {
#define SYMBOL(symbol, name, step) DEFECT_##symbol,
#define NONE(symbol, step)
	REFD_DEFECTS(SYMBOL, NONE)
	DEFECT_COUNT,
	WITNESS
};

static const char *const names[DEFECT_COUNT] = {
#define NAME(symbol, name, step) [DEFECT_##symbol] = name,
	REFD_DEFECTS(NAME, NONE)
};

#define UNDER(function, step) REFD_STEP(step) *under_##function;
#define UNDER_DEFECT(symbol, name, step) UNDER(defect_##symbol, step)
#define UNDER_ALSO(symbol, step) UNDER(defect_##symbol##_##step, step)
#define UNDER_WITNESS(step) UNDER(past_##step, step)
REFD_WITNESSES_BEFORE(UNDER_WITNESS)
REFD_DEFECTS(UNDER_DEFECT, UNDER_ALSO)
REFD_WITNESSES_BEHIND(UNDER_WITNESS)

/* A function that is laid over a step, and where it finds the function below. */
static const struct overlay {
	u16 which;	/* defect that must be chosen; WITNESS: any */
	u16 step;	/* place in struct refd_ops */
	void *function;
	void **under;
} overlays[] = {
#define OVERLAY(which, function, step) \
	{ which, offsetof(struct refd_ops, step), function, (void **)&under_##function },
#define OVERLAY_DEFECT(symbol, name, step) OVERLAY(DEFECT_##symbol, defect_##symbol, step)
#define OVERLAY_ALSO(symbol, step) OVERLAY(DEFECT_##symbol, defect_##symbol##_##step, step)
#define OVERLAY_WITNESS(step) OVERLAY(WITNESS, past_##step, step)
	REFD_WITNESSES_BEFORE(OVERLAY_WITNESS)
	REFD_DEFECTS(OVERLAY_DEFECT, OVERLAY_ALSO)
	REFD_WITNESSES_BEHIND(OVERLAY_WITNESS)
};

static DEFINE_MUTEX(lock);	/* guards what follows */
static LIST_HEAD(devices);
static DECLARE_BITMAP(chosen, DEFECT_COUNT);

/* The operations of all devices; each pointer is read anew at each step. */
static struct refd_ops current_ops;

/*
 * Lays the overlays of a set of defects over the plain operations. Devices may be
 * at work: a pointer is changed at once, and whatever it was or is leads down to
 * the plain operation, because overlays always have the same order.
 */
static void lay_over(const unsigned long *wanted)
{
	struct refd_ops built = refd_plain_ops;
	const struct overlay *each;
	size_t place;

	for (each = overlays + ARRAY_SIZE(overlays); each-- > overlays;) {
		void **step = (void *)&built + each->step;

		if (each->which == WITNESS ? bitmap_empty(wanted, DEFECT_COUNT) :
					     !test_bit(each->which, wanted))
			continue;
		WRITE_ONCE(*each->under, *step);
		*step = each->function;
	}
	for (place = 0; place < sizeof(built); place += sizeof(void *))
		WRITE_ONCE(*(void **)((void *)&current_ops + place),
			   *(void **)((void *)&built + place));
}

/* Makes all devices use a new set. */
static void choose(const unsigned long *wanted)
{
	struct refd_past *past;
	bool first;

	mutex_lock(&lock);
	first = bitmap_empty(chosen, DEFECT_COUNT);
	bitmap_copy(chosen, wanted, DEFECT_COUNT);
	list_for_each_entry(past, &devices, entry) {
		mutex_lock(&past->refd->lock);
		if (first)
			refd_past_begin(past);
		mutex_unlock(&past->refd->lock);
	}
	lay_over(wanted);
	list_for_each_entry(past, &devices, entry) {
		mutex_lock(&past->refd->lock);
		refd_settle(past->refd);
		mutex_unlock(&past->refd->lock);
	}
	mutex_unlock(&lock);
}

static void forget_device(void *data)
{
	struct refd_past *past = data;
	struct refd_device *refd = past->refd;

	mutex_lock(&lock);
	list_del(&past->entry);
	mutex_unlock(&lock);
	refd_past_free(past);
	put_device(&refd->vdev.device);
}

/* The device goes when its parent is unbound; until then it is held. */
int refd_overlay(struct refd_device *refd)
{
	struct refd_past *past = refd_past_new(refd);

	if (!past)
		return -ENOMEM;
	get_device(&refd->vdev.device);
	mutex_lock(&lock);
	if (!current_ops.enter)
		lay_over(chosen);
	list_add_tail(&past->entry, &devices);
	refd->private = past;
	refd->ops = &current_ops;
	mutex_unlock(&lock);
	return devm_add_action_or_reset(refd->vdev.dev, forget_device, past);
}

/* Accepts a comma-separated list; one unknown name leaves the set as it was. */
static int defects_set(const char *value, const struct kernel_param *kp)
{
	DECLARE_BITMAP(wanted, DEFECT_COUNT) = { 0 };
	char *list = kstrdup(value, GFP_KERNEL);
	char *rest = list, *word;
	int index = 0;

	if (!list)
		return -ENOMEM;
	while ((word = strsep(&rest, ","))) {
		word = strim(word);
		if (!*word)
			continue;
		index = match_string(names, DEFECT_COUNT, word);
		if (index < 0)
			break;
		__set_bit(index, wanted);
	}
	kfree(list);
	if (index < 0)
		return -EINVAL;
	choose(wanted);
	return 0;
}

static int defects_get(char *buffer, const struct kernel_param *kp)
{
	const char *comma = "";
	int length = 0, index;

	for_each_set_bit(index, chosen, DEFECT_COUNT) {
		length += sysfs_emit_at(buffer, length, "%s%s", comma, names[index]);
		comma = ",";
	}
	return length + sysfs_emit_at(buffer, length, "\n");
}

static const struct kernel_param_ops defects_ops = {
	.set = defects_set,
	.get = defects_get,
};
module_param_cb(defects, &defects_ops, NULL, 0644);
MODULE_PARM_DESC(defects, "ways in which to break the rules: names with commas between them");
