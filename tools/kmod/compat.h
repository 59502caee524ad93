/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels this module builds for. Kbuild looks for
 * the names in the kernel's <linux/vfio.h> and defines the REFD_* macros.
 */
#ifndef VFIO_REFDRIVER_COMPAT_H
#define VFIO_REFDRIVER_COMPAT_H

#include <linux/vfio.h>

/*
 * Where the operations exist and iommufd is configured, the core refuses to
 * register an emulated device without them (4741f2e94127, "vfio-iommufd:
 * Support iommufd for emulated VFIO devices"). Detaching came later, with the
 * device cdev. Without CONFIG_IOMMUFD the helpers are null pointers.
 */
#ifdef REFD_HAS_DETACH_IOAS
#define REFD_DETACH_IOAS .detach_ioas = vfio_iommufd_emulated_detach_ioas,
#else
#define REFD_DETACH_IOAS
#endif

#ifdef REFD_HAS_BIND_IOMMUFD
#define REFD_IOMMUFD_OPS					\
	.bind_iommufd = vfio_iommufd_emulated_bind,		\
	.unbind_iommufd = vfio_iommufd_emulated_unbind,		\
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,	\
	REFD_DETACH_IOAS
#else
#define REFD_IOMMUFD_OPS
#endif

/*
 * At first the release operation had to free the device's memory; since
 * 913447d06f03 ("vfio: Remove vfio_free_device") the core does.
 */
static inline void refd_free_device(struct vfio_device *vdev)
{
#ifdef REFD_RELEASE_FREES
	vfio_free_device(vdev);
#endif
}

#endif
