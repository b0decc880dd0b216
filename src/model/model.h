/* What the rooms above see of a model, and the lists of readers and architectures. */
#ifndef UPZ_MODEL_H
#define UPZ_MODEL_H

#include <stdatomic.h>
#include "uprez/model.h"
#include "base/context.h"
#include "graph.h"

typedef enum UpzKernel { UPZ_KERNEL_NONE, UPZ_KERNEL_BICUBIC, UPZ_KERNEL_LANCZOS,
                         UPZ_KERNEL_SPLINE36 } UpzKernel;

struct UprezModel {
    atomic_int refs;
    UpzKernel kernel;      /* not NONE: no graph, a resampling kernel */
    UpzGraph graph;
    UprezModelFacts facts; /* its strings are owned by the model */
    /* Not "": no graph here, only that runtime can run facts.path: "torchscript", "onnx" or
     * "tensorrt". facts.scale_num is 0 until an engine has looked at it (upz_engine_look). */
    char foreign[16];
    /* What engine cpu found when it tried the model for --precision auto, so that it is tried once; 0: nothing yet. */
    atomic_int_fast64_t tried;
    char *foreign_why;     /* why there is no graph of ours, a sentence; or NULL */
    char *strings[4];
};

/* A checkpoint file as a reader sees it. */
typedef struct UpzModelFile {
    const char *path;
    const uint8_t *data;
    size_t size;
} UpzModelFile;

/* A reader fills either the tensor set (then an architecture is looked for) or the graph with
 * facts->architecture and detail. `probe` looks at the first bytes and the name only. Memory used
 * stays proportional to the file. Errors are UPREZ_ERR_MODEL and name file, found, expected.
 * read_graph may also return UPZ_READ_FOREIGN: nothing is damaged, but err says what in it only a
 * runtime can run. */
#define UPZ_READ_FOREIGN 1
typedef struct UpzReader {
    const char *name;
    bool (*probe)(const UpzModelFile *f);
    int (*read_tensors)(const UpzModelFile *f, UpzTensorSet *set, UprezError *err);
    int (*read_graph)(const UpzModelFile *f, UpzGraph *g, UprezModelFacts *facts, char **detail,
                      UprezError *err);
    /* not NULL: nothing is read, a runtime (its name, for people) runs the file; UprezModel.foreign */
    const char *foreign, *runtime;
} UpzReader;
extern const UpzReader *const upz_readers[]; /* reader_list.c: one line each, ends with NULL */

/* An architecture recognises itself by names and shapes and moves the tensors into a graph, with
 * facts->input, pad mode and a detail line (upz_asprintf). recognise: 0 no, 1 yes. build's errors
 * name the tensor, its shape and the shape expected. */
typedef struct UpzArch {
    const char *name;
    int (*recognise)(const UpzTensorSet *set);
    int (*build)(UpzTensorSet *set, UpzGraph *g, UprezModelFacts *facts, char **detail,
                 UprezError *err);
} UpzArch;
extern const UpzArch *const upz_archs[]; /* arch_list.c: one line each, ends with NULL */

/* uprez_model_load without asking runtimes about foreign files. */
int upz_model_load(UprezModel **out, UprezContext *ctx, const char *name,
                   const UprezModelParams *params, UprezError *err);

/* From memory; the fuzz targets' entry. name is for messages and for choosing the reader. */
int upz_model_load_memory(UprezModel **out, UprezContext *ctx, const char *name, const void *data,
                          size_t size, UprezError *err);

#define UPZ_MODEL_MAX_BYTES ((size_t)1 << 31) /* of a file */
#define UPZ_TENSORS_MAX 16384                 /* in a file */

#endif
