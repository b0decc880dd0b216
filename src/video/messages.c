#include "messages.h"

#include <libavutil/hdr_dynamic_metadata.h>
#include <libavutil/opt.h>

#include "bytes.h"

#define WAITING 512 /* frames that an encoder may hold back */

typedef struct Waiting {
    int64_t pts;
    UpzBytes nals; /* with their start codes */
} Waiting;

struct UpzMessages {
    enum AVCodecID codec;
    bool captions, plus, format; /* which are ours to write */
    Waiting items[WAITING];
    int n;
};

int upz_messages_open(UpzMessages **out, const AVCodecContext *enc, UprezError *err)
{
    *out = NULL;
    bool hevc = enc->codec_id == AV_CODEC_ID_HEVC;
    if (!hevc && enc->codec_id != AV_CODEC_ID_H264) return 0;
    UpzMessages *m = upz_calloc(1, sizeof(*m));
    if (!m) return upz_fail_memory(err, sizeof(*m), "the encoder");
    m->codec = enc->codec_id;
    /* encoders that write captions have a switch for it */
    m->captions = !enc->priv_data || !av_opt_find(enc->priv_data, "a53cc", NULL, 0, 0);
    m->plus = hevc;
    m->format = !hevc;
    *out = m;
    return 0;
}

void upz_messages_close(UpzMessages **m)
{
    for (int i = 0; *m && i < (*m)->n; i++) upz_free((*m)->items[i].nals.d);
    upz_free(*m);
    *m = NULL;
}

/* ---- contents ---- */

typedef struct Bits {
    UpzBytes *to;
    uint64_t held;
    int n;
    bool ok;
} Bits;

static void bits(Bits *b, uint32_t v, int n)
{
    b->held = b->held << n | (v & ((1u << n) - 1));
    b->n += n;
    while (b->n >= 8) {
        uint8_t byte = (uint8_t)(b->held >> (b->n - 8));
        b->ok = b->ok && upz_put(b->to, &byte, 1);
        b->n -= 8;
    }
}

/* A fraction in units of 1/den. */
static void fraction(Bits *b, AVRational q, int den, int n)
{
    int64_t v = q.den ? av_rescale_rnd(q.num, den, q.den, AV_ROUND_NEAR_INF | AV_ROUND_PASS_MINMAX) : 0;
    int64_t most = ((int64_t)1 << n) - 1;
    bits(b, (uint32_t)(v < 0 ? 0 : v > most ? most : v), n);
}

static void peaks(Bits *b, int rows, int columns, const AVRational table[25][25])
{
    bits(b, (uint32_t)rows, 5);
    bits(b, (uint32_t)columns, 5);
    for (int i = 0; i < rows && i < 25; i++)
        for (int k = 0; k < columns && k < 25; k++) fraction(b, table[i][k], 15, 4);
}

static void place(Bits *b, const AVHDRPlusColorTransformParams *w)
{
    fraction(b, w->window_upper_left_corner_x, 1, 16);
    fraction(b, w->window_upper_left_corner_y, 1, 16);
    fraction(b, w->window_lower_right_corner_x, 1, 16);
    fraction(b, w->window_lower_right_corner_y, 1, 16);
    bits(b, w->center_of_ellipse_x, 16);
    bits(b, w->center_of_ellipse_y, 16);
    bits(b, w->rotation_angle, 8);
    bits(b, w->semimajor_axis_internal_ellipse, 16);
    bits(b, w->semimajor_axis_external_ellipse, 16);
    bits(b, w->semiminor_axis_external_ellipse, 16);
    bits(b, w->overlap_process_option, 1);
}

static void levels(Bits *b, const AVHDRPlusColorTransformParams *w)
{
    for (int i = 0; i < 3; i++) fraction(b, w->maxscl[i], 100000, 17);
    fraction(b, w->average_maxrgb, 100000, 17);
    int n = w->num_distribution_maxrgb_percentiles;
    bits(b, (uint32_t)n, 4);
    for (int i = 0; i < n && i < 15; i++) {
        bits(b, w->distribution_maxrgb[i].percentage, 7);
        fraction(b, w->distribution_maxrgb[i].percentile, 100000, 17);
    }
    fraction(b, w->fraction_bright_pixels, 1000, 10);
}

static void tones(Bits *b, const AVHDRPlusColorTransformParams *w)
{
    bits(b, w->tone_mapping_flag, 1);
    if (w->tone_mapping_flag) {
        fraction(b, w->knee_point_x, 4095, 12);
        fraction(b, w->knee_point_y, 4095, 12);
        bits(b, w->num_bezier_curve_anchors, 4);
        for (int i = 0; i < w->num_bezier_curve_anchors && i < 15; i++)
            fraction(b, w->bezier_curve_anchors[i], 1023, 10);
    }
    bits(b, w->color_saturation_mapping_flag, 1);
    if (w->color_saturation_mapping_flag) fraction(b, w->color_saturation_weight, 8, 6);
}

static bool put_plus(UpzBytes *to, const AVDynamicHDRPlus *h)
{
    static const uint8_t head[] = {0xB5, 0, 0x3C, 0, 1, 4};
    Bits b = {.to = to, .ok = upz_put(to, head, sizeof(head))};
    int n = h->num_windows < 1 ? 1 : h->num_windows > 3 ? 3 : h->num_windows;
    bits(&b, h->application_version, 8);
    bits(&b, (uint32_t)n, 2);
    for (int i = 1; i < n; i++) place(&b, &h->params[i]);
    fraction(&b, h->targeted_system_display_maximum_luminance, 1, 27);
    bits(&b, h->targeted_system_display_actual_peak_luminance_flag, 1);
    if (h->targeted_system_display_actual_peak_luminance_flag)
        peaks(&b, h->num_rows_targeted_system_display_actual_peak_luminance,
              h->num_cols_targeted_system_display_actual_peak_luminance,
              h->targeted_system_display_actual_peak_luminance);
    for (int i = 0; i < n; i++) levels(&b, &h->params[i]);
    bits(&b, h->mastering_display_actual_peak_luminance_flag, 1);
    if (h->mastering_display_actual_peak_luminance_flag)
        peaks(&b, h->num_rows_mastering_display_actual_peak_luminance,
              h->num_cols_mastering_display_actual_peak_luminance,
              h->mastering_display_actual_peak_luminance);
    for (int i = 0; i < n; i++) tones(&b, &h->params[i]);
    if (b.n) bits(&b, 0, 8 - b.n);
    return b.ok;
}

static bool put_captions(UpzBytes *to, const uint8_t *d, size_t size)
{
    static const uint8_t head[] = {0xB5, 0, 0x31, 'G', 'A', '9', '4', 3}, end[] = {0xff};
    size_t n = size / 3 < 31 ? size / 3 : 31;
    uint8_t count[2] = {(uint8_t)(0x40 | n), 0xff};
    return upz_put(to, head, sizeof(head)) && upz_put(to, count, 2) && upz_put(to, d, 3 * n) &&
           upz_put(to, end, 1);
}

static bool put_format(UpzBytes *to, uint8_t format)
{
    uint8_t d[] = {0xB5, 0, 0x31, 'D', 'T', 'G', '1', 0x41, (uint8_t)(0xF0 | (format & 15))};
    return upz_put(to, d, sizeof(d));
}

/* A message as a unit of the stream; no three bytes of it look like a start code. */
static bool put_unit(UpzBytes *to, enum AVCodecID codec, const UpzBytes *payload)
{
    static const uint8_t start[] = {0, 0, 0, 1}, h264[] = {6}, hevc[] = {39 << 1, 1};
    static const uint8_t guard[] = {3}, stop[] = {0x80}, more[] = {255}, user_data[] = {4};
    UpzBytes raw = {0};
    bool ok = upz_put(&raw, user_data, 1);
    size_t n = payload->n;
    for (; n >= 255 && ok; n -= 255) ok = upz_put(&raw, more, 1);
    uint8_t rest = (uint8_t)n;
    ok = ok && upz_put(&raw, &rest, 1) && upz_put(&raw, payload->d, payload->n) && upz_put(&raw, stop, 1);
    ok = ok && upz_put(to, start, 4) &&
         (codec == AV_CODEC_ID_H264 ? upz_put(to, h264, 1) : upz_put(to, hevc, 2));
    int zeros = 0;
    for (size_t i = 0; i < raw.n && ok; i++) {
        if (zeros >= 2 && raw.d[i] <= 3) {
            ok = upz_put(to, guard, 1);
            zeros = 0;
        }
        ok = ok && upz_put(to, raw.d + i, 1);
        zeros = raw.d[i] ? 0 : zeros + 1;
    }
    upz_free(raw.d);
    return ok;
}

static bool add(UpzBytes *nals, enum AVCodecID codec, UpzBytes *payload, bool made)
{
    bool ok = made && put_unit(nals, codec, payload);
    upz_free(payload->d);
    *payload = (UpzBytes){0};
    return ok;
}

/* ---- frames and packets ---- */

int upz_messages_frame(UpzMessages *m, const AVFrame *f, UprezError *err)
{
    if (!m) return 0;
    const AVFrameSideData *cc = av_frame_get_side_data(f, AV_FRAME_DATA_A53_CC);
    const AVFrameSideData *plus = av_frame_get_side_data(f, AV_FRAME_DATA_DYNAMIC_HDR_PLUS);
    const AVFrameSideData *afd = av_frame_get_side_data(f, AV_FRAME_DATA_AFD);
    UpzBytes nals = {0}, p = {0};
    bool ok = true;
    if (afd && afd->size && m->format)
        ok = add(&nals, m->codec, &p, put_format(&p, afd->data[0]));
    if (ok && cc && cc->size >= 3 && m->captions)
        ok = add(&nals, m->codec, &p, put_captions(&p, cc->data, cc->size));
    if (ok && plus && plus->size >= sizeof(AVDynamicHDRPlus) && m->plus)
        ok = add(&nals, m->codec, &p, put_plus(&p, (const AVDynamicHDRPlus *)plus->data));
    if (!ok) {
        upz_free(nals.d);
        return upz_fail_memory(err, nals.n, "the encoder");
    }
    if (!nals.n) return 0;
    if (m->n == WAITING) { /* its packet never came */
        upz_free(m->items[0].nals.d);
        memmove(m->items, m->items + 1, --m->n * sizeof(*m->items));
    }
    m->items[m->n++] = (Waiting){.pts = f->pts, .nals = nals};
    return 0;
}

/* Where the first part of a picture begins, its start code included; 0 also where the packet is not
 * made of start codes: false. */
static bool find_picture(enum AVCodecID codec, const uint8_t *d, size_t n, size_t *at)
{
    if (n < 5 || d[0] || d[1] || (d[2] != 1 && (d[2] || d[3] != 1))) return false;
    for (size_t i = 0; i + 4 < n; i++) {
        if (d[i] || d[i + 1] || d[i + 2] != 1) continue;
        int type = codec == AV_CODEC_ID_H264 ? d[i + 3] & 31 : d[i + 3] >> 1 & 63;
        bool picture = codec == AV_CODEC_ID_H264 ? type >= 1 && type <= 5 : type < 32;
        if (!picture) continue;
        *at = i && !d[i - 1] ? i - 1 : i;
        return true;
    }
    return false;
}

static int insert(AVPacket *p, size_t at, const UpzBytes *nals)
{
    AVPacket *n = av_packet_alloc();
    int r = n ? av_new_packet(n, p->size + (int)nals->n) : AVERROR(ENOMEM);
    if (r >= 0) {
        memcpy(n->data, p->data, at);
        memcpy(n->data + at, nals->d, nals->n);
        memcpy(n->data + at + nals->n, p->data + at, (size_t)p->size - at);
        r = av_packet_copy_props(n, p);
    }
    if (r >= 0) {
        av_packet_unref(p);
        av_packet_move_ref(p, n);
    }
    av_packet_free(&n);
    return r;
}

int upz_messages_packet(UpzMessages *m, AVPacket *p)
{
    for (int i = 0; m && i < m->n; i++) {
        if (m->items[i].pts != p->pts) continue;
        UpzBytes nals = m->items[i].nals;
        size_t at;
        memmove(m->items + i, m->items + i + 1, (size_t)(--m->n - i) * sizeof(*m->items));
        int r = find_picture(m->codec, p->data, (size_t)p->size, &at) ? insert(p, at, &nals) : 0;
        upz_free(nals.d);
        return r;
    }
    return 0;
}
