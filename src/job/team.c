#include "team.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Frames that a member gets running: a frame can only be compared with one that the same member had. */
enum { RUN = 4 };

/* "cuda:0,1" or "cuda:0,cuda:1" to names; returns how many. */
static int split(const char *list, char names[UPZ_TEAM_MAX][UPZ_TEAM_NAME], UprezError *err)
{
    const char *at = list;
    int n = 0;
    for (;; at++) {
        const size_t len = strcspn(at, ",");
        const bool bare = len && strspn(at, "0123456789") >= len; /* a number: of the kind before */
        if (n == UPZ_TEAM_MAX)
            return upz_fail(err, UPREZ_ERR_USAGE, "%s: at most %d devices", list, UPZ_TEAM_MAX);
        if (!len || len > 20 || (bare && !n))
            return upz_fail(err, UPREZ_ERR_USAGE, "%s: give one device, or several as cuda:0,1", list);
        if (bare) {
            const int kind = (int)strcspn(names[n - 1], ":");
            snprintf(names[n], sizeof(names[n]), "%.*s:%.*s", kind > 10 ? 10 : kind, names[n - 1],
                     (int)len, at);
        } else {
            snprintf(names[n], sizeof(names[n]), "%.*s", (int)len, at);
        }
        for (int i = 0; i < n; i++)
            if (!strcmp(names[i], names[n]))
                return upz_fail(err, UPREZ_ERR_USAGE, "%s: %s is named twice", list, names[n]);
        n++;
        at += len;
        if (!*at) return n;
    }
}

int upz_team_first(const char *devices, char first[UPZ_TEAM_NAME], UprezError *err)
{
    char names[UPZ_TEAM_MAX][UPZ_TEAM_NAME];
    int n = devices ? split(devices, names, err) : 0;
    snprintf(first, UPZ_TEAM_NAME, "%s", n > 0 ? names[0] : "auto");
    return n < 0 ? n : 0;
}

int upz_team_create(UpzTeam *t, UprezContext *ctx, const UprezParams *params, UprezError *err)
{
    char names[UPZ_TEAM_MAX][UPZ_TEAM_NAME];
    *t = (UpzTeam){.n = 0};
    const bool several = params->device && strchr(params->device, ',');
    int n = several ? split(params->device, names, err) : 1;
    for (int i = 0; i < n; i++) {
        UprezParams own = *params;
        if (several) own.device = names[i];
        int r = uprez_create(&t->member[i], ctx, &own, err);
        if (r < 0) {
            upz_team_destroy(t);
            return r;
        }
        t->n = i + 1;
    }
    return n < 0 ? n : 0;
}

int upz_team_plan(UpzTeam *t, const UprezPicture *like, UprezInfo *info, UprezError *err)
{
    size_t memory = 0;
    int depth = 0;
    for (int i = t->n - 1; i >= 0; i--) {
        UprezInfo own = {.size = sizeof(own)};
        int r = uprez_plan(t->member[i], like, &own, err);
        if (r < 0) return r;
        if (i < t->n - 1 && strcmp(own.numerics, info->numerics) != 0)
            return upz_fail(err, UPREZ_ERR_DEVICE, "%s and %s would give different bytes (%s and %s); "
                            "use devices of one kind together", own.device, info->device,
                            own.numerics, info->numerics);
        memory += own.memory;
        depth += own.depth;
        *info = own;
    }
    info->memory = memory;
    info->depth = depth;
    return 0;
}

int upz_team_send(UpzTeam *t, const UprezPicture *picture, UprezError *err)
{
    if (t->flying == UPZ_TEAM_FLYING) return UPREZ_AGAIN;
    for (int tries = 0; tries < t->n; tries++) {
        if (t->given >= RUN || tries) {
            t->turn = (t->turn + 1) % t->n;
            t->given = 0;
        }
        int r = uprez_send(t->member[t->turn], picture, err);
        if (r == UPREZ_AGAIN) continue;
        if (r < 0) return r;
        t->given++;
        t->order[(t->head + t->flying++) % UPZ_TEAM_FLYING] = (unsigned char)t->turn;
        return 0;
    }
    return UPREZ_AGAIN;
}

int upz_team_receive(UpzTeam *t, UprezPicture **out, int64_t timeout_ns, UprezError *err)
{
    *out = NULL;
    if (!t->flying) return UPREZ_AGAIN;
    int r = uprez_receive(t->member[t->order[t->head]], out, timeout_ns, err);
    if (r == UPREZ_AGAIN) return r;
    t->head = (t->head + 1) % UPZ_TEAM_FLYING;
    t->flying--;
    return r;
}

void upz_team_counts(UpzTeam *t, UprezCounts *counts)
{
    *counts = (UprezCounts){.size = sizeof(*counts)};
    for (int i = 0; i < t->n; i++) {
        UprezCounts own = {.size = sizeof(own)};
        if (uprez_counts(t->member[i], &own, NULL) < 0) continue;
        counts->pictures += own.pictures;
        counts->repeated += own.repeated;
        counts->reused += own.reused;
    }
}

void upz_team_destroy(UpzTeam *t)
{
    for (int i = 0; i < UPZ_TEAM_MAX; i++) uprez_destroy(&t->member[i]);
    *t = (UpzTeam){.n = 0};
}
