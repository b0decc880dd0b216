/* Memory for results that goes round: what the caller lets go of is what the next result of that
 * size lies in, so that the system need not clear new pages for every picture.
 *
 * Threads: any at once. The caller may drop a result on any thread, also after the pool was
 * released; its memory is freed then. */
#ifndef UPZ_RESULTS_H
#define UPZ_RESULTS_H

#include "uprez/picture.h"

typedef struct UpzResults UpzResults;

int upz_results_create(UpzResults **out, UprezError *err);
/* Frees what lies idle; accepts pointer to NULL. */
void upz_results_release(UpzResults **results);

/* As uprez_picture_alloc. Idle memory of another size or format is freed. */
int upz_results_take(UpzResults *results, UprezPicture **out, const UprezFormat *format, int width,
                     int height, UprezError *err);

#endif
