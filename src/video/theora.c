/* Theora I Specification (Xiph.Org Foundation, 2017), sections 6 and 7. */
#include "theora.h"

#include <string.h>
#include <libavutil/pixdesc.h>

#define RUN_MAX 4129 /* the longest run of a long-run bit string */

typedef struct Bits {
    uint8_t *to; /* zeros; NULL: only counted */
    size_t n;
} Bits;

static void put(Bits *b, unsigned value, int n)
{
    for (int i = n - 1; i >= 0; i--, b->n++)
        if (b->to && value >> i & 1) b->to[b->n / 8] |= (uint8_t)(0x80 >> b->n % 8);
}

/* n times 0 as a long-run bit string (7.2.1). */
static void put_zeros(Bits *b, int n)
{
    static const struct {
        int first, prefix, prefix_bits, extra;
    } codes[] = {{34, 0x3F, 6, 12}, {18, 0x3E, 6, 4}, {10, 0x1E, 5, 3}, {6, 0xE, 4, 2},
                 {4, 0x6, 3, 1}, {2, 0x2, 2, 1}, {1, 0x0, 1, 0}};
    put(b, 0, 1);
    while (n > 0) {
        int run = n < RUN_MAX ? n : RUN_MAX, i = 0;
        while (run < codes[i].first) i++;
        put(b, (unsigned)codes[i].prefix, codes[i].prefix_bits);
        put(b, (unsigned)(run - codes[i].first), codes[i].extra);
        n -= run;
        if (run == RUN_MAX && n) put(b, 0, 1); /* after the longest run the value is told again */
    }
}

/* Of all planes: 32x32 samples each. */
static int super_blocks(const AVCodecContext *enc)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(enc->pix_fmt);
    int mw = (enc->width + 15) / 16, mh = (enc->height + 15) / 16;
    int cw = mw * (d->log2_chroma_w ? 8 : 16), ch = mh * (d->log2_chroma_h ? 8 : 16);
    return (mw + 1) / 2 * ((mh + 1) / 2) + 2 * ((cw + 31) / 32) * ((ch + 31) / 32);
}

static void write_picture(Bits *b, int blocks)
{
    put(b, 0, 1);  /* a picture, no header */
    put(b, 1, 1);  /* that builds on the one before */
    put(b, 63, 6); /* a quantiser nothing uses */
    put(b, 0, 1);  /* the only one */
    put_zeros(b, blocks); /* no super block is coded in part */
    put_zeros(b, blocks); /* nor whole */
    put(b, 7, 3);  /* modes of macro blocks: plainly, and there are none */
    put(b, 1, 1);  /* motion vectors: likewise */
    put(b, 0, 16); /* tables for coefficients of luma and chroma, DC and AC */
}

int upz_theora_fill(AVPacket *packet, const AVCodecContext *encoder)
{
    if (packet->size || encoder->codec_id != AV_CODEC_ID_THEORA) return 0;
    int blocks = super_blocks(encoder);
    Bits count = {0};
    write_picture(&count, blocks);
    AVPacket *full = av_packet_alloc();
    int r = full ? av_new_packet(full, (int)((count.n + 7) / 8)) : AVERROR(ENOMEM);
    if (r >= 0) r = av_packet_copy_props(full, packet);
    if (r >= 0) {
        memset(full->data, 0, (size_t)full->size);
        Bits bits = {.to = full->data};
        write_picture(&bits, blocks);
        av_packet_unref(packet);
        av_packet_move_ref(packet, full);
    }
    av_packet_free(&full);
    return r;
}
