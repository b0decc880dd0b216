/* Row conversion, level c. */
#define UPZ_SUFFIX c
#include "picture/convert_tmpl.h"
