/* A team: one or several upscalers, each on a device of its own, that take frames in turn and give their
 * results in the order the frames came. The devices must give the same bytes (one numerics id).
 *
 * Threads: as an upscaler's, one at a time. */
#ifndef UPZ_JOB_TEAM_H
#define UPZ_JOB_TEAM_H

#include "uprez/upscaler.h"

#define UPZ_TEAM_MAX 16
#define UPZ_TEAM_NAME 32 /* bytes of a device's name */
#define UPZ_TEAM_FLYING 256 /* frames inside at once, at most */

typedef struct UpzTeam {
    Uprez *member[UPZ_TEAM_MAX];
    int n;
    int turn, given;     /* who gets the next frame, and how many running it got */
    unsigned char order[UPZ_TEAM_FLYING]; /* whose frames are inside, a ring */
    int head, flying;
} UpzTeam;

/* The first device of a list, "auto" of NULL. USAGE: the list makes no sense. */
int upz_team_first(const char *devices, char first[UPZ_TEAM_NAME], UprezError *err);
/* params->device may name several: "cuda:0,1". USAGE: the list makes no sense. */
int upz_team_create(UpzTeam *team, UprezContext *ctx, const UprezParams *params, UprezError *err);
/* As uprez_plan, for all; info: of the first, with everybody's memory and depth. DEVICE: they compute
 * differently. */
int upz_team_plan(UpzTeam *team, const UprezPicture *like, UprezInfo *info, UprezError *err);
int upz_team_send(UpzTeam *team, const UprezPicture *picture, UprezError *err);
int upz_team_receive(UpzTeam *team, UprezPicture **out, int64_t timeout_ns, UprezError *err);
void upz_team_counts(UpzTeam *team, UprezCounts *counts);
void upz_team_destroy(UpzTeam *team); /* also a zeroed one */

#endif
