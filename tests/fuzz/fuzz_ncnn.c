/* ncnn networks: the text of layers, a zero byte, the weights. Without the zero the weights are
 * zeros, as many as the layers ask for. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "base/alloc.h"
#include "model/ncnn.h"

static int load(const uint8_t *text, size_t n_text, const uint8_t *bin, size_t n_bin,
                UprezError *err)
{
    UpzGraph g = {0};
    UprezModelFacts f = {0};
    char *detail = NULL;
    int r = upz_ncnn_read("fuzz.param", text, n_text, bin, n_bin, &g, &f, &detail, err);
    if (r < 0 && (r != UPREZ_ERR_MODEL || !err->text[0])) abort();
    if (!r && (f.scale_num < 1 || f.scale_den < 1 || f.align < 1 || f.reach < 0)) abort();
    upz_free(detail);
    upz_graph_free(&g);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    UprezError err = {0};
    if (!size) return 0;
    const uint8_t *zero = memchr(data, 0, size);
    if (zero) {
        load(data, (size_t)(zero - data), zero + 1, (size_t)(data + size - zero) - 1, &err);
        return 0;
    }
    enum { MOST = 1 << 20 };
    static uint8_t zeros[MOST];
    if (load(data, size, zeros, MOST, &err) == 0) return 0;
    const char *use = strstr(err.text, "the layers use ");
    size_t need;
    if (use && sscanf(use, "the layers use %zu", &need) == 1 && need <= MOST) {
        uint8_t *exact = calloc(need ? need : 1, 1);
        if (!exact) abort();
        load(data, size, exact, need, &err);
        free(exact);
    }
    return 0;
}
