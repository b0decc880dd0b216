/* Every file format. To add one: read_x.c, one line here, one in meson.build, a fuzz target. */
#include "model/model.h"

extern const UpzReader upz_reader_torch_zip, upz_reader_torch_legacy, upz_reader_safetensors,
    upz_reader_ncnn, upz_reader_onnx, upz_reader_torchscript, upz_reader_tensorrt;

const UpzReader *const upz_readers[] = {&upz_reader_torchscript, &upz_reader_tensorrt,
                                        &upz_reader_torch_zip, &upz_reader_torch_legacy,
                                        &upz_reader_safetensors, &upz_reader_ncnn,
                                        &upz_reader_onnx, NULL};
