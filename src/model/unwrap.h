/* Names as trainers save them become names as networks have them. */
#ifndef UPZ_UNWRAP_H
#define UPZ_UNWRAP_H

#include "model/graph.h"

/* Takes off what wrappers put in front of every name ("module.", "_orig_mod.", "net_g.", in any chain), and
 * leaves out what trainers keep beside a generator: counters, a discriminator, the weights that are not
 * averaged. What was taken is added to set->top_key. Names without wrappers stay as they are. */
void upz_unwrap(UpzTensorSet *set);

#endif
