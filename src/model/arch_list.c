/* Every architecture, the most specific first. To add one: arch_x.c, one line here, one in
 * meson.build. */
#include "model/model.h"

extern const UpzArch upz_arch_srvgg, upz_arch_rrdbnet, upz_arch_span, upz_arch_espcn,
    upz_arch_fsrcnn, upz_arch_uprez;

const UpzArch *const upz_archs[] = {&upz_arch_srvgg, &upz_arch_rrdbnet, &upz_arch_span,
                                    &upz_arch_espcn, &upz_arch_fsrcnn,
                                    &upz_arch_uprez, NULL};
