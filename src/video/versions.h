/* Who codes: versions of libavcodec and of the library behind an encoder, for a job's plan. A segment
 * that another version coded does not belong to those of this one.
 *
 * Threads: safe anywhere. */
#ifndef UPZ_VERSIONS_H
#define UPZ_VERSIONS_H

#include "encoder.h"

#define UPZ_VERSION_TEXT 160

/* That of the library that is loaded, not of the headers. */
void upz_libavcodec_version(char text[UPZ_VERSION_TEXT]);
/* That of the library behind the plan's encoder, as it tells itself; "" where it is libavcodec's own
 * or tells nothing. Opens x264 and x265 for one small frame, because their version is in it. */
void upz_encoder_version(char text[UPZ_VERSION_TEXT], const UpzEncoderPlan *plan);

#endif
