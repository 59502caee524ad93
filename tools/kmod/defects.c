// SPDX-License-Identifier: GPL-2.0-only
/*
 * The set of defects chosen, and the module parameter that holds it.
 */
#include <linux/bitmap.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "defects.h"
#include "vfio_refdriver.h"

static const char *const names[REFD_DEFECT_COUNT] = {
#define REFD_DEFECT_NAME(symbol, name) [REFD_DEFECT_##symbol] = name,
	REFD_DEFECTS(REFD_DEFECT_NAME)
	REFD_LOSSES(REFD_DEFECT_NAME)
#undef REFD_DEFECT_NAME
};

/* Written under the module's parameter lock, read without any. */
static DECLARE_BITMAP(chosen, REFD_DEFECT_COUNT);

bool refd_defect_chosen(enum refd_defect which)
{
	return test_bit(which, chosen);
}

/* Takes a comma list; one unknown name leaves the set as it was. */
static int defects_set(const char *value, const struct kernel_param *kp)
{
	DECLARE_BITMAP(wanted, REFD_DEFECT_COUNT) = { 0 };
	char *list = kstrdup(value, GFP_KERNEL);
	char *rest = list, *word;
	int index = 0;

	if (!list)
		return -ENOMEM;
	while ((word = strsep(&rest, ","))) {
		word = strim(word);
		if (!*word)
			continue;
		index = match_string(names, REFD_DEFECT_COUNT, word);
		if (index < 0)
			break;
		__set_bit(index, wanted);
	}
	kfree(list);
	if (index < 0)
		return -EINVAL;
	bitmap_copy(chosen, wanted, REFD_DEFECT_COUNT);
	refd_settle_all();
	return 0;
}

static int defects_get(char *buffer, const struct kernel_param *kp)
{
	const char *comma = "";
	int length = 0, index;

	for_each_set_bit(index, chosen, REFD_DEFECT_COUNT) {
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
