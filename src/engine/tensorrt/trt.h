/* TensorRT through ONNX Runtime's provider: what an engine was built for, where built ones are
 * kept, building one on request. */
#ifndef UPZ_TRT_H
#define UPZ_TRT_H

#include <limits.h>
#include "engine/engine.h"

enum { UPZ_TRT_MIN, UPZ_TRT_OPT, UPZ_TRT_MAX, UPZ_TRT_SIZES };

/* The input sizes an engine runs; all 0: not decided. */
typedef struct UpzTrtProfile {
    int batch[UPZ_TRT_SIZES], width[UPZ_TRT_SIZES], height[UPZ_TRT_SIZES];
} UpzTrtProfile;

/* All that a built engine depends on. */
typedef struct UpzTrtKey {
    char model[65];     /* SHA-256 of the network as handed over: layers and weights */
    char gpu[16];       /* "sm_90" */
    char tensorrt[32];  /* "10.3.0" */
    char precision[16]; /* "fp16" */
    int channels, half; /* of its input and output; half: in fp16 */
    UpzTrtProfile profile;
} UpzTrtKey;

#define UPZ_TRT_TEXT 512
/* The key as lines "NAME VALUE", and back (false: not such a text). */
void upz_trt_key_write(const UpzTrtKey *key, char text[UPZ_TRT_TEXT]);
bool upz_trt_key_read(UpzTrtKey *key, const char *text);
/* NULL when an engine with key `built` runs where `here` is asked for (model and profile aside), or
 * what differs, into why. */
const char *upz_trt_key_differs(const UpzTrtKey *built, const UpzTrtKey *here, char *why,
                                size_t size);

/* ---- the cache: a folder a key in $XDG_CACHE_HOME/uprez/tensorrt (~/.cache/…). A folder counts
 * only with its file "key", which names the key and the hash of every other file: written last.
 * ---- */

int upz_trt_cache_root(char root[PATH_MAX], UprezError *err); /* made when missing; OUTPUT */
bool upz_trt_cache_folder(const char *root, const UpzTrtKey *key, char folder[PATH_MAX]);
/* true: there is an engine, undamaged. Whatever else lies there is removed. */
bool upz_trt_cache_check(UprezContext *ctx, const char *folder, const UpzTrtKey *key);
/* A fresh private folder to build in, and its move to its place with the file "key" written. */
int upz_trt_cache_begin(const char *folder, char building[PATH_MAX], UprezError *err);
int upz_trt_cache_finish(const char *building, const char *folder, const UpzTrtKey *key,
                         UprezError *err);
void upz_trt_cache_remove(const char *folder);
/* The profile of a valid engine that fits the key in all else: of several, the one for the largest
 * pictures, then for the most at a time. */
bool upz_trt_cache_find(UprezContext *ctx, const char *root, const UpzTrtKey *key,
                        UpzTrtProfile *profile);
/* The one engine file in a folder. DEVICE: none or several (a network that was cut into parts). */
int upz_trt_cache_engine(const char *folder, char file[PATH_MAX], UprezError *err);

/* ---- */

/* An ONNX model (upz_free) that is nothing but this built engine, with tensors "input" and
 * "output". */
int upz_trt_wrap_engine(const void *engine, size_t size, const UpzTrtKey *key, uint8_t **data,
                        size_t *out_size, UprezError *err);

/* Builds the model's engine into the cache, saying its progress to ctx's log. out: NULL, or a file
 * that gets the engine, with OUT.txt beside it that says what it is for. folder gets the cache's.
 */
int upz_trt_compile(UprezContext *ctx, UprezModel *model, int device, const char *runtime_path,
                    const char *precision, const UpzTrtProfile *profile, const char *out,
                    char folder[PATH_MAX], UprezError *err);

#endif
