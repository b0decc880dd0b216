/* uprez devices: engines, what they found, what is missing. */
#include <stdio.h>
#include <string.h>
#include <cjson/cJSON.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "engine/engine.h"

static const char usage[] = "usage: uprez devices [--json]\n\n"
                            "Lists the engines of this program and the devices each can use.\n";

static void add_json(cJSON *all, const UpzEngineOps *ops, const UpzDeviceList *list)
{
    cJSON *e = cJSON_CreateObject(), *devices = cJSON_CreateArray();
    cJSON_AddStringToObject(e, "engine", ops->name);
    cJSON_AddStringToObject(e, "about", ops->about);
    if (ops->missing) cJSON_AddStringToObject(e, "missing", ops->missing);
    for (int i = 0; i < list->n; i++) {
        cJSON *d = cJSON_CreateObject();
        char id[40];
        if (!strcmp(list->items[i].kind, "cpu")) snprintf(id, sizeof(id), "cpu");
        else snprintf(id, sizeof(id), "%s:%d", list->items[i].kind, list->items[i].index);
        cJSON_AddStringToObject(d, "device", id);
        cJSON_AddStringToObject(d, "name", list->items[i].name);
        cJSON_AddNumberToObject(d, "memory", (double)list->items[i].memory);
        cJSON_AddItemToArray(devices, d);
    }
    cJSON_AddItemToObject(e, "devices", devices);
    cJSON_AddItemToArray(all, e);
}

int upz_cmd_devices(int argc, char **argv)
{
    bool json = false;
    const UpzOption options[] = {
        {"--json", UPZ_OPT_FLAG, NULL, &json, 0, 0, "an array for programs", "Options"}};
    UprezError err = {0};
    int r = upz_options_parse(options, UPZ_COUNT(options), argc, argv, NULL, 0, usage, &err);
    if (r == UPREZ_EOF) return 0;
    if (r < 0) return upz_cli_error(&err);

    cJSON *all = json ? cJSON_CreateArray() : NULL;
    if (!json)
        printf("processor level %s, %d worker thread%s\n", upz_cpu_name(upz_cpu_detect()),
               upz_cpu_count(), upz_cpu_count() == 1 ? "" : "s");
    for (int i = 0; upz_engines[i]; i++) {
        const UpzEngineOps *ops = upz_engines[i];
        UpzDeviceList list = {.n = 0};
        UprezError why = {0};
        if (!ops->missing) ops->probe(NULL, &list, &why);
        if (json) {
            add_json(all, ops, &list);
            continue;
        }
        printf("%-12s %s\n", ops->name, ops->about);
        if (ops->missing) printf("             not here: %s\n", ops->missing);
        for (int d = 0; d < list.n; d++)
            printf("             %s: %s\n", list.items[d].kind, list.items[d].name);
    }
    if (json) {
        char *text = cJSON_Print(all);
        if (text) puts(text);
        cJSON_free(text);
        cJSON_Delete(all);
    }
    return 0;
}
