/* Neutral stays neutral: where a source has no colour, its result has none either.
 *
 * A network sees R'G'B' and gives a grey picture a tint of a code or two. Where all chroma samples of a
 * source in YUV that touch a result's sample, with UPZ_NEUTRAL_RADIUS px around it, are exactly
 * neutral (128 of 8 bits), the result's chroma becomes exactly that; results in RGB become as grey as
 * their luma. Gray sources have no chroma and are neutral everywhere. Sources in RGB keep the
 * network's numbers. The rule is local: a part of a result needs nothing but its own surroundings.
 *
 * Threads: one at a time; the work runs on the context's pool. */
#ifndef UPZ_NEUTRAL_H
#define UPZ_NEUTRAL_H

#include "base/context.h"
#include "uprez/picture.h"

#define UPZ_NEUTRAL_RADIUS 8 /* px of the source */

typedef struct UpzNeutral UpzNeutral;

/* True when the rule says anything for this pair: formats and complete colours count. */
bool upz_neutral_applies(const UprezPicture *src, const UprezPicture *dst);
/* src, dst: shapes, for which the rule applies. The caller owns *out. MEMORY. */
int upz_neutral_create(UpzNeutral **out, UprezContext *ctx, const UprezPicture *src,
                       const UprezPicture *dst, UprezError *err);
void upz_neutral_destroy(UpzNeutral **neutral);
/* Bytes that it holds. */
size_t upz_neutral_memory(const UpzNeutral *neutral);
/* Applies the rule to n rectangles of dst (px); both pictures lie in host memory. Whole chroma samples
 * are done: of those a rectangle touches, what lies outside of it may be written too. */
void upz_neutral_run(UpzNeutral *neutral, const UprezPicture *src, UprezPicture *dst,
                     const UprezRect *rects, int n);

#endif
