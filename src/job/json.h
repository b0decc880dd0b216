/* Members of a JSON object as a table, for plans and summaries. */
#ifndef UPZ_JSON_H
#define UPZ_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <cjson/cJSON.h>

typedef enum UpzJsonKind {
    UPZ_JSON_IS_TEXT,   /* NULL is written as "" */
    UPZ_JSON_IS_GIVEN,  /* a text, left out when NULL or "" */
    UPZ_JSON_IS_INT,    /* all 64 bits */
    UPZ_JSON_IS_DOUBLE, /* reads back as the same number; finite */
    UPZ_JSON_IS_RATIO   /* "whole/den" */
} UpzJsonKind;

typedef struct UpzJsonRow {
    const char *key;
    UpzJsonKind kind;
    const char *text;
    int64_t whole;
    double number;
    int den;
} UpzJsonRow;

#define UPZ_JSON_TEXT(k, v) {.key = (k), .kind = UPZ_JSON_IS_TEXT, .text = (v)}
#define UPZ_JSON_GIVEN(k, v) {.key = (k), .kind = UPZ_JSON_IS_GIVEN, .text = (v)}
#define UPZ_JSON_INT(k, v) {.key = (k), .kind = UPZ_JSON_IS_INT, .whole = (v)}
#define UPZ_JSON_DOUBLE(k, v) {.key = (k), .kind = UPZ_JSON_IS_DOUBLE, .number = (v)}
#define UPZ_JSON_RATIO(k, v) {.key = (k), .kind = UPZ_JSON_IS_RATIO, .whole = (v).num, .den = (v).den}

/* Adds n rows in order. false when out of memory, also for a NULL object. */
bool upz_json_rows(cJSON *object, const UpzJsonRow *rows, int n);

#endif
