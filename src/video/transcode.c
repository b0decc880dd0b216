#include "transcode.h"

#include <string.h>
#include <libavutil/audio_fifo.h>
#include <libavutil/channel_layout.h>
#include <libswresample/swresample.h>

#include "base/alloc.h"
#include "compat.h"
#include "input.h"

#define TEXT_BYTES 65536 /* of one encoded subtitle */

struct UpzTranscoder {
    AVCodecContext *dec, *enc;
    AVCodecParameters *par;
    AVRational from, to; /* time bases */
    bool text;
    /* audio */
    SwrContext *swr;
    AVAudioFifo *fifo;
    AVFrame *in, *out;
    AVPacket *packet;
    int64_t next;        /* pts of the first sample in the fifo, in `to` */
};

static const AVCodec *audio_encoder(enum AVCodecID id)
{
    const AVCodec *c = id == AV_CODEC_ID_OPUS ? avcodec_find_encoder_by_name("libopus") : NULL;
    return c ? c : avcodec_find_encoder(id);
}

static int open_decoder(UpzTranscoder *t, const AVStream *from, UprezError *err)
{
    const AVCodec *codec = avcodec_find_decoder(from->codecpar->codec_id);
    t->dec = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!codec)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "this FFmpeg has no decoder for stream %d (%s)",
                        from->index, avcodec_get_name(from->codecpar->codec_id));
    if (!t->dec || avcodec_parameters_to_context(t->dec, from->codecpar) < 0)
        return upz_fail_memory(err, 0, "a decoder");
    t->dec->pkt_timebase = from->time_base;
    int r = avcodec_open2(t->dec, codec, NULL);
    char why[UPZ_AV_ERROR];
    if (r < 0)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the decoder of stream %d (%s) does not start: %s",
                        from->index, codec->name, upz_av_error(r, why));
    return 0;
}

static int start_encoder(UpzTranscoder *t, const AVCodec *codec, UprezError *err)
{
    char why[UPZ_AV_ERROR];
    t->enc->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    int r = avcodec_open2(t->enc, codec, NULL);
    if (r < 0)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "the encoder %s does not start: %s", codec->name,
                        upz_av_error(r, why));
    t->par = avcodec_parameters_alloc();
    if (!t->par || avcodec_parameters_from_context(t->par, t->enc) < 0)
        return upz_fail_memory(err, 0, "an encoder");
    return 0;
}

static int open_text(UpzTranscoder *t, const AVCodec *codec, UprezError *err)
{
    t->to = (AVRational){1, 1000};
    t->enc->time_base = t->to;
    if (t->dec->subtitle_header_size > 0) {
        size_t n = (size_t)t->dec->subtitle_header_size;
        t->enc->subtitle_header = av_mallocz(n + 1);
        if (!t->enc->subtitle_header) return upz_fail_memory(err, n, "a subtitle header");
        memcpy(t->enc->subtitle_header, t->dec->subtitle_header, n);
        t->enc->subtitle_header_size = (int)n;
    }
    return start_encoder(t, codec, err);
}

static int nearest_rate(const AVCodec *codec, int rate)
{
    if (codec->id == AV_CODEC_ID_OPUS) return 48000;
    static const int aac[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000,
                              11025, 8000, 7350};
    if (codec->id != AV_CODEC_ID_AAC) return rate;
    for (int i = 0; i < UPZ_COUNT(aac); i++)
        if (rate >= aac[i]) return aac[i];
    return 8000;
}

static int open_audio(UpzTranscoder *t, const AVCodec *codec, UprezError *err)
{
    AVCodecContext *enc = t->enc, *dec = t->dec;
    int channels = dec->ch_layout.nb_channels;
    if (channels < 1 || dec->sample_rate < 1)
        return upz_fail(err, UPREZ_ERR_OUTPUT, "an audio stream does not say its channels or rate");
    enc->sample_rate = nearest_rate(codec, dec->sample_rate);
    const enum AVSampleFormat *formats = upz_av_sample_fmts(codec);
    enc->sample_fmt = formats ? formats[0] : AV_SAMPLE_FMT_FLTP;
    av_channel_layout_default(&enc->ch_layout, UPZ_MIN(channels, 8));
    bool plain = av_get_exact_bits_per_sample(codec->id) > 0; /* PCM takes any channels */
    if (plain || (dec->ch_layout.order == AV_CHANNEL_ORDER_NATIVE && channels <= 6))
        av_channel_layout_copy(&enc->ch_layout, &dec->ch_layout);
    enc->bit_rate = 96000 * (int64_t)UPZ_MIN(channels, 8);
    enc->time_base = t->to = (AVRational){1, enc->sample_rate};
    int r = start_encoder(t, codec, NULL);
    if (r < 0) { /* an unusual layout: the plain one of as many channels, then stereo */
        avcodec_free_context(&t->enc);
        t->enc = enc = avcodec_alloc_context3(codec);
        if (!enc) return upz_fail_memory(err, 0, "an encoder");
        enc->sample_rate = nearest_rate(codec, dec->sample_rate);
        enc->sample_fmt = formats ? formats[0] : AV_SAMPLE_FMT_FLTP;
        av_channel_layout_default(&enc->ch_layout, UPZ_MIN(channels, 2));
        enc->bit_rate = 96000 * (int64_t)UPZ_MIN(channels, 2);
        enc->time_base = t->to;
        r = start_encoder(t, codec, err);
    }
    if (r < 0) return r;
    t->in = av_frame_alloc();
    t->out = av_frame_alloc();
    t->packet = av_packet_alloc();
    t->fifo = av_audio_fifo_alloc(enc->sample_fmt, enc->ch_layout.nb_channels, 8192);
    t->next = AV_NOPTS_VALUE;
    return t->in && t->out && t->packet && t->fifo ? 0 : upz_fail_memory(err, 0, "audio");
}

int upz_transcoder_open(UpzTranscoder **out, const AVStream *from, int to, UprezError *err)
{
    *out = NULL;
    UpzTranscoder *t = upz_calloc(1, sizeof(*t));
    if (!t) return upz_fail_memory(err, sizeof(*t), "a converter");
    t->text = from->codecpar->codec_type == AVMEDIA_TYPE_SUBTITLE;
    t->from = from->time_base;
    const AVCodec *codec = t->text ? avcodec_find_encoder((enum AVCodecID)to)
                                   : audio_encoder((enum AVCodecID)to);
    int r = codec ? open_decoder(t, from, err)
                  : upz_fail(err, UPREZ_ERR_OUTPUT, "this FFmpeg has no encoder for %s",
                             avcodec_get_name((enum AVCodecID)to));
    if (r >= 0 && !(t->enc = avcodec_alloc_context3(codec)))
        r = upz_fail_memory(err, 0, "an encoder");
    if (r >= 0) r = t->text ? open_text(t, codec, err) : open_audio(t, codec, err);
    if (r < 0) {
        upz_transcoder_close(&t);
        return r;
    }
    *out = t;
    return 0;
}

const AVCodecParameters *upz_transcoder_parameters(const UpzTranscoder *t) { return t->par; }
AVRational upz_transcoder_time_base(const UpzTranscoder *t) { return t->to; }

/* ---- text ---- */

static int text_packet(UpzTranscoder *t, const AVPacket *packet, UpzPacketSink sink, void *cookie,
                       UprezError *err)
{
    AVSubtitle sub;
    int got = 0;
    AVPacket *p = packet ? av_packet_clone(packet) : NULL;
    if (!p) return packet ? upz_fail_memory(err, 0, "a subtitle") : 0;
    int r = avcodec_decode_subtitle2(t->dec, &sub, &got, p);
    if (r >= 0 && got && sub.num_rects) {
        int64_t start = av_rescale_q(packet->pts, t->from, t->to) + sub.start_display_time;
        int64_t length = av_rescale_q(packet->duration, t->from, t->to);
        if (length <= 0 && sub.end_display_time != UINT32_MAX)
            length = (int64_t)sub.end_display_time - sub.start_display_time;
        sub.start_display_time = 0;
        sub.end_display_time = (uint32_t)UPZ_MAX(length, 0);
        sub.pts = av_rescale_q(start, t->to, AV_TIME_BASE_Q);
        uint8_t *bytes = av_malloc(TEXT_BYTES);
        AVPacket *o = av_packet_alloc();
        int n = bytes && o ? avcodec_encode_subtitle(t->enc, bytes, TEXT_BYTES, &sub)
                           : AVERROR(ENOMEM);
        if (n == AVERROR(ENOMEM) || (n > 0 && av_new_packet(o, n) < 0)) {
            r = upz_fail_memory(err, TEXT_BYTES, "a subtitle");
        } else if (n > 0) {
            memcpy(o->data, bytes, (size_t)n);
            o->pts = o->dts = start;
            o->duration = length;
            o->flags |= AV_PKT_FLAG_KEY;
            r = sink(cookie, o, err);
        } else {
            r = 0; /* nothing to show, or a markup this codec has not */
        }
        av_packet_free(&o);
        av_free(bytes);
    } else {
        r = 0;
    }
    if (got) avsubtitle_free(&sub);
    av_packet_free(&p);
    return r;
}

/* ---- audio ---- */

static int encode(UpzTranscoder *t, const AVFrame *f, UpzPacketSink sink, void *cookie,
                  UprezError *err)
{
    char why[UPZ_AV_ERROR];
    int r = avcodec_send_frame(t->enc, f);
    while (r >= 0 || (r == AVERROR_EOF && !f)) {
        r = avcodec_receive_packet(t->enc, t->packet);
        if (r == AVERROR(EAGAIN) || r == AVERROR_EOF) return 0;
        if (r < 0) break;
        r = sink(cookie, t->packet, err);
        av_packet_unref(t->packet);
        if (r < 0) return r;
    }
    return upz_fail(err, UPREZ_ERR_OUTPUT, "encoding audio failed: %s", upz_av_error(r, why));
}

/* Whole encoder frames out of the fifo; at the end also the rest. */
static int encode_fifo(UpzTranscoder *t, bool end, UpzPacketSink sink, void *cookie,
                       UprezError *err)
{
    int size = t->enc->frame_size > 0 ? t->enc->frame_size : 1024;
    for (;;) {
        int have = av_audio_fifo_size(t->fifo);
        if (!have || (!end && have < size)) return 0;
        AVFrame *f = t->out;
        av_frame_unref(f);
        f->nb_samples = UPZ_MIN(have, size);
        f->format = t->enc->sample_fmt;
        f->sample_rate = t->enc->sample_rate;
        if (av_channel_layout_copy(&f->ch_layout, &t->enc->ch_layout) < 0 ||
            av_frame_get_buffer(f, 0) < 0 ||
            av_audio_fifo_read(t->fifo, (void **)f->extended_data, f->nb_samples) < 0)
            return upz_fail_memory(err, 0, "audio");
        f->pts = t->next;
        t->next += f->nb_samples;
        int r = encode(t, f, sink, cookie, err);
        if (r < 0) return r;
    }
}

static int prepare_swr(UpzTranscoder *t, AVFrame *f, UprezError *err)
{
    if (t->swr) return 0;
    int r = swr_alloc_set_opts2(&t->swr, &t->enc->ch_layout, t->enc->sample_fmt,
                                t->enc->sample_rate, &f->ch_layout, f->format, f->sample_rate, 0,
                                NULL);
    if (r >= 0) r = swr_init(t->swr);
    char why[UPZ_AV_ERROR];
    return r < 0 ? upz_fail(err, UPREZ_ERR_OUTPUT, "audio cannot be converted: %s",
                            upz_av_error(r, why))
                 : 0;
}

static int resample(UpzTranscoder *t, const AVFrame *f, UprezError *err)
{
    int room = f ? swr_get_out_samples(t->swr, f->nb_samples) : swr_get_out_samples(t->swr, 0);
    if (room <= 0) return 0;
    uint8_t **data = NULL;
    int r = av_samples_alloc_array_and_samples(&data, NULL, t->enc->ch_layout.nb_channels, room,
                                               t->enc->sample_fmt, 0);
    if (r < 0) return upz_fail_memory(err, 0, "audio");
    int n = swr_convert(t->swr, data, room, f ? (const uint8_t **)f->extended_data : NULL,
                        f ? f->nb_samples : 0);
    if (n > 0) r = av_audio_fifo_write(t->fifo, (void **)data, n);
    av_freep(&data[0]);
    av_freep(&data);
    return n < 0 || r < 0 ? upz_fail(err, UPREZ_ERR_OUTPUT, "audio cannot be converted") : 0;
}

/* Silence where the source has a hole, so that the rest stays in time. */
static int fill_hole(UpzTranscoder *t, int64_t pts, UprezError *err)
{
    int64_t expected = t->next + av_audio_fifo_size(t->fifo);
    int64_t hole = pts - expected;
    if (t->next == AV_NOPTS_VALUE) t->next = pts;
    else if (hole > t->enc->sample_rate / 10 && hole < (int64_t)t->enc->sample_rate * 3600) {
        uint8_t **data = NULL;
        int channels = t->enc->ch_layout.nb_channels, step = 4096;
        if (av_samples_alloc_array_and_samples(&data, NULL, channels, step, t->enc->sample_fmt,
                                               0) < 0)
            return upz_fail_memory(err, 0, "audio");
        av_samples_set_silence(data, 0, step, channels, t->enc->sample_fmt);
        for (; hole > 0; hole -= step)
            av_audio_fifo_write(t->fifo, (void **)data, (int)UPZ_MIN(hole, step));
        av_freep(&data[0]);
        av_freep(&data);
    }
    return 0;
}

static int audio_packet(UpzTranscoder *t, const AVPacket *packet, UpzPacketSink sink, void *cookie,
                        UprezError *err)
{
    int sent = avcodec_send_packet(t->dec, packet);
    (void)sent; /* damage is left out */
    for (;;) {
        int r = avcodec_receive_frame(t->dec, t->in);
        if (r < 0) break;
        int64_t pts = t->in->best_effort_timestamp;
        r = prepare_swr(t, t->in, err);
        if (r >= 0) {
            int64_t delay = swr_get_delay(t->swr, t->enc->sample_rate);
            if (pts != AV_NOPTS_VALUE)
                r = fill_hole(t, av_rescale_q(pts, t->from, t->to) - delay, err);
            else if (t->next == AV_NOPTS_VALUE)
                t->next = 0;
        }
        if (r >= 0) r = resample(t, t->in, err);
        av_frame_unref(t->in);
        if (r >= 0) r = encode_fifo(t, false, sink, cookie, err);
        if (r < 0) return r;
    }
    if (packet) return 0;
    int r = t->swr ? resample(t, NULL, err) : 0;
    if (r >= 0) r = encode_fifo(t, true, sink, cookie, err);
    return r < 0 ? r : encode(t, NULL, sink, cookie, err);
}

int upz_transcoder_packet(UpzTranscoder *t, const AVPacket *packet, UpzPacketSink sink, void *cookie,
                          UprezError *err)
{
    return t->text ? text_packet(t, packet, sink, cookie, err)
                   : audio_packet(t, packet, sink, cookie, err);
}

void upz_transcoder_close(UpzTranscoder **pt)
{
    UpzTranscoder *t = *pt;
    if (!t) return;
    *pt = NULL;
    avcodec_free_context(&t->dec);
    avcodec_free_context(&t->enc);
    avcodec_parameters_free(&t->par);
    swr_free(&t->swr);
    if (t->fifo) av_audio_fifo_free(t->fifo);
    av_frame_free(&t->in);
    av_frame_free(&t->out);
    av_packet_free(&t->packet);
    upz_free(t);
}
