/* A pickle interpreter that can only make tensors: numbers, text, tuples, lists, dicts, and the few
 * calls torch.save writes. It never looks up or runs anything: objects of classes it does not know are
 * stepped over (of subclasses of dict the items are kept), and a name that only an attack has a use for (os.system) ends it. Opcodes after Python's pickletools documentation (protocols 2 to 5).
 *
 * Memory: at most a small constant per byte of pickle. No recursion: nesting costs nothing.
 * Threads: one at a time. */
#ifndef UPZ_PICKLE_H
#define UPZ_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

typedef enum UpzPickleKind {
    UPZ_PICKLE_NONE,
    UPZ_PICKLE_BOOL,    /* i */
    UPZ_PICKLE_INT,     /* i */
    UPZ_PICKLE_LONG,    /* text: more than 8 bytes, little endian two's complement, n of them */
    UPZ_PICKLE_FLOAT,   /* value not kept */
    UPZ_PICKLE_TEXT,    /* text, n bytes, not terminated */
    UPZ_PICKLE_TUPLE,   /* kids, n */
    UPZ_PICKLE_LIST,    /* kids, n */
    UPZ_PICKLE_DICT,    /* kids: key, value, key, value …; n counts both */
    UPZ_PICKLE_GLOBAL,  /* what */
    UPZ_PICKLE_STORAGE, /* i: the tuple ('storage', type, key, place, elements, …) */
    UPZ_PICKLE_TENSOR,  /* i: the tuple (storage, offset, size, stride, …) */
    UPZ_PICKLE_OPAQUE   /* something harmless that is not a weight; what 1: an object of a class, which
                           becomes a DICT when it is given items by key */
} UpzPickleKind;

typedef enum UpzElement {
    UPZ_ELEMENT_F32, UPZ_ELEMENT_F16, UPZ_ELEMENT_BF16, UPZ_ELEMENT_F64, UPZ_ELEMENT_I64,
    UPZ_ELEMENT_I32, UPZ_ELEMENT_I16, UPZ_ELEMENT_I8, UPZ_ELEMENT_U8, UPZ_ELEMENT_COUNT
} UpzElement;

typedef struct UpzPickleValue {
    uint8_t kind, what; /* UpzPickleKind; row of the allow-list */
    uint32_t n, cap;
    union {
        int64_t i;
        const uint8_t *text; /* into the pickle */
        uint32_t *kids;      /* values; owned */
    };
} UpzPickleValue;

typedef struct UpzPickle {
    UpzPickleValue *values;
    size_t n, cap;
    uint32_t root;
    bool module; /* an object in it is a torch.nn.Module */
} UpzPickle;

/* Runs one pickle of at most size bytes; *used: bytes up to and with STOP. data must outlive p.
 * On failure (MODEL, MEMORY) p is empty. file is for messages. */
int upz_pickle_run(UpzPickle *p, const uint8_t *data, size_t size, size_t *used, const char *file,
                   UprezError *err);
void upz_pickle_free(UpzPickle *p);

bool upz_pickle_is_text(const UpzPickle *p, uint32_t value, const char *text);
/* The value of a text key in a DICT (the last one, as Python has it); false if there is none. */
bool upz_pickle_get(const UpzPickle *p, uint32_t dict, const char *key, uint32_t *value);
/* The element type a storage class names; false if the value is no storage class. */
bool upz_pickle_element(const UpzPickle *p, uint32_t value, UpzElement *element);

#endif
