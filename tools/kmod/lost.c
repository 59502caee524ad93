// SPDX-License-Identifier: GPL-2.0-only
/*
 * Defects that cost a driver its caller, once each while the module is loaded.
 * No lock is held then: others open, use and close the device as ever.
 */
#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/completion.h>
#include <linux/moduleparam.h>

#include "defects.h"
#include "vfio_refdriver.h"

/* Which write of device_state is struck, counted while the defect is chosen. */
#define STRIKES_AT	20

static atomic_t oops_writes, hang_writes;
static const u32 *never_set;
static DECLARE_COMPLETION(lost);

static bool strikes(enum refd_defect which, atomic_t *writes)
{
	return refd_defect_chosen(which) && atomic_inc_return(writes) == STRIKES_AT;
}

/* A write of device_state begins. The caller may not come back, or not soon. */
void refd_strike(void)
{
	if (strikes(REFD_DEFECT_OOPS_ONCE, &oops_writes))
		(void)READ_ONCE(*READ_ONCE(never_set));
	if (strikes(REFD_DEFECT_HANG_ONCE, &hang_writes)) {
		reinit_completion(&lost);
		wait_for_completion(&lost);
	}
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
