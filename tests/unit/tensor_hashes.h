/* Tensors of checkpoints against tests/data/tensors.txt: what PyTorch reads from the same files.
 * Include after cmocka.h. */
#ifndef TENSOR_HASHES_H
#define TENSOR_HASHES_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/model.h"

static inline void path_of(char *out, size_t size, const char *under, const char *name)
{
    const char *root = getenv("SOURCE_ROOT");
    snprintf(out, size, "%s/tests/data/%s%s", root ? root : ".", under, name);
}

/* Reads the tensors of a file without looking for an architecture. */
static inline int read_tensors(const char *path, UpzTensorSet *set, UprezError *err)
{
    UpzMap map;
    int r = upz_map_open(&map, path, UPZ_MODEL_MAX_BYTES, UPREZ_ERR_MODEL, err);
    if (r < 0) return r;
    UpzModelFile f = {path, map.data, map.size};
    r = -1;
    for (int i = 0; upz_readers[i]; i++)
        if (upz_readers[i]->probe(&f)) {
            r = upz_readers[i]->read_tensors(&f, set, err);
            break;
        }
    upz_map_close(&map);
    return r;
}

/* tests/data/tensors.txt: file, tensor, elements, SHA-256. */
/* shared: the real files in $SHARED, else the seeds. How many tensors were compared. */
static inline int compare_hashes(bool shared)
{
    char path[1200], line[1024], file[256], name[256], want[65], open_file[256] = "";
    long long count;
    path_of(path, sizeof(path), "", "tensors.txt");
    FILE *list = fopen(path, "r");
    assert_non_null(list);
    UpzTensorSet set = {0};
    int compared = 0;
    while (fgets(line, sizeof(line), list)) {
        if (line[0] == '#') continue;
        assert_int_equal(sscanf(line, "%255s %255s %lld %64s", file, name, &count, want), 4);
        if (shared != !strncmp(file, "models/", 7)) continue;
        if (strcmp(file, open_file)) {
            upz_tensors_free(&set);
            if (shared)
                snprintf(path, sizeof(path), "%s/%s", getenv("SHARED"), file);
            else
                path_of(path, sizeof(path), "seeds/", file);
            UprezError err = {0};
            if (read_tensors(path, &set, &err) < 0) fail_msg("%s: %s", path, err.text);
            strcpy(open_file, file);
        }
        const UpzTensor *t = upz_tensors_find(&set, name);
        if (!t) fail_msg("%s has no %s", file, name);
        assert_int_equal(t->count, count);
        char hex[UPZ_SHA256_HEX];
        upz_sha256(t->data, (size_t)t->count * sizeof(float), hex);
        if (strcmp(hex, want)) fail_msg("%s: %s differs from PyTorch's", file, name);
        compared++;
    }
    upz_tensors_free(&set);
    fclose(list);
    return compared;
}

#endif
