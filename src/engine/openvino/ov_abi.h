/* What uprez calls of OpenVINO's C interface, declared by ourselves so that nothing of it is needed
 * to build. tests/cli/openvino_abi.sh compares every line with the real headers where there are any.
 *
 * Not used on purpose: constants of ov_element_type_e (their numbers moved in 2025; types are taken
 * from the model's own ports), and the variables that hold the property names. */
#ifndef UPZ_OV_ABI_H
#define UPZ_OV_ABI_H

#include <stddef.h>
#include <stdint.h>

struct UpzOvShape { int64_t rank; int64_t *dims; };
struct UpzOvDim { int64_t min, max; }; /* max -1: no limit */
struct UpzOvPartial { struct UpzOvDim rank; struct UpzOvDim *dims; };
struct UpzOvVersion { const char *build, *description; };
struct UpzOvDevices { char **names; size_t size; };

#ifndef UPZ_OV_REAL_TYPES /* the comparing test puts the real ones here */
typedef struct UpzOvShape OvShape;
typedef struct UpzOvPartial OvPartial;
typedef struct UpzOvVersion OvVersion;
typedef struct UpzOvDevices OvDevices;
typedef int OvStatus;     /* 0: done, else negative */
typedef unsigned OvType;
#endif

/* F(result, name, parameters). All of them are there from 2024.0 on. */
#define UPZ_OV_FUNCTIONS(F) \
    F(OvStatus, ov_get_openvino_version, (OvVersion *)) \
    F(void, ov_version_free, (OvVersion *)) \
    F(const char *, ov_get_error_info, (OvStatus)) \
    F(const char *, ov_get_last_err_msg, (void)) \
    F(void, ov_free, (const char *)) \
    F(OvStatus, ov_core_create, (struct ov_core **)) \
    F(void, ov_core_free, (struct ov_core *)) \
    F(OvStatus, ov_core_get_available_devices, (const struct ov_core *, OvDevices *)) \
    F(void, ov_available_devices_free, (OvDevices *)) \
    F(OvStatus, ov_core_get_property, \
      (const struct ov_core *, const char *device, const char *key, char **value)) \
    F(OvStatus, ov_core_read_model, \
      (const struct ov_core *, const char *path, const char *weights, struct ov_model **)) \
    F(OvStatus, ov_core_read_model_from_memory_buffer, \
      (const struct ov_core *, const char *data, const size_t size, \
       const struct ov_tensor *weights, struct ov_model **)) \
    F(OvStatus, ov_core_compile_model, \
      (const struct ov_core *, const struct ov_model *, const char *device, \
       const size_t n_strings, struct ov_compiled_model **, ...)) \
    F(void, ov_model_free, (struct ov_model *)) \
    F(OvStatus, ov_model_inputs_size, (const struct ov_model *, size_t *)) \
    F(OvStatus, ov_model_outputs_size, (const struct ov_model *, size_t *)) \
    F(OvStatus, ov_model_const_input, (const struct ov_model *, struct ov_output_const_port **)) \
    F(OvStatus, ov_model_const_output, (const struct ov_model *, struct ov_output_const_port **)) \
    F(OvStatus, ov_model_reshape_single_input, (const struct ov_model *, const OvPartial)) \
    F(OvStatus, ov_port_get_partial_shape, (const struct ov_output_const_port *, OvPartial *)) \
    F(OvStatus, ov_port_get_element_type, (const struct ov_output_const_port *, OvType *)) \
    F(void, ov_output_const_port_free, (struct ov_output_const_port *)) \
    F(void, ov_partial_shape_free, (OvPartial *)) \
    F(OvStatus, ov_compiled_model_get_property, \
      (const struct ov_compiled_model *, const char *key, char **value)) \
    F(OvStatus, ov_compiled_model_create_infer_request, \
      (const struct ov_compiled_model *, struct ov_infer_request **)) \
    F(void, ov_compiled_model_free, (struct ov_compiled_model *)) \
    F(OvStatus, ov_tensor_create_from_host_ptr, \
      (const OvType, const OvShape, void *, struct ov_tensor **)) \
    F(OvStatus, ov_tensor_get_byte_size, (const struct ov_tensor *, size_t *)) \
    F(void, ov_tensor_free, (struct ov_tensor *)) \
    F(OvStatus, ov_infer_request_set_input_tensor, \
      (struct ov_infer_request *, const struct ov_tensor *)) \
    F(OvStatus, ov_infer_request_set_output_tensor, \
      (struct ov_infer_request *, const struct ov_tensor *)) \
    F(OvStatus, ov_infer_request_start_async, (struct ov_infer_request *)) \
    F(OvStatus, ov_infer_request_wait, (struct ov_infer_request *)) \
    F(void, ov_infer_request_free, (struct ov_infer_request *))

struct ov_core;
struct ov_model;
struct ov_compiled_model;
struct ov_infer_request;
struct ov_tensor;
struct ov_output_const_port;

#define UPZ_OV_POINTER(result, name, parameters) result (*name) parameters;
typedef struct OvApi {
    UPZ_OV_FUNCTIONS(UPZ_OV_POINTER)
} OvApi;

#endif
