/* Chance that a number decides, and what it chose in words. Draw once a statement: arguments are evaluated in
 * any order. */
#ifndef CHANCE_H
#define CHANCE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char about[2048]; /* the case in words */
static uint64_t seed;

static inline int draw(int n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

static inline bool once_in(int n) { return draw(n) == 0; }

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    const size_t n = strlen(about);
    va_list args;
    va_start(args, format);
    vsnprintf(about + n, sizeof(about) - n, format, args);
    va_end(args);
}

#endif
