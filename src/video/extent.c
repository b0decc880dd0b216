/* What containers say of themselves: how long the file is, and whether its elements follow each other. */
#include "extent.h"

#include <string.h>

#define EBML_HEADER 0x1A45DFA3
#define SEGMENT 0x18538067
#define CLUSTER 0x1F43B675
#define UNKNOWN_SIZE INT64_MAX

/* An EBML number of at most 8 bytes; -1: damaged, UNKNOWN_SIZE: all its bits are set. */
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
    return avio_feof(pb) ? -1 : unknown ? UNKNOWN_SIZE : value;
}

/* Stops behind the segment's size. -1: it is no Matroska file. */
static int64_t segment_size(AVIOContext *pb)
{
    if (ebml_number(pb, true) != EBML_HEADER) return -1;
    int64_t size = ebml_number(pb, false);
    if (size < 0 || size > 1 << 20 || avio_skip(pb, size) < 0) return -1;
    return ebml_number(pb, true) == SEGMENT ? ebml_number(pb, false) : -1;
}

static int64_t matroska(AVIOContext *pb)
{
    int64_t size = segment_size(pb), at = avio_tell(pb);
    return size <= 0 || size == UNKNOWN_SIZE || size > INT64_MAX - at ? 0 : at + size;
}

/* AVI and WAV; larger files go on in further chunks, whose sizes nobody needs here. */
static int64_t riff(AVIOContext *pb)
{
    avio_skip(pb, 4);
    int64_t size = avio_rl32(pb);
    return size == 0 || size == UINT32_MAX ? 0 : size + 8;
}

static bool is_matroska(const AVFormatContext *fmt)
{
    return !strncmp(fmt->iformat->name, "matroska", 8);
}

static bool can_seek(const AVFormatContext *fmt)
{
    return fmt->pb && fmt->pb->seekable & AVIO_SEEKABLE_NORMAL;
}

int64_t upz_promised_bytes(AVFormatContext *fmt)
{
    AVIOContext *pb = fmt->pb;
    bool mkv = is_matroska(fmt);
    if (!can_seek(fmt)) return 0;
    if (!mkv && strcmp(fmt->iformat->name, "avi") && strcmp(fmt->iformat->name, "wav")) return 0;
    int64_t at = avio_tell(pb);
    if (avio_seek(pb, 0, SEEK_SET) < 0) return 0;
    int64_t bytes = mkv ? matroska(pb) : riff(pb);
    avio_seek(pb, at, SEEK_SET);
    return bytes;
}

/* ---- Matroska's elements, one after another ---- */

/* What may stand in a segment: seek head, information, tracks, cues, attachments, chapters, tags, void,
 * checksum. */
static bool in_segment(int64_t id)
{
    static const int64_t known[] = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469,
                                    0x1043A770, 0x1254C367, 0xEC, 0xBF};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (id == known[i]) return true;
    return false;
}

/* And in a cluster: its time, blocks and groups of them, sizes and places, silent tracks. */
static bool in_cluster(int64_t id)
{
    static const int64_t known[] = {0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xAF, 0x5854, 0xEC, 0xBF};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (id == known[i]) return true;
    return false;
}

/* The place of the first element up to `end` that is none, -1 when all are. */
static int64_t walk(AVIOContext *pb, int64_t end)
{
    int64_t cluster_end = -1; /* of the cluster at hand; UNKNOWN_SIZE: the next one ends it */
    for (;;) {
        int64_t at = avio_tell(pb);
        if (at >= cluster_end) cluster_end = -1;
        if (at >= end) return -1;
        int64_t id = ebml_number(pb, true), size = ebml_number(pb, false);
        if (id == CLUSTER && (cluster_end < 0 || cluster_end == UNKNOWN_SIZE) && size >= 0) {
            cluster_end = size == UNKNOWN_SIZE ? size : avio_tell(pb) + size;
            continue;
        }
        bool inside = cluster_end >= 0 && in_cluster(id);
        if (!inside && (cluster_end < 0 || cluster_end == UNKNOWN_SIZE) && in_segment(id)) {
            cluster_end = -1;
            inside = true;
        }
        int64_t next = avio_tell(pb);
        if (!inside || size < 0 || size == UNKNOWN_SIZE || size > end - next) return at;
        if (cluster_end >= 0 && cluster_end != UNKNOWN_SIZE && next + size > cluster_end) return at;
        if (avio_skip(pb, size) < 0) return at;
    }
}

int64_t upz_broken_byte(AVFormatContext *fmt)
{
    AVIOContext *pb = fmt->pb;
    if (!can_seek(fmt) || !is_matroska(fmt) || avio_size(pb) <= 0) return -1;
    int64_t was = avio_tell(pb), broken = -1, end = avio_size(pb);
    if (avio_seek(pb, 0, SEEK_SET) < 0) return -1;
    int64_t size = segment_size(pb), begin = avio_tell(pb);
    if (size >= 0 && size < end - begin) end = begin + size;
    if (size >= 0) broken = walk(pb, end);
    avio_seek(pb, was, SEEK_SET);
    return broken;
}
