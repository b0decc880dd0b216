/* A first look at a whole file: all its streams, also those that begin late, their packets, when they
 * are shown, and the one clock they are on. What is copied later is compared with it. Used inside
 * this room, and handed on by the job. Threads: one at a time. */
#ifndef UPZ_SURVEY_H
#define UPZ_SURVEY_H

#include "input.h"
#include "timeline.h"

#define UPZ_CODER_DELAY (AV_TIME_BASE / 10) /* no coder's is longer; more was cut away by hand */

typedef struct UpzSurveyStream {
    int64_t packets;    /* in the file */
    int64_t cut;        /* of them, those that an edit list cuts away */
    int64_t first, end; /* what is shown of it, on the one clock; AV_NOPTS_VALUE: nothing with a time */
    int64_t begins;     /* its first packet, cut away or not */
    int64_t starts;     /* its first packet that is not; of its sound less may be heard */
    int64_t place;      /* byte of its first packet, -1 = not known */
    int64_t reached;    /* where its last packet ends, its own time */
    int64_t align;      /* to add: a programme with a clock of its own begins with the leading one's */
    bool trimmed;       /* more than a coder's delay is cut away at its beginning */
} UpzSurveyStream;

typedef struct UpzSurvey {
    AVFormatContext *fmt; /* read to its end; its streams know their parameters */
    char *url;
    UpzSurveyStream *streams;
    int n;                /* as many as fmt has */
    UpzTimeline timeline;
    int end;              /* AVERROR_EOF, or what ended reading before the end */
    double missing;       /* seconds that the file promises and does not have */
    int64_t unread;       /* packets that its index promises and that did not come */
    char digest[33];      /* of the bytes of the leading stream's packets, hexadecimal */
    int64_t last_byte;    /* place of the last of these packets, -1 = not known */
    int64_t broken_byte;  /* where it holds something that is no part of its container, -1 = nowhere */
    int64_t short_by;     /* bytes that its header promises and that it does not have */
} UpzSurvey;

/* Sees each packet of the leading stream, its own times; epoch: UpzEpoch's number. 0 or an AVERROR. */
typedef int (*UpzSurveyEach)(void *cookie, const AVPacket *packet, int epoch);

/* Reads `url` through; leader -1: its picture, or else its sound. each may be NULL. INPUT when it
 * does not open or the storage fails, MEMORY, INTERRUPTED. */
int upz_survey_create(UpzSurvey **out, const char *url, const char *demuxer, int leader,
                      UpzSurveyEach each, void *cookie, UpzWatch *watch, UprezError *err);
/* Is the file cut off, or could it not be read to its end? Then the sentence says how. */
bool upz_survey_damaged(const UpzSurvey *survey, char *how, size_t size);
void upz_survey_free(UpzSurvey **survey);
/* How much of a packet's sound is not to be heard: its own word, in AV_TIME_BASE units. */
void upz_packet_skips(const AVPacket *p, const AVStream *st, int64_t *before, int64_t *after);

#endif
