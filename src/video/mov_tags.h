/* Tags of any name in MP4 and MOV. FFmpeg's muxers write either iTunes' fixed set of names or, on
 * request, QuickTime's free keys, but never both, and players for one do not look for the other. So
 * the muxer writes what its fixed set has, and the rest is put behind that as QuickTime's keys, into
 * room that a placeholder kept: no byte of the file moves. Used inside this room only.
 * Format: QuickTime File Format, "Metadata" (hdlr of type mdta, keys, ilst). Threads: safe. */
#ifndef UPZ_MOV_TAGS_H
#define UPZ_MOV_TAGS_H

#include <stdbool.h>
#include <libavformat/avformat.h>
#include "base/error.h"

/* Does a container have such tags? By its muxer's name. */
bool upz_mov_has_tags(const char *muxer);
/* Before the header: adds a placeholder to the context's metadata. Nothing where it has no tags. An
 * AVERROR. */
int upz_mov_tags_reserve(AVFormatContext *oc);
/* After the file is closed: the tags of `wanted` that a reader does not find in it take the
 * placeholder's room. OUTPUT or MEMORY. */
int upz_mov_tags_settle(const char *path, const AVDictionary *wanted, UprezError *err);

#endif
