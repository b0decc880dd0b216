/* What the files of one job share: models, loaded once, and the upscalers, kept while the sizes and
 * formats stay the same. */
#ifndef UPZ_SESSION_H
#define UPZ_SESSION_H

#include "job.h"
#include "team.h"
#include "watchdog.h"

#define UPZ_CHAIN_MAX 8

typedef struct UpzSession {
    UprezContext *ctx;
    const UpzJobParams *params;
    UpzWatchdog *dog;       /* the job's */
    UprezModel *models[UPZ_CHAIN_MAX];
    int n_models;
    bool loaded;
    const char *names[UPZ_CHAIN_MAX]; /* of the models, n_names of them: asked for, or the defaults */
    int n_names;
    bool video;             /* what they were chosen for */
    bool built_in;          /* the family asked for has no installed model: these are the defaults */
    struct UpzFamilyChoice {
        bool looked;
        const char *name;   /* NULL: the defaults */
    } family[2];            /* of pictures and of video, for params->family */
    bool told[2][3];        /* of pictures and of video: kernels, defaults, a family's */
    UpzTeam team;           /* n 0: none yet */
    UprezInfo info;         /* of the team */
    struct UpzSessionKey {
        UprezFormat in, out;
        UprezColor in_color, out_color;
        int in_w, in_h, out_w, out_h, several;
    } key;
} UpzSession;

/* Settles the names of the models: those asked for, else the defaults for such a source. factor: how
 * many times the source the asked size is, 0 where none is asked. Models of other names, of a file
 * before, are let go. */
int upz_session_choose(UpzSession *s, bool video, double factor, UprezError *err);
/* The scale the models will have, by name alone; *sure is false when only the file can tell. */
double upz_session_guess_scale(const UpzSession *s, bool *sure);
/* Loads the models on the first call after a choice. *scale: of the chain (2 for kernels alone). */
int upz_session_load(UpzSession *s, double *scale, UprezError *err);
/* What was taken where no model was asked for, and why: once for each kind, when nothing can be refused
 * any more. */
void upz_session_tell(UpzSession *s);
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
