# SPDX-License-Identifier: GPL-2.0-only AND MPL-2.0
# Made by `python tools/shell`; the frame is that of shtab (MPL-2.0). The self-tests compare.



complete vfio-compliance \
        'c/--out=/f/' \
        'c/--plan=/f/' \
        'c/--source=/f/' \
        'c/--listen=/f/' \
        'c/--connect=/f/' \
        'c/--trace=/f/' \
        'c/--kernel=/f/' \
        'c/--headers=/f/' \
        'c/--cache=/f/' \
        'c/--accel=/(auto kvm tcg)/' \
        'c/--/(accel cache connect cpus deadline defect defects headers help ignore-log keep-data kernel kernels listen memory no-module once only out plan region seed shuffle skip source stress trace version)/' \
        'c/-/(- h)/' \
        'n/--out/f/' \
        'n/--plan/f/' \
        'n/--source/f/' \
        'n/--listen/f/' \
        'n/--connect/f/' \
        'n/--trace/f/' \
        'n/--kernel/f/' \
        'n/--headers/f/' \
        'n/--cache/f/' \
        'n/--accel/(auto kvm tcg)/' \
        'p/1/(run report list explain check judge proxy vm)/' \
        'n/run/f/' \
        'n/report/f/' \
        'n/check/f/' \
        'n/judge/f/' \
        'p/*/()/'
