/* What the muxers of the FFmpeg at hand do, found out by asking them. */
#include "mux.h"

#include <string.h>
#include <libavutil/intreadwrite.h>
#include <libavutil/mem.h>

#define DELAY 48000 /* samples: a second */

typedef struct Bytes {
    uint8_t *data;
    int size, at;
} Bytes;

static int read_bytes(void *cookie, uint8_t *to, int n)
{
    Bytes *b = cookie;
    if (b->at >= b->size) return AVERROR_EOF;
    n = n < b->size - b->at ? n : b->size - b->at;
    memcpy(to, b->data + b->at, (size_t)n);
    b->at += n;
    return n;
}

/* One packet of Opus at time 0, whose decoder leaves a second out. */
static int write_trial(AVFormatContext *oc)
{
    AVStream *st = avformat_new_stream(oc, NULL);
    AVPacket *p = av_packet_alloc();
    int r = st && p ? av_new_packet(p, 3) : AVERROR(ENOMEM);
    if (r >= 0) {
        AVCodecParameters *par = st->codecpar;
        par->codec_type = AVMEDIA_TYPE_AUDIO;
        par->codec_id = AV_CODEC_ID_OPUS;
        par->sample_rate = 48000;
        par->initial_padding = DELAY;
        av_channel_layout_default(&par->ch_layout, 1);
        par->extradata = av_mallocz(19 + AV_INPUT_BUFFER_PADDING_SIZE);
        par->extradata_size = 19;
        if (!par->extradata) r = AVERROR(ENOMEM);
        else memcpy(par->extradata, "OpusHead\1\1", 10);
        if (r >= 0) AV_WL16(par->extradata + 10, DELAY);
        if (r >= 0) AV_WL32(par->extradata + 12, 48000);
        memcpy(p->data, "\xf8\xff\xfe", 3);
        p->pts = p->dts = 0;
        p->duration = 20;
        p->flags |= AV_PKT_FLAG_KEY;
    }
    oc->avoid_negative_ts = 0;
    oc->flags |= AVFMT_FLAG_BITEXACT;
    if (r >= 0) r = avformat_write_header(oc, NULL);
    if (r >= 0) r = av_write_frame(oc, p);
    if (r >= 0) r = av_write_trailer(oc);
    av_packet_free(&p);
    return r;
}

static int64_t read_trial(Bytes *b)
{
    int64_t pts = AV_NOPTS_VALUE;
    uint8_t *buffer = av_malloc(4096);
    AVIOContext *io = buffer ? avio_alloc_context(buffer, 4096, 0, b, read_bytes, NULL, NULL) : NULL;
    AVFormatContext *ic = avformat_alloc_context();
    AVPacket *p = av_packet_alloc();
    if (io && ic && p) {
        ic->pb = io;
        if (avformat_open_input(&ic, NULL, av_find_input_format("matroska"), NULL) >= 0 &&
            av_read_frame(ic, p) >= 0)
            pts = p->pts;
    }
    av_packet_free(&p);
    avformat_close_input(&ic);
    if (io) av_free(io->buffer);
    else av_free(buffer);
    avio_context_free(&io);
    return pts;
}

bool upz_mux_adds_delay(void)
{
    AVFormatContext *oc = NULL;
    Bytes b = {0};
    int r = avformat_alloc_output_context2(&oc, NULL, "matroska", NULL);
    if (r >= 0) r = avio_open_dyn_buf(&oc->pb);
    if (r >= 0) {
        r = write_trial(oc);
        b.size = avio_close_dyn_buf(oc->pb, &b.data);
        oc->pb = NULL;
    }
    avformat_free_context(oc);
    int64_t pts = r >= 0 ? read_trial(&b) : AV_NOPTS_VALUE;
    av_free(b.data);
    return pts == 0;
}
