/* Matrix instructions where a GPU has none (below sm_75): the same fragments by shuffles, sums by float
 * arithmetic in order of k. Written in dev.h's functions, so the tests run it too. */
#ifndef UPZ_DEV_PLAIN_H
#define UPZ_DEV_PLAIN_H

UPZ_DEV void plain_ldmatrix4(uint32_t r[4], uint32_t shared)
{
    int lane = (int)(dev_thread() % 32);
    UPZ_UNROLL
    for (int i = 0; i < 4; i++)
        r[i] = dev_get4(dev_shfl(shared, i * 8 + lane / 4) + (uint32_t)(lane % 4) * 4);
}

UPZ_DEV void plain_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    int lane = (int)(dev_thread() % 32), row = lane & ~3, column = lane % 4 * 8;
    UPZ_UNROLL
    for (int k = 0; k < 8; k++) { /* pairs of k: register pair k / 4 in lane k % 4 of a row */
        int q = k % 4, high = k / 4;
        uint32_t a0 = dev_shfl(a[2 * high], row + q), a1 = dev_shfl(a[2 * high + 1], row + q);
        uint32_t b0 = dev_shfl(b[high], column + q), b1 = dev_shfl(b[high], column + 4 + q);
        d[0] = dev_fma(dev_high(a0), dev_high(b0), dev_fma(dev_low(a0), dev_low(b0), d[0]));
        d[1] = dev_fma(dev_high(a0), dev_high(b1), dev_fma(dev_low(a0), dev_low(b1), d[1]));
        d[2] = dev_fma(dev_high(a1), dev_high(b0), dev_fma(dev_low(a1), dev_low(b0), d[2]));
        d[3] = dev_fma(dev_high(a1), dev_high(b1), dev_fma(dev_low(a1), dev_low(b1), d[3]));
    }
}

#endif
