/* The measures, level avx512. */
#ifndef __AVX512BW__
#error "this file needs the flags of the avx512 level"
#endif
#define UPZ_SUFFIX avx512
#include "quality/measure_tmpl.h"
