/* How long a file says it is, in containers that say so in their first bytes. */
#include "extent.h"

#include <string.h>

/* An EBML number of at most 8 bytes; -1: damaged, INT64_MAX: "not known" (all bits set). */
static int64_t ebml_number(AVIOContext *pb, bool keep_marker)
{
    int first = avio_r8(pb), n = 1;
    while (n <= 8 && !(first & (0x80 >> (n - 1)))) n++;
    if (n > 8 || avio_feof(pb)) return -1;
    int64_t value = keep_marker ? first : first & (0xff >> n);
    bool unknown = !keep_marker && value == (0xff >> n);
    for (int i = 1; i < n; i++) {
        int byte = avio_r8(pb);
        unknown = unknown && byte == 0xff;
        if (value > INT64_MAX >> 8) return -1;
        value = value << 8 | byte;
    }
    return avio_feof(pb) ? -1 : unknown ? INT64_MAX : value;
}

#define EBML_HEADER 0x1A45DFA3
#define SEGMENT 0x18538067

static int64_t matroska(AVIOContext *pb)
{
    if (ebml_number(pb, true) != EBML_HEADER) return 0;
    int64_t size = ebml_number(pb, false);
    if (size < 0 || size > 1 << 20 || avio_skip(pb, size) < 0) return 0;
    if (ebml_number(pb, true) != SEGMENT) return 0;
    size = ebml_number(pb, false);
    int64_t at = avio_tell(pb);
    return size <= 0 || size == INT64_MAX || size > INT64_MAX - at ? 0 : at + size;
}

/* AVI and WAV; larger files go on in further chunks, whose sizes nobody needs here. */
static int64_t riff(AVIOContext *pb)
{
    avio_skip(pb, 4);
    int64_t size = avio_rl32(pb);
    return size == 0 || size == UINT32_MAX ? 0 : size + 8;
}

int64_t upz_promised_bytes(AVFormatContext *fmt)
{
    AVIOContext *pb = fmt->pb;
    if (!pb || !(pb->seekable & AVIO_SEEKABLE_NORMAL)) return 0;
    bool mkv = !strncmp(fmt->iformat->name, "matroska", 8);
    if (!mkv && strcmp(fmt->iformat->name, "avi") && strcmp(fmt->iformat->name, "wav")) return 0;
    int64_t at = avio_tell(pb);
    if (avio_seek(pb, 0, SEEK_SET) < 0) return 0;
    int64_t bytes = mkv ? matroska(pb) : riff(pb);
    avio_seek(pb, at, SEEK_SET);
    return bytes;
}
