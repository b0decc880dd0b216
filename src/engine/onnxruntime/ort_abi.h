/* The part of ONNX Runtime's C interface that is used, written down from its published facts: no
 * header of it is needed to build. Names of types are the runtime's own, so that the test can check
 * them against the real header. */
#ifndef UPZ_ORT_ABI_H
#define UPZ_ORT_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef struct OrtApi OrtApi; /* a table of function pointers */
typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtIoBinding OrtIoBinding;
typedef struct OrtCUDAProviderOptionsV2 OrtCUDAProviderOptionsV2;
typedef struct OrtTensorRTProviderOptionsV2 OrtTensorRTProviderOptionsV2;

typedef struct OrtApiBase {
    const OrtApi *(*GetApi)(uint32_t version); /* NULL: the runtime is older */
    const char *(*GetVersionString)(void);
} OrtApiBase;

/* Members 0 … of the real enums; those left out are not used. */
typedef enum OrtErrorCode {
    ORT_OK, ORT_FAIL, ORT_INVALID_ARGUMENT, ORT_NO_SUCHFILE, ORT_NO_MODEL, ORT_ENGINE_ERROR,
    ORT_RUNTIME_EXCEPTION, ORT_INVALID_PROTOBUF, ORT_MODEL_LOADED, ORT_NOT_IMPLEMENTED,
    ORT_INVALID_GRAPH, ORT_EP_FAIL
} OrtErrorCode;
typedef enum OrtLoggingLevel {
    ORT_LOGGING_LEVEL_VERBOSE, ORT_LOGGING_LEVEL_INFO, ORT_LOGGING_LEVEL_WARNING,
    ORT_LOGGING_LEVEL_ERROR, ORT_LOGGING_LEVEL_FATAL
} OrtLoggingLevel;
typedef enum GraphOptimizationLevel { ORT_ENABLE_ALL = 99 } GraphOptimizationLevel;
typedef enum OrtAllocatorType { OrtInvalidAllocator = -1, OrtDeviceAllocator } OrtAllocatorType;
typedef enum OrtMemType { OrtMemTypeCPUInput = -2, OrtMemTypeDefault = 0 } OrtMemType;
typedef enum ONNXTensorElementDataType {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10
} ONNXTensorElementDataType;

typedef void (*OrtLoggingFunction)(void *param, OrtLoggingLevel, const char *category,
                                   const char *logid, const char *code_location,
                                   const char *message);

/* The functions themselves, under the runtime's names; a NULL one is newer than the runtime. */
typedef struct UpzOrtApi {
#define UPZ_ORT(index, since, result, name, args) result(*name) args;
#include "engine/onnxruntime/ort_api.def"
#undef UPZ_ORT
} UpzOrtApi;

#define UPZ_ORT_API_LEAST 16
#define UPZ_ORT_API_BEST 17

#endif
