/* What browsers play, and how to make it.
 *
 * Threads: safe anywhere. */
#ifndef UPZ_BROWSER_H
#define UPZ_BROWSER_H

#include "encoder.h"
#include "join.h"

/* Fills what the user has left open so that browsers play `output`: 8-bit H.264 in 4:2:0 and AAC in MP4,
 * 8-bit VP9 in WebM. USAGE when they play no such file whatever is in it. */
int upz_browser_params(UpzEncoderParams *params, UpzAudioMode *audio, bool audio_given,
                       const UpzSourceInfo *info, const char *output, UprezError *err);
/* In words, what of a planned MP4 browsers do not play ("AC-3 sound and 10-bit H.265 video"); "" where
 * they play it all, and of other containers. *options: those of the command that make it play. */
void upz_browser_gaps(char *what, size_t size, const char **options, const UpzEncoderPlan *encoder,
                      const UpzJoinPlan *join);

#endif
