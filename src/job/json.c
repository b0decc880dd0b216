#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"

/* File names are bytes; JSON is text. */
static bool add_text(cJSON *o, const char *key, const char *text)
{
    char *valid = upz_utf8(text);
    bool ok = valid && cJSON_AddStringToObject(o, key, valid);
    upz_free(valid);
    return ok;
}

static bool add(cJSON *o, const UpzJsonRow *row)
{
    char s[48];
    switch (row->kind) {
    case UPZ_JSON_IS_GIVEN:
        if (!row->text || !*row->text) return true;
        return add_text(o, row->key, row->text);
    case UPZ_JSON_IS_TEXT: return add_text(o, row->key, row->text ? row->text : "");
    case UPZ_JSON_IS_INT: snprintf(s, sizeof(s), "%" PRId64, row->whole); break;
    case UPZ_JSON_IS_DOUBLE:
        snprintf(s, sizeof(s), "%.15g", row->number);
        if (strtod(s, NULL) - row->number != 0) snprintf(s, sizeof(s), "%.17g", row->number);
        break;
    case UPZ_JSON_IS_RATIO:
        snprintf(s, sizeof(s), "%" PRId64 "/%d", row->whole, row->den);
        return cJSON_AddStringToObject(o, row->key, s);
    }
    return cJSON_AddRawToObject(o, row->key, s);
}

bool upz_json_rows(cJSON *object, const UpzJsonRow *rows, int n)
{
    bool ok = object != NULL;
    for (int i = 0; i < n && ok; i++) ok = add(object, &rows[i]);
    return ok;
}
