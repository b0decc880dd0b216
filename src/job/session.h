/* What the files of one job share: models, loaded once, and the upscalers, kept while the sizes and
 * formats stay the same. */
#ifndef UPZ_SESSION_H
#define UPZ_SESSION_H

#include "job.h"
#include "team.h"

#define UPZ_CHAIN_MAX 8

typedef struct UpzSession {
    UprezContext *ctx;
    const UpzJobParams *params;
    UprezModel *models[UPZ_CHAIN_MAX];
    int n_models;
    bool loaded;
    UpzTeam team;           /* n 0: none yet */
    UprezInfo info;         /* of the team */
    struct UpzSessionKey {
        UprezFormat in, out;
        UprezColor in_color, out_color;
        int in_w, in_h, out_w, out_h, several;
    } key;
} UpzSession;

/* The scale the models will have, by name alone; *sure is false when only the file can tell. */
double upz_session_guess_scale(const UpzJobParams *params, bool *sure);
/* Loads the models on the first call. *scale: of the chain (2 for kernels alone). */
int upz_session_load(UpzSession *s, double *scale, UprezError *err);
/* Upscalers for pictures like `like`, planned; the session's. several: on all
 * devices that are named, else on the first one. */
int upz_session_team(UpzSession *s, bool several, const UprezPicture *like, const UprezFormat *format,
                     const UprezColor *color, int width, int height, UprezError *err);
/* After an error or an interruption: pictures may still be in flight. */
void upz_session_drop_team(UpzSession *s);
void upz_session_close(UpzSession *s);
/* Fills engine, numerics and model. */
void upz_session_describe(const UpzSession *s, UpzJobResult *result);

#endif
