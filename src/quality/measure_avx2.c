/* The measures, level avx2. */
#ifndef __AVX2__
#error "this file needs the flags of the avx2 level"
#endif
#define UPZ_SUFFIX avx2
#include "quality/measure_tmpl.h"
