/* The measures, level c. */
#define UPZ_SUFFIX c
#include "quality/measure_tmpl.h"
