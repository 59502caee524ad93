// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects that upset the kernel or cost it a caller, or all of them, once each while the module is loaded.
 * No lock is held then: others open, use and close the device as usual.
 */
#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <linux/panic.h>
#include <linux/preempt.h>
#include <linux/slab.h>

#include "defects.h"

/*
 * Which write of device_state is affected, counted while the defect is chosen.
 * Chosen together, each affects a different write; the more severe ones come later.
 */
#define WARN_AT		20
#define LOCKUP_AT	40
#define STRAY_AT	60
#define OOPS_AT		80
#define HANG_AT		100
#define PANIC_AT	20

/* Longer than the kernel lets a CPU be busy: twice its watchdog_thresh of 10 s. */
#define LOCKUP_MS	30000

/* KFENCE checks one allocation in 100 ms. */
#define STRAY_READS	300

static atomic_t warn_writes, oops_writes, hang_writes, panic_writes, lockup_writes, stray_writes;
static const u32 *never_set;
static DECLARE_COMPLETION(lost);

static bool strikes(u64 index, u32 place, atomic_t *writes, int at)
{
	return index == REFD_REGION_MIGRATION && !place &&
	       atomic_inc_return(writes) == at;
}

ssize_t defect_warn_once(struct refd_device *refd, u64 index, const char __user *buffer,
			 size_t count, u32 place)
{
	WARN_ON(strikes(index, place, &warn_writes, WARN_AT));
	return under(warn_once)(refd, index, buffer, count, place);
}

ssize_t defect_oops_once(struct refd_device *refd, u64 index, const char __user *buffer,
			 size_t count, u32 place)
{
	if (strikes(index, place, &oops_writes, OOPS_AT))
		(void)READ_ONCE(*READ_ONCE(never_set));
	return under(oops_once)(refd, index, buffer, count, place);
}

ssize_t defect_hang_once(struct refd_device *refd, u64 index, const char __user *buffer,
			 size_t count, u32 place)
{
	if (strikes(index, place, &hang_writes, HANG_AT)) {
		reinit_completion(&lost);
		/* TASK_UNINTERRUPTIBLE: not even SIGKILL wakes it */
		wait_for_completion(&lost);
	}
	return under(hang_once)(refd, index, buffer, count, place);
}

ssize_t defect_panic_once(struct refd_device *refd, u64 index, const char __user *buffer,
			  size_t count, u32 place)
{
	if (strikes(index, place, &panic_writes, PANIC_AT))
		panic("vfio_refdriver: panic-once was chosen");
	return under(panic_once)(refd, index, buffer, count, place);
}

ssize_t defect_lockup_once(struct refd_device *refd, u64 index, const char __user *buffer,
			   size_t count, u32 place)
{
	if (strikes(index, place, &lockup_writes, LOCKUP_AT)) {
		preempt_disable();
		mdelay(LOCKUP_MS);
		preempt_enable();
	}
	return under(lockup_once)(refd, index, buffer, count, place);
}

/* Only a sanitizer finds this: the memory stays mapped. */
static void read_freed(void)
{
	u8 *volatile freed = kmalloc(64, GFP_KERNEL);

	kfree(freed);
	if (freed)
		(void)READ_ONCE(*freed);
}

ssize_t defect_stray_once(struct refd_device *refd, u64 index, const char __user *buffer,
			  size_t count, u32 place)
{
	int i;

	if (strikes(index, place, &stray_writes, STRAY_AT)) {
		for (i = 0; i < STRAY_READS; i++) {
			read_freed();
			usleep_range(10000, 11000);
		}
	}
	return under(stray_once)(refd, index, buffer, count, place);
}

static int release_set(const char *value, const struct kernel_param *kp)
{
	complete_all(&lost);
	return 0;
}

static const struct kernel_param_ops release_ops = {
	.set = release_set,
};
module_param_cb(release, &release_ops, NULL, 0200);
MODULE_PARM_DESC(release, "whatever is written lets the caller go that hang-once holds");
