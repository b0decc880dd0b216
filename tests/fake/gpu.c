/* An NVIDIA driver and a TensorRT that are none. $FAKE_GPU: the compute capability, as in 90;
 * $FAKE_TENSORRT: the version number, as in 100300. */
#include <stdio.h>
#include <stdlib.h>
#include <stddef.h>

#define SEEN __attribute__((visibility("default")))

SEEN int cuInit(unsigned flags);
SEEN int cuDeviceGetCount(int *n);
SEEN int cuDeviceGet(int *device, int ordinal);
SEEN int cuDeviceGetName(char *name, int size, int device);
SEEN int cuDeviceTotalMem_v2(size_t *bytes, int device);
SEEN int cuDeviceGetAttribute(int *value, int attribute, int device);
SEEN int cuDevicePrimaryCtxRetain(void **context, int device);
SEEN int cuDevicePrimaryCtxRelease_v2(int device);
SEEN int getInferLibVersion(void);

static int number(const char *variable, int otherwise)
{
    const char *text = getenv(variable);
    return text && *text ? (int)strtol(text, NULL, 10) : otherwise;
}

int cuInit(unsigned flags)
{
    (void)flags;
    return number("FAKE_GPU", 90) ? 0 : 100;
}
int cuDeviceGetCount(int *n)
{
    *n = 2;
    return 0;
}
int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return 0;
}
int cuDeviceGetName(char *name, int size, int device)
{
    snprintf(name, (size_t)size, "Fake GPU %d", device);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    (void)device;
    *bytes = (size_t)1 << 30;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == 75 ? number("FAKE_GPU", 90) / 10 : number("FAKE_GPU", 90) % 10;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device)
{
    *context = (void *)(size_t)(4096 + device);
    return 0;
}
int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    return 0;
}
int getInferLibVersion(void)
{
    return number("FAKE_TENSORRT", 100300);
}
