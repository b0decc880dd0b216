/* uprez devices: engines, what they found and where, what is missing and how to get it. */
#include <stdio.h>
#include <string.h>
#include <cjson/cJSON.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "engine/engine.h"

enum { NAME_COLUMN = 13, TEXT_COLUMN = 23, WIDTH = 100 };

static const char usage[] =
    "usage: uprez devices [--runtime-path DIR] [--json]\n\n"
    "Lists the engines of this program and the devices each can use; of runtimes, the library's file\n"
    "that was taken, its version and what it can do, or why it is not used and how to get it.\n";

static void add_json(cJSON *all, const UpzEngineOps *ops, const UpzDeviceList *list,
                     const char *missing)
{
    cJSON *e = cJSON_CreateObject(), *devices = cJSON_CreateArray();
    cJSON_AddStringToObject(e, "engine", ops->name);
    cJSON_AddStringToObject(e, "about", ops->about);
    if (missing) cJSON_AddStringToObject(e, "missing", missing);
    for (int i = 0; i < list->n; i++) {
        const UpzDevice *device = &list->items[i];
        cJSON *d = cJSON_CreateObject();
        char id[UPZ_DEVICE_NAME];
        upz_device_name(device, id);
        cJSON_AddStringToObject(d, "device", id);
        cJSON_AddStringToObject(d, "name", device->name);
        cJSON_AddNumberToObject(d, "memory", (double)device->memory);
        if (device->runtime[0]) cJSON_AddStringToObject(d, "runtime", device->runtime);
        if (device->version[0]) cJSON_AddStringToObject(d, "version", device->version);
        if (device->can[0]) cJSON_AddStringToObject(d, "can", device->can);
        cJSON_AddItemToArray(devices, d);
    }
    cJSON_AddItemToObject(e, "devices", devices);
    cJSON_AddItemToArray(all, e);
}

/* Text from the present column on; later lines begin at `column` too. */
static void wrapped(int column, const char *text)
{
    int at = column;
    for (const char *p = text; *p;) {
        const int word = (int)strcspn(p, " ");
        char piece[1024];
        if (at > column && at + 1 + word > WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        snprintf(piece, sizeof(piece), "%.*s", word, p);
        upz_cli_plain(stdout, piece);
        at += word;
        p += word;
        p += strspn(p, " ");
    }
    putchar('\n');
}

static void labelled(const char *label, const char *text)
{
    if (!*text) return;
    printf("%*s%-*s", NAME_COLUMN, "", TEXT_COLUMN - NAME_COLUMN, label);
    wrapped(TEXT_COLUMN, text);
}

static void print_device(const UpzDevice *d)
{
    char id[UPZ_DEVICE_NAME], name[200];
    upz_device_name(d, id);
    if (d->memory) snprintf(name, sizeof(name), "%s, %zu MiB", d->name, d->memory >> 20);
    else snprintf(name, sizeof(name), "%s", d->name);
    labelled(id, name);
    if (d->can[0]) labelled("  can", d->can);
}

/* Devices of one runtime share its file. */
static void print_engine(const UpzEngineOps *ops, const UpzDeviceList *list, const char *missing)
{
    printf("%-*s", NAME_COLUMN, ops->name);
    wrapped(NAME_COLUMN, ops->about);
    for (int i = 0; i < list->n; i++) {
        const UpzDevice *d = &list->items[i];
        print_device(d);
        if (i + 1 < list->n && !strcmp(d->runtime, list->items[i + 1].runtime)) continue;
        labelled("  version", d->version);
        labelled("  library", d->runtime);
    }
    if (missing) labelled(list->n ? "note" : "not here", missing);
}

int upz_cmd_devices(int argc, char **argv)
{
    bool json = false;
    const char *runtime_path = NULL;
    const UpzOption options[] = {
        {"--runtime-path", UPZ_OPT_STRING, "DIR", &runtime_path, 0, 0,
         "where to look first for runtimes' libraries", "Options"},
        {"--json", UPZ_OPT_FLAG, NULL, &json, 0, 0, "an array for programs", NULL}};
    UprezError err = {0};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, NULL, 0, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r < 0) return upz_cli_error(&err);

    cJSON *all = json ? cJSON_CreateArray() : NULL;
    if (!json)
        printf("processor level %s, %d worker thread%s\n\n", upz_cpu_name(upz_cpu_detect()),
               upz_cpu_count(), upz_cpu_count() == 1 ? "" : "s");
    for (int i = 0; upz_engines[i]; i++) {
        const UpzEngineOps *ops = upz_engines[i];
        UpzDeviceList list = {.n = 0};
        UprezError why = {0};
        if (!ops->missing) ops->probe(runtime_path, &list, &why);
        const char *missing = ops->missing ? ops->missing : why.code < 0 ? why.text : NULL;
        if (json) add_json(all, ops, &list, missing);
        else print_engine(ops, &list, missing);
    }
    if (json) {
        char *text = cJSON_Print(all);
        if (text) puts(text);
        cJSON_free(text);
        cJSON_Delete(all);
    }
    return 0;
}
