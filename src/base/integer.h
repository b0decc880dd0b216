/* Arithmetic of whole numbers that C has no operator for. */
#ifndef UPZ_INTEGER_H
#define UPZ_INTEGER_H

#include <stdint.h>

/* Greatest common divisor of numbers that are not negative; of 0 and n it is n. */
static inline int64_t upz_gcd(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Least common multiple of positive numbers. */
static inline int upz_lcm(int a, int b) { return (int)(a / upz_gcd(a, b) * b); }

/* a / b, b positive, rounded down also below zero. */
static inline int upz_floor_div(int64_t a, int64_t b)
{
    const int64_t q = a / b;
    return (int)(a % b < 0 ? q - 1 : q);
}

#endif
