/* Devices, contexts, modules, errors, and what is counted. */
#include "driver.h"
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

Counters fake_counters;
pthread_mutex_t fake_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static bool initialized;
static Context primaries[16];
static __thread Context *stack[32];
static __thread int depth;

int fake_number(const char *variable, int otherwise)
{
    const char *text = getenv(variable);
    return text && *text ? (int)strtol(text, NULL, 10) : otherwise;
}

void fake_say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "fake CUDA: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
}

static void write_log(FILE *f)
{
    const Counters *c = &fake_counters;
    fprintf(f, "host_to_device %llu\ndevice_to_host %llu\ndevice_to_device %llu\nfilled %llu\n",
            (unsigned long long)c->host_to_device, (unsigned long long)c->device_to_host,
            (unsigned long long)c->device_to_device, (unsigned long long)c->filled);
    fprintf(f,
            "allocations %llu\nhost_allocations %llu\nallocated %llu\npeak %llu\nmistakes %llu\n",
            (unsigned long long)c->allocations, (unsigned long long)c->host_allocations,
            (unsigned long long)c->allocated, (unsigned long long)c->peak,
            (unsigned long long)c->mistakes);
    fprintf(f, "requests %llu\nnull_waits %llu\n", (unsigned long long)c->requests,
            (unsigned long long)c->null_waits);
    fprintf(f, "launches %llu\ngraphs %llu\n", (unsigned long long)c->launches, (unsigned long long)c->graphs);
    for (int i = 0; i < c->n_kernels; i++)
        fprintf(f, "launch_%s %llu\n", c->kernels[i].name, (unsigned long long)c->kernels[i].n);
}

__attribute__((destructor)) static void at_exit(void)
{
    const char *path = getenv("FAKE_CUDA_LOG");
    FILE *f = path && *path && initialized ? fopen(path, "w") : NULL;
    if (!f) return;
    write_log(f);
    fclose(f);
}

/* For tests that have the library open: a counter by its name in the log. */
SEEN uint64_t fakeCudaCount(const char *name);
uint64_t fakeCudaCount(const char *name)
{
    char *text = NULL, *line;
    size_t size, n = strlen(name);
    uint64_t v = 0;
    pthread_mutex_lock(&fake_lock);
    FILE *f = open_memstream(&text, &size);
    write_log(f);
    fclose(f);
    pthread_mutex_unlock(&fake_lock);
    for (line = text; line && *line; line = strchr(line, '\n') + 1)
        if (!strncmp(line, name, n) && line[n] == ' ') v = strtoull(line + n, NULL, 10);
    free(text);
    return v;
}

int fake_enter(const char *function)
{
    static int calls;
    static char now[128]; /* another wish counts from one again */
    const char *fail = getenv("FAKE_CUDA_FAIL");
    size_t n = strlen(function);
    pthread_mutex_lock(&fake_lock);
    if (strncmp(now, fail ? fail : "", sizeof(now) - 1)) {
        snprintf(now, sizeof(now), "%s", fail ? fail : "");
        calls = 0;
    }
    if (!initialized && strcmp(function, "cuInit") && strcmp(function, "cuDriverGetVersion") &&
        strncmp(function, "cuGetError", 10))
        return NOT_INITIALIZED;
    if (fail && !strncmp(fail, function, n) && fail[n] == ':') {
        char *end;
        long nth = strtol(fail + n + 1, &end, 10);
        if (!nth || ++calls == nth) return *end == ':' ? (int)strtol(end + 1, NULL, 10) : UNKNOWN;
    }
    return OK;
}

int fake_leave(int result)
{
    pthread_mutex_unlock(&fake_lock);
    return result;
}

/* ---- errors ---- */

static const struct {
    int code;
    const char *name, *text;
} errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {708, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "cannot set while device is active in this process"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

SEEN int cuGetErrorName(int code, const char **name);
int cuGetErrorName(int code, const char **name)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) {
            *name = errors[i].name;
            return OK;
        }
    *name = NULL;
    return INVALID_VALUE;
}

SEEN int cuGetErrorString(int code, const char **text);
int cuGetErrorString(int code, const char **text)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) {
            *text = errors[i].text;
            return OK;
        }
    *text = NULL;
    return INVALID_VALUE;
}

/* ---- devices ---- */

static int n_devices(void)
{
    int n = fake_number("FAKE_CUDA_DEVICES", 1);
    return n < 0 ? 0 : n > 16 ? 16 : n;
}

static bool has(int device) { return device >= 0 && device < n_devices(); }

SEEN int cuInit(unsigned flags);
int cuInit(unsigned flags)
{
    ENTER();
    if (flags) LEAVE(INVALID_VALUE);
    if (getenv("FAKE_CUDA_NONE") || !n_devices()) LEAVE(NO_DEVICE);
    initialized = true;
    LEAVE(OK);
}

SEEN int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version)
{
    ENTER();
    *version = fake_number("FAKE_CUDA_VERSION", 13000);
    LEAVE(OK);
}

SEEN int cuDeviceGetCount(int *n);
int cuDeviceGetCount(int *n)
{
    ENTER();
    *n = n_devices();
    LEAVE(OK);
}

SEEN int cuDeviceGet(int *device, int ordinal);
int cuDeviceGet(int *device, int ordinal)
{
    ENTER();
    *device = ordinal;
    LEAVE(has(ordinal) ? OK : INVALID_DEVICE);
}

SEEN int cuDeviceGetName(char *name, int size, int device);
int cuDeviceGetName(char *name, int size, int device)
{
    ENTER();
    if (!has(device)) LEAVE(INVALID_DEVICE);
    snprintf(name, (size_t)size, "Emulated GPU %d", device);
    LEAVE(OK);
}

SEEN int cuDeviceGetUuid(char uuid[16], int device);
int cuDeviceGetUuid(char uuid[16], int device)
{
    ENTER();
    memset(uuid, 0x40 + device, 16);
    LEAVE(has(device) ? OK : INVALID_DEVICE);
}
SEEN int cuDeviceGetUuid_v2(char uuid[16], int device);
int cuDeviceGetUuid_v2(char uuid[16], int device) { return cuDeviceGetUuid(uuid, device); }

static int capability(void) { return fake_number("FAKE_CUDA_CC", 90); }

/* Shared memory a block may have when it asks, KiB. */
static int most_shared(void)
{
    switch (capability()) {
    case 75: return 64;
    case 80: case 87: return 163;
    case 86: case 89: case 120: return 99;
    case 90: case 100: case 103: return 227;
    default: return capability() < 75 ? capability() == 70 ? 96 : 48 : 99;
    }
}

SEEN int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    ENTER();
    if (!has(device)) LEAVE(INVALID_DEVICE);
    switch (attribute) {
    case 1: *value = 1024; break;           /* threads of a block */
    case 8: *value = 48 << 10; break;       /* shared memory of a block */
    case 10: *value = 32; break;            /* warp */
    case 12: *value = 65536; break;         /* registers of a block */
    case 13: *value = 1755000; break;       /* clock, kHz */
    case 14: case 51: *value = 512; break;  /* textures' alignment */
    case 16: *value = fake_number("FAKE_CUDA_SMS", 3); break;
    case 31: case 41: *value = 1; break;    /* concurrent kernels, unified addresses */
    case 36: *value = 2619000; break;       /* memory's clock, kHz */
    case 37: *value = 5120; break;          /* its width */
    case 38: *value = 50 << 20; break;      /* L2 */
    case 40: *value = 3; break;             /* copy engines */
    case 39: *value = 2048; break;          /* threads of a multiprocessor */
    case 75: *value = capability() / 10; break;
    case 76: *value = capability() % 10; break;
    case 81: case 97: *value = most_shared() << 10; break;
    case 115: *value = 1; break;            /* memory pools */
    default: *value = 0;
    }
    LEAVE(OK);
}

SEEN int cuDeviceComputeCapability(int *major, int *minor, int device);
int cuDeviceComputeCapability(int *major, int *minor, int device)
{
    ENTER();
    *major = capability() / 10;
    *minor = capability() % 10;
    LEAVE(has(device) ? OK : INVALID_DEVICE);
}

/* ---- contexts ---- */

Context *fake_current(void) { return depth ? stack[depth - 1] : NULL; }

int fake_context(Context **context)
{
    *context = fake_current();
    if (!*context || (*context)->kind != KIND_CONTEXT) return INVALID_CONTEXT;
    return (*context)->error;
}

static void begin(Context *c, int device, int primary, unsigned flags)
{
    *c = (Context){KIND_CONTEXT, device, primary, flags, 0, NULL, NULL};
    c->null_stream = fake_new_stream(c, 0);
}

static void end(Context *c)
{
    fake_run_context(c);
    fake_free_context_memory(c);
    c->kind = 0;
}

SEEN int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRetain(void **context, int device)
{
    ENTER();
    if (!has(device)) LEAVE(INVALID_DEVICE);
    Context *c = &primaries[device];
    if (c->kind != KIND_CONTEXT) begin(c, device, 0, c->flags);
    c->primary++;
    *context = c;
    LEAVE(OK);
}

static int release(int device)
{
    if (!has(device) || primaries[device].kind != KIND_CONTEXT) return INVALID_CONTEXT;
    if (--primaries[device].primary == 0) end(&primaries[device]);
    return OK;
}

SEEN int cuDevicePrimaryCtxRelease(int device);
int cuDevicePrimaryCtxRelease(int device)
{
    ENTER();
    LEAVE(release(device));
}
SEEN int cuDevicePrimaryCtxRelease_v2(int device);
int cuDevicePrimaryCtxRelease_v2(int device)
{
    ENTER();
    LEAVE(release(device));
}

static int set_flags(int device, unsigned flags)
{
    if (!has(device)) return INVALID_DEVICE;
    primaries[device].flags = flags;
    return OK;
}
SEEN int cuDevicePrimaryCtxSetFlags(int device, unsigned flags);
int cuDevicePrimaryCtxSetFlags(int device, unsigned flags)
{
    ENTER();
    LEAVE(set_flags(device, flags));
}
SEEN int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags);
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags)
{
    ENTER();
    LEAVE(set_flags(device, flags));
}

SEEN int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active);
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    ENTER();
    if (!has(device)) LEAVE(INVALID_DEVICE);
    *flags = primaries[device].flags;
    *active = primaries[device].kind == KIND_CONTEXT;
    LEAVE(OK);
}

SEEN int cuDevicePrimaryCtxReset(int device);
int cuDevicePrimaryCtxReset(int device)
{
    ENTER();
    LEAVE(has(device) ? OK : INVALID_DEVICE);
}

SEEN int cuCtxCreate_v2(void **context, unsigned flags, int device);
int cuCtxCreate_v2(void **context, unsigned flags, int device)
{
    ENTER();
    if (!has(device)) LEAVE(INVALID_DEVICE);
    Context *c = calloc(1, sizeof *c);
    begin(c, device, -1, flags);
    *context = stack[depth++] = c;
    LEAVE(OK);
}

/* The memory of the struct stays: handles in the caller's hand must be told from live ones. */
SEEN int cuCtxDestroy_v2(void *context);
int cuCtxDestroy_v2(void *context)
{
    Context *c = context;
    ENTER();
    if (!c || c->kind != KIND_CONTEXT || c->primary != -1) LEAVE(INVALID_CONTEXT);
    end(c);
    if (fake_current() == c) depth--;
    LEAVE(OK);
}

SEEN int cuCtxPushCurrent_v2(void *context);
int cuCtxPushCurrent_v2(void *context)
{
    Context *c = context;
    ENTER();
    if (!c || c->kind != KIND_CONTEXT) LEAVE(INVALID_CONTEXT);
    if (depth == 32) {
        fake_say("contexts are pushed and never popped");
        fake_counters.mistakes++;
        LEAVE(INVALID_CONTEXT);
    }
    stack[depth++] = c;
    LEAVE(OK);
}

SEEN int cuCtxPopCurrent_v2(void **context);
int cuCtxPopCurrent_v2(void **context)
{
    ENTER();
    if (!depth) LEAVE(INVALID_CONTEXT);
    depth--;
    if (context) *context = stack[depth];
    LEAVE(OK);
}

SEEN int cuCtxGetCurrent(void **context);
int cuCtxGetCurrent(void **context)
{
    ENTER();
    *context = fake_current();
    LEAVE(OK);
}

SEEN int cuCtxSetCurrent(void *context);
int cuCtxSetCurrent(void *context)
{
    Context *c = context;
    ENTER();
    if (c && c->kind != KIND_CONTEXT) LEAVE(INVALID_CONTEXT);
    if (!c) depth = depth ? depth - 1 : 0;
    else if (depth) stack[depth - 1] = c;
    else stack[depth++] = c;
    LEAVE(OK);
}

SEEN int cuCtxGetDevice(int *device);
int cuCtxGetDevice(int *device)
{
    ENTER_CONTEXT(c);
    *device = c->device;
    LEAVE(OK);
}

SEEN int cuCtxGetFlags(unsigned *flags);
int cuCtxGetFlags(unsigned *flags)
{
    ENTER_CONTEXT(c);
    *flags = c->flags;
    LEAVE(OK);
}

SEEN int cuCtxGetApiVersion(void *context, unsigned *version);
int cuCtxGetApiVersion(void *context, unsigned *version)
{
    ENTER();
    *version = 3020;
    LEAVE(OK);
}

SEEN int cuCtxSynchronize(void);
int cuCtxSynchronize(void)
{
    ENTER_CONTEXT(c);
    fake_run_context(c);
    LEAVE(c->error);
}

SEEN int cuCtxSetLimit(int limit, size_t value);
int cuCtxSetLimit(int limit, size_t value)
{
    ENTER_CONTEXT(c);
    LEAVE(OK);
}

/* ---- modules ---- */

/* The code in the fatbin that a card would take. */
static int target(void)
{
    static const int all[] = {120, 100, 90, 89, 86, 80, 75, 70, 61, 60, 52};
    const int cc = capability();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] <= cc && all[i] / 10 == cc / 10) return all[i];
    return cc;
}

static bool is_fatbin(const void *image)
{
    uint32_t magic;
    memcpy(&magic, image, 4);
    if (magic == 0x466243b1u) { /* a wrapper: version, then the address of the data */
        const void *data;
        memcpy(&data, (const char *)image + 8, sizeof data);
        memcpy(&magic, data, 4);
    }
    return magic == 0xba55ed50u;
}

SEEN int cuModuleLoadData(void **module, const void *image);
int cuModuleLoadData(void **module, const void *image)
{
    ENTER_CONTEXT(c);
    if (!is_fatbin(image)) LEAVE(INVALID_IMAGE);
    if (!simt_find("load_map", capability())) LEAVE(NO_BINARY);
    Module *m = calloc(1, sizeof *m);
    *m = (Module){KIND_MODULE, c, NULL};
    *module = m;
    LEAVE(OK);
}

SEEN int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options,
                            void **values);
int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values)
{
    return cuModuleLoadData(module, image);
}

SEEN int cuModuleUnload(void *module);
int cuModuleUnload(void *module)
{
    Module *m = module;
    ENTER_CONTEXT(c);
    if (!m || m->kind != KIND_MODULE) LEAVE(INVALID_HANDLE);
    if (m->context != c) LEAVE(INVALID_CONTEXT);
    fake_run_context(c);
    m->kind = 0;
    for (Function *f = m->functions; f; f = f->next) f->kind = 0;
    LEAVE(OK);
}

SEEN int cuModuleGetFunction(void **function, void *module, const char *name);
int cuModuleGetFunction(void **function, void *module, const char *name)
{
    Module *m = module;
    ENTER_CONTEXT(c);
    if (!m || m->kind != KIND_MODULE) LEAVE(INVALID_HANDLE);
    if (m->context != c) LEAVE(INVALID_CONTEXT);
    const SimtKernel *k = simt_find(name, capability());
    if (!k) LEAVE(NOT_FOUND);
    Function *f = calloc(1, sizeof *f);
    *f = (Function){KIND_FUNCTION, c, k, 48 << 10, m->functions};
    m->functions = f;
    *function = f;
    LEAVE(OK);
}

SEEN int cuFuncSetAttribute(void *function, int attribute, int value);
int cuFuncSetAttribute(void *function, int attribute, int value)
{
    Function *f = function;
    ENTER_CONTEXT(c);
    if (!f || f->kind != KIND_FUNCTION) LEAVE(INVALID_HANDLE);
    if (f->context != c) LEAVE(INVALID_CONTEXT);
    if (attribute != 8) LEAVE(OK);
    if (value < 0 || value > most_shared() << 10) LEAVE(INVALID_VALUE);
    f->shared = value;
    LEAVE(OK);
}

SEEN int cuFuncGetAttribute(int *value, int attribute, void *function);
int cuFuncGetAttribute(int *value, int attribute, void *function)
{
    Function *f = function;
    ENTER_CONTEXT(c);
    if (!f || f->kind != KIND_FUNCTION) LEAVE(INVALID_HANDLE);
    *value = attribute == 0   ? (int)f->kernel->threads
             : attribute == 6 ? target()
             : attribute == 8 ? f->shared : 0;
    LEAVE(OK);
}

SEEN int cuFuncSetCacheConfig(void *function, int config);
int cuFuncSetCacheConfig(void *function, int config) { return OK; }

SEEN int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *function, int threads,
                                                     size_t shared);
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *function, int threads, size_t shared)
{
    ENTER_CONTEXT(c);
    *n = 1;
    LEAVE(OK);
}

/* ---- by name ---- */

static int look_up(const char *symbol, void **function)
{
    static const char *const ends[] = {"_v2", ""};
    Dl_info info;
    char name[128];
    if (!dladdr((void *)(uintptr_t)&look_up, &info)) return UNKNOWN;
    void *self = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    *function = NULL;
    for (int i = 0; i < 2 && self && !*function; i++) {
        snprintf(name, sizeof name, "%s%s", symbol, ends[i]);
        *function = dlsym(self, name);
    }
    if (self) dlclose(self);
    return *function ? OK : NOT_FOUND;
}

SEEN int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags);
int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
    return look_up(symbol, function);
}

SEEN int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                             int *status);
int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                        int *status)
{
    int r = look_up(symbol, function);
    if (status) *status = r ? 1 : 0;
    return r;
}

/* What FFmpeg's loader wants to find and nobody here calls. */
#define NEVER(name) \
    SEEN int name(void); \
    int name(void) { return NOT_SUPPORTED; }
NEVER(cuLinkCreate)
NEVER(cuLinkCreate_v2)
NEVER(cuLinkAddData)
NEVER(cuLinkAddData_v2)
NEVER(cuLinkComplete)
NEVER(cuLinkDestroy)
NEVER(cuModuleGetGlobal)
NEVER(cuModuleGetGlobal_v2)
NEVER(cuTexObjectCreate)
NEVER(cuTexObjectDestroy)
NEVER(cuGLGetDevices)
NEVER(cuGLGetDevices_v2)
NEVER(cuGraphicsGLRegisterImage)
NEVER(cuGraphicsUnregisterResource)
NEVER(cuGraphicsMapResources)
NEVER(cuGraphicsUnmapResources)
NEVER(cuGraphicsSubResourceGetMappedArray)
NEVER(cuGraphicsResourceGetMappedPointer_v2)
NEVER(cuImportExternalMemory)
NEVER(cuDestroyExternalMemory)
NEVER(cuExternalMemoryGetMappedBuffer)
NEVER(cuExternalMemoryGetMappedMipmappedArray)
NEVER(cuMipmappedArrayCreate)
NEVER(cuMipmappedArrayGetLevel)
NEVER(cuMipmappedArrayDestroy)
NEVER(cuImportExternalSemaphore)
NEVER(cuDestroyExternalSemaphore)
NEVER(cuSignalExternalSemaphoresAsync)
NEVER(cuWaitExternalSemaphoresAsync)
NEVER(cuArrayCreate_v2)
NEVER(cuArray3DCreate_v2)
NEVER(cuArrayDestroy)
NEVER(cuEGLStreamProducerConnect)
NEVER(cuEGLStreamProducerDisconnect)
NEVER(cuEGLStreamConsumerDisconnect)
NEVER(cuEGLStreamProducerPresentFrame)
NEVER(cuEGLStreamProducerReturnFrame)
