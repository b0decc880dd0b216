/* How every call of uprez reports failure: a code, and one sentence for people.
 *
 * Functions that can fail return >= 0 on success and a negative UprezErr otherwise; the sentence
 * goes into the UprezError the caller passed (NULL is allowed and drops it). Nothing is global.
 * UPREZ_AGAIN and UPREZ_EOF are flow control, never errors, and leave the UprezError alone. */
#ifndef UPREZ_ERROR_H
#define UPREZ_ERROR_H

#if defined(__GNUC__)
#define UPREZ_API __attribute__((visibility("default")))
#else
#define UPREZ_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Codes are append-only. -2 … -8 and -130 are the command's exit codes, negated. */
enum UprezErr {
    UPREZ_OK = 0,
    UPREZ_ERR_BUG = -1,    /* a broken promise inside uprez */
    UPREZ_ERR_USAGE = -2,  /* an argument that makes no sense */
    UPREZ_ERR_INPUT = -3,  /* the source cannot be opened or read */
    UPREZ_ERR_MODEL = -4,  /* the model is missing, damaged or not understood */
    UPREZ_ERR_DEVICE = -5, /* an engine or device cannot be used */
    UPREZ_ERR_MEMORY = -6, /* out of memory after every retry */
    UPREZ_ERR_OUTPUT = -7, /* encoding or writing failed */
    UPREZ_ERR_VERIFY = -8, /* the result is not what was promised, or the input is damaged */
    UPREZ_ERR_INTERRUPTED = -130,
    UPREZ_AGAIN = -1001,   /* nothing now, call again (or make room first) */
    UPREZ_EOF = -1002      /* nothing any more */
};

/* The caller's, filled by the call that fails; not touched by one that does not. */
typedef struct UprezError {
    int code;       /* an UprezErr */
    char text[1020]; /* UTF-8, one sentence: what, where, what to do; no newline */
} UprezError;

/* A short English name of a code's class. Static storage. Threads: safe. */
UPREZ_API const char *uprez_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
