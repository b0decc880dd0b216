/* A model into files, by the name's extension. */
#include "model/write.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"

static int write_onnx(const UprezModel *model, const char *path, const UpzWriteParams *params,
                      UprezError *err)
{
    uint8_t *data;
    size_t size;
    int r = upz_write_onnx_memory(model, &params->onnx, &data, &size, err);
    if (r >= 0) r = upz_write_atomic(path, data, size, err);
    upz_free(data);
    return r;
}

static int write_safetensors(const UprezModel *model, const char *path,
                             const UpzWriteParams *params, UprezError *err)
{
    uint8_t *data;
    size_t size;
    int r = upz_write_safetensors_memory(model, params->onnx.half, &data, &size, err);
    if (r >= 0) r = upz_write_atomic(path, data, size, err);
    upz_free(data);
    return r;
}

/* Both files are on disk, under other names, before either takes its name. */
static int write_pair(const char *param, const char *bin, const void *param_data, size_t param_size,
                      const void *bin_data, size_t bin_size, UprezError *err)
{
    char *new_param = upz_asprintf("%s.new", param), *new_bin = upz_asprintf("%s.new", bin);
    int r = new_param && new_bin ? 0 : upz_fail_memory(err, strlen(param), "a file name");
    if (!r) r = upz_write_atomic(new_bin, bin_data, bin_size, err);
    if (!r) r = upz_write_atomic(new_param, param_data, param_size, err);
    if (!r) r = upz_rename_synced(new_bin, bin, err);
    if (!r) r = upz_rename_synced(new_param, param, err);
    if (r < 0 && new_bin) unlink(new_bin);
    if (r < 0 && new_param) unlink(new_param);
    upz_free(new_param);
    upz_free(new_bin);
    return r;
}

static int write_ncnn(const UprezModel *model, const char *path, const UpzWriteParams *params,
                      UprezError *err)
{
    int stem = (int)(upz_extension(path) - path);
    char *param = upz_asprintf("%.*sparam", stem, path), *bin = upz_asprintf("%.*sbin", stem, path);
    uint8_t *data[2];
    size_t size[2];
    int r = upz_write_ncnn_memory(model, params->onnx.half, &data[0], &size[0], &data[1], &size[1],
                                  err);
    if (!r && (!param || !bin)) r = upz_fail_memory(err, strlen(path), "a file name");
    if (!r) r = write_pair(param, bin, data[0], size[0], data[1], size[1], err);
    upz_free(data[0]);
    upz_free(data[1]);
    upz_free(param);
    upz_free(bin);
    return r;
}

static const struct {
    const char *extension;
    int (*write)(const UprezModel *model, const char *path, const UpzWriteParams *params,
                 UprezError *err);
} formats[] = {
    {"onnx", write_onnx},
    {"safetensors", write_safetensors},
    {"param", write_ncnn},
    {"bin", write_ncnn},
};

static int format_of(const char *path)
{
    for (int i = 0; i < UPZ_COUNT(formats); i++)
        if (!strcasecmp(upz_extension(path), formats[i].extension)) return i;
    return -1;
}

int upz_write_check_params(const char *path, const UpzWriteParams *params, UprezError *err)
{
    const UpzOnnxParams *o = &params->onnx;
    int i = format_of(path);
    if (i < 0)
        return upz_fail(err, UPREZ_ERR_USAGE, "%s: models are written as .onnx, .safetensors or "
                        "ncnn's .param and .bin; '%s' is none of them", upz_basename(path),
                        upz_extension(path));
    bool special = o->opset || o->half_io || o->fixed_batch || o->fixed_height || o->fixed_width;
    if (special && formats[i].write != write_onnx)
        return upz_fail(err, UPREZ_ERR_USAGE, "an operator set, fp16 input or a fixed size can be "
                        "chosen for .onnx only, not for .%s", formats[i].extension);
    return 0;
}

int upz_write_file(const UprezModel *model, const char *path, const UpzWriteParams *params,
                   UprezError *err)
{
    int r = upz_write_check_params(path, params, err);
    return r < 0 ? r : formats[format_of(path)].write(model, path, params, err);
}
