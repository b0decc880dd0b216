/* What containers say of themselves. Used by the survey alone. */
#ifndef UPZ_EXTENT_H
#define UPZ_EXTENT_H

#include <stdbool.h>
#include <stdint.h>
#include <libavformat/avformat.h>

/* The bytes that an open Matroska, WebM, AVI or WAV file should at least have by its own header; 0
 * where it does not say, and in other containers. The position stays. */
int64_t upz_promised_bytes(AVFormatContext *fmt);
/* Where a Matroska or WebM file has something that is no element of it, -1 = nowhere, or another
 * container. Demuxers step over such places in silence. Reads the head of every block: only worth it
 * where time shows a hole. The position stays. */
int64_t upz_broken_byte(AVFormatContext *fmt);

#endif
