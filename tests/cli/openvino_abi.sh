#!/bin/bash
# Our own declarations of OpenVINO's C interface (src/engine/openvino/ov_abi.h) against its headers,
# where a compiler and the headers are to be had.
. "$(dirname "$0")/lib.sh"
need cc python3
root=${SOURCE_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
header=
IFS=: read -ra folders <<<"${UPREZ_RUNTIME_PATH-}"
for dir in "${folders[@]}" $(python3 -c 'import site; print(*site.getsitepackages())') /usr/include; do
    [ -d "$dir" ] || continue
    header=$(find "$dir" -path '*openvino/c/openvino.h' -print -quit 2>/dev/null)
    [ -n "$header" ] && break
done
[ -n "$header" ] || skip "OpenVINO's C headers are not here (set UPREZ_RUNTIME_PATH)"
include=${header%/openvino/c/openvino.h}
cat >"$tmp/abi.c" <<'C'
#include <openvino/c/openvino.h>
#define UPZ_OV_REAL_TYPES
typedef ov_shape_t OvShape;
typedef ov_partial_shape_t OvPartial;
typedef ov_version_t OvVersion;
typedef ov_available_devices_t OvDevices;
typedef ov_status_e OvStatus;
typedef ov_element_type_e OvType;
#include "engine/openvino/ov_abi.h"
#define SAME(result, name, parameters) \
    _Static_assert(__builtin_types_compatible_p(__typeof__(name), result parameters), #name);
UPZ_OV_FUNCTIONS(SAME)
#define FIELD(ours, f, theirs, g) \
    _Static_assert(offsetof(struct ours, f) == offsetof(theirs, g) && \
                   sizeof(((struct ours *)0)->f) == sizeof(((theirs *)0)->g), #ours "." #f)
#define SIZE(ours, theirs) _Static_assert(sizeof(struct ours) == sizeof(theirs), #ours)
SIZE(UpzOvShape, ov_shape_t);
FIELD(UpzOvShape, rank, ov_shape_t, rank);
FIELD(UpzOvShape, dims, ov_shape_t, dims);
SIZE(UpzOvDim, ov_dimension_t);
FIELD(UpzOvDim, min, ov_dimension_t, min);
FIELD(UpzOvDim, max, ov_dimension_t, max);
SIZE(UpzOvPartial, ov_partial_shape_t);
FIELD(UpzOvPartial, rank, ov_partial_shape_t, rank);
FIELD(UpzOvPartial, dims, ov_partial_shape_t, dims);
SIZE(UpzOvVersion, ov_version_t);
FIELD(UpzOvVersion, build, ov_version_t, buildNumber);
SIZE(UpzOvDevices, ov_available_devices_t);
FIELD(UpzOvDevices, names, ov_available_devices_t, devices);
FIELD(UpzOvDevices, size, ov_available_devices_t, size);
_Static_assert(sizeof(ov_status_e) == sizeof(int) && sizeof(ov_element_type_e) == sizeof(unsigned),
               "enums");
_Static_assert(OK == 0, "status");
C
compiles() { cc -std=c11 -fsyntax-only -Wno-strict-prototypes -I"$include" -I"$root/src" "$1" >"$tmp/err" 2>&1; }
compiles "$tmp/abi.c" || { bad "declarations differ from $header"; grep -m5 error "$tmp/err"; }
# and the comparison can fail
sed 's/ov_core_free, (struct ov_core \*)/ov_core_free, (struct ov_tensor *)/' "$root/src/engine/openvino/ov_abi.h" >"$tmp/ov_abi.h"
sed 's|engine/openvino/ov_abi.h|ov_abi.h|' "$tmp/abi.c" >"$tmp/wrong.c"
compiles "$tmp/wrong.c" && bad "a wrong declaration is not noticed"
finish
