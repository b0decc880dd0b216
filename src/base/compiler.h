/* The only place for compiler extensions. */
#ifndef UPZ_COMPILER_H
#define UPZ_COMPILER_H

#define UPZ_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define UPZ_UNUSED __attribute__((unused))
#define UPZ_INLINE static inline __attribute__((always_inline))
#define UPZ_ALIGNED(n) __attribute__((aligned(n)))
#define UPZ_PREFETCH(p) __builtin_prefetch((p), 0, 2) /* to read, soon; any address */

#define UPZ_MIN(a, b) ((a) < (b) ? (a) : (b))
#define UPZ_MAX(a, b) ((a) > (b) ? (a) : (b))
#define UPZ_CLAMP(x, lo, hi) ((x) < (lo) ? (lo) : (x) > (hi) ? (hi) : (x))
#define UPZ_COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define UPZ_ROUND_UP(x, n) (((x) + (n) - 1) / (n) * (n))

#endif
