#include "engine/openvino/ov_api.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const UpzLibrary library = {
    .name = "OpenVINO",
    .files = (const char *const[]){"libopenvino_c.so", "libopenvino_c.so.*", NULL},
    .inner = (const char *const[]){"openvino/libs", NULL},
    .sonames = (const char *const[]){"libopenvino_c.so", NULL},
    .hint = "pip install openvino",
};

/* "2026.4.1-22982-…" to "2026.4.1" */
static void read_version(OvLibrary *lib)
{
    OvVersion v = {0};
    snprintf(lib->version, sizeof(lib->version), "unknown version");
    if (!lib->f.ov_get_openvino_version || lib->f.ov_get_openvino_version(&v)) return;
    if (v.build && *v.build)
        snprintf(lib->version, sizeof(lib->version), "%.*s", (int)strcspn(v.build, "-"), v.build);
    if (lib->f.ov_version_free) lib->f.ov_version_free(&v);
}

int upz_ov_open(OvLibrary *lib, const char *runtime_path, UprezError *err)
{
    void *handle;
    const char *missing = NULL, *symbol;
    *lib = (OvLibrary){.path = ""};
    int r = upz_library_open(&library, runtime_path, &handle, lib->path, sizeof(lib->path), err);
    if (r < 0) return r;
#define LOAD(result, name, parameters) \
    symbol = #name; \
    *(void **)&lib->f.name = dlsym(handle, symbol); \
    if (!lib->f.name && !missing) missing = symbol;
    UPZ_OV_FUNCTIONS(LOAD)
    read_version(lib);
    if (missing)
        return upz_fail(err, UPREZ_ERR_DEVICE, "OpenVINO %s (%s) has no %s; 2024.0 or newer is "
                        "needed: pip install -U openvino", lib->version, lib->path, missing);
    return 0;
}

/* Several lines about source files become the words that matter, in one. */
static void one_line(const char *text, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        const char *next = line + len + (line[len] == '\n');
        while (len && (*line == ' ' || *line == '\t')) line++, len--;
        while (len && (line[len - 1] == ' ' || line[len - 1] == ':' || line[len - 1] == '\r')) len--;
        const bool where = !strncmp(line, "Exception from ", 15) || !strncmp(line, "Check '", 7);
        if (len && !where && n + 1 < size) {
            const int more = snprintf(out + n, size - n, "%s%.*s", n ? "; " : "", (int)len, line);
            n = more < 0 ? n : n + (size_t)more;
        }
        line = next;
    }
    if (!out[0]) snprintf(out, size, "%.*s", (int)strcspn(text, "\n"), text);
}

int upz_ov_check(const OvLibrary *lib, OvStatus status, int code, const char *what, UprezError *err)
{
    if (!status) return 0;
    const char *text = lib->f.ov_get_last_err_msg(), *kind = lib->f.ov_get_error_info(status);
    char words[320];
    one_line(text && *text ? text : kind ? kind : "", words, sizeof(words));
    if (strstr(words, "bad_alloc") || strstr(words, "allocate") || strstr(words, "out of memory") ||
        strstr(words, "CL_MEM_OBJECT_ALLOCATION_FAILURE") || strstr(words, "OUT_OF_RESOURCES"))
        code = UPREZ_ERR_MEMORY;
    return upz_fail(err, code, "OpenVINO %s cannot %s: %s", lib->version, what,
                    words[0] ? words : "it gives no reason");
}

void upz_ov_property(const OvLibrary *lib, const struct ov_core *core, const char *device,
                     const char *key, char *value, size_t size)
{
    char *text = NULL;
    value[0] = 0;
    if (lib->f.ov_core_get_property(core, device, key, &text) || !text) return;
    snprintf(value, size, "%s", text);
    lib->f.ov_free(text);
}
