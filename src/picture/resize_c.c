/* Resampling, level c. */
#include "picture/resize_tmpl.h"

static void across_fixed(const UpzAcross *a, const void *src, int sample_bytes, int origin, int b0,
                         int b1, int shift, int16_t *dst)
{
    const uint8_t *s8 = src;
    const uint16_t *s16 = src;
    for (int b = b0; b < b1; b++) {
        int m = b % a->blocks, at = b / a->blocks * a->advance - origin;
        for (int i = 0; i < UPZ_BLOCK; i++, dst++) {
            int p = at + a->first[m * 4] + a->index[m * UPZ_BLOCK + i];
            int sum = 1 << shift >> 1;
            for (int k = 0; k < a->n; k++) {
                int w = a->fixed[((m * a->pairs + k / 2) * UPZ_BLOCK + i) * 2 + k % 2];
                sum += w * (sample_bytes == 1 ? s8[p + k] : s16[p + k]);
            }
            *dst = (int16_t)(sum >> shift);
        }
    }
}

static void across_float(const UpzAcross *a, const float *src, int origin, int b0, int b1,
                         float *dst)
{
    for (int b = b0; b < b1; b++) {
        int m = b % a->blocks, at = b / a->blocks * a->advance - origin;
        for (int i = 0; i < UPZ_BLOCK; i++, dst++) {
            const float *s = src + at + a->first[m * 4] + a->index[m * UPZ_BLOCK + i];
            const float *w = a->weight + m * a->n * UPZ_BLOCK + i;
            float sum = s[0] * w[0];
            for (int k = 1; k < a->n; k++) sum = sum + s[k] * w[k * UPZ_BLOCK];
            *dst = sum;
        }
    }
}

static int16_t down(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                    int x)
{
    int v = 0;
    for (int k = 0; k < n; k++) v += (rows[k][x] * w[k] + 0x4000) >> 15;
    v = (v + (1 << shift >> 1)) >> shift;
    return (int16_t)UPZ_CLAMP(v, lo, hi);
}

static void down_u8(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                    uint8_t *dst, int count)
{
    for (int x = 0; x < count; x++) dst[x] = (uint8_t)down(rows, w, n, shift, lo, hi, x);
}

static void down_u16(const int16_t *const *rows, const int16_t *w, int n, int shift, int lo, int hi,
                     int left, uint16_t *dst, int count)
{
    for (int x = 0; x < count; x++)
        dst[x] = (uint16_t)(down(rows, w, n, shift, lo, hi, x) << left);
}

const UpzResizeDSP upz_resize_c = {across_fixed, across_float, down_u8, down_u16,
                                   down_float, load_float, finish};
