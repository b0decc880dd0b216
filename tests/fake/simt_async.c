/* Copies that take their time, and mbarriers. */
#include "simt_state.h"
#include <stdlib.h>

/* ---- cp.async ---- */

static void land(SimtThread *t, const SimtCopy *c)
{
    memcpy(simt_range(c->shared, 16, "writes"), c->from, 16);
    simt_granule(c->shared)->coming--;
    simt_written(t, c->shared);
}

void dev_copy16(uint32_t shared, uint64_t global)
{
    SimtThread *t = simt_now;
    SimtCopy c = {shared, t->copy_group, simt_global(global, 16, 16, "reads")};
    simt_range(shared, 16, "writes");
    simt_async_write(t, shared, "writes");
    if (simt_maybe()) {
        land(t, &c);
        return;
    }
    t->copies = simt_more(t->copies, &t->cap_copies, t->n_copies, sizeof *t->copies);
    t->copies[t->n_copies++] = c;
}

void dev_copy_commit(void) { simt_now->copy_group++; }

void dev_copy_wait(int n)
{
    SimtThread *t = simt_now;
    size_t left = 0;
    if (n < 0) simt_fail("dev_copy_wait(%d)", n);
    for (size_t i = 0; i < t->n_copies; i++)
        if (t->copies[i].group + (uint32_t)n < t->copy_group) land(t, &t->copies[i]);
        else t->copies[left++] = t->copies[i];
    t->n_copies = left;
}

/* ---- mbarriers ---- */

static SimtMbar *find(uint32_t at)
{
    SimtBlock *b = &simt_block;
    SimtThread *t = simt_now;
    for (int i = 0; i < b->n_bars; i++) {
        SimtMbar *m = &b->bars[i];
        if (m->at != at) continue;
        if (m->init_warp != t->warp->index && m->init_clock > t->warp->clock[m->init_warp])
            simt_fail("uses the mbarrier at offset %u, whose dev_mbar_init nothing orders before",
                      at - SIMT_BASE);
        return m;
    }
    simt_fail("uses an mbarrier at offset %u, where none was made", at - SIMT_BASE);
    return NULL;
}

void dev_mbar_init(uint32_t at, int count)
{
    SimtBlock *b = &simt_block;
    SimtThread *t = simt_now;
    SimtMbar *m;
    int i = 0;
    if (at % 8) simt_fail("an mbarrier at offset %u: not aligned to 8", at - SIMT_BASE);
    if (count < 1 || count >= 1 << 20) simt_fail("an mbarrier of %d arrivals", count);
    while (i < b->n_bars && b->bars[i].at != at) i++;
    if (i == SIMT_MBARS) simt_fail("more than %d mbarriers", SIMT_MBARS);
    if (i == b->n_bars) {
        uint8_t *bytes = simt_write(t, at, 8, false);
        memset(bytes, 0xff, 8);
        simt_granule(at)->bar |= (uint8_t)(0xf << (at / 2 % 8));
        b->n_bars++;
    }
    m = &b->bars[i];
    memset(m, 0, sizeof *m);
    m->at = at;
    m->count = m->pending = count;
    m->init_warp = t->warp->index;
    m->init_clock = t->warp->clock[t->warp->index];
}

void dev_mbar_fence(void)
{
    for (int i = 0; i < simt_block.n_bars; i++)
        if (simt_block.bars[i].init_warp == simt_now->warp->index) simt_block.bars[i].fenced = true;
}

static void turn(SimtMbar *m)
{
    if (m->pending || m->bytes) return;
    m->phase++;
    m->pending = m->count;
    simt_join(m->done, m->acc);
    simt_wake(m->waiting);
    memset(m->waiting, 0, sizeof m->waiting);
}

static void arrive(SimtMbar *m)
{
    SimtThread *t = simt_now;
    if (m->pending == 0)
        simt_fail(
            "arrives at the mbarrier at offset %u, whose %d arrivals of this phase have all been; "
            "it waits for %lld bytes",
            m->at - SIMT_BASE, m->count, (long long)m->bytes);
    simt_join(m->acc, t->warp->clock);
    t->warp->clock[t->warp->index]++;
    m->pending--;
    turn(m);
}

void dev_mbar_expect(uint32_t bar, uint32_t bytes)
{
    SimtMbar *m = find(bar);
    m->bytes += bytes;
    if (m->bytes >= 1 << 20)
        simt_fail("an mbarrier that waits for %lld bytes", (long long)m->bytes);
    arrive(m);
}

void dev_mbar_arrive(uint32_t bar) { arrive(find(bar)); }

void dev_mbar_wait(uint32_t bar, int parity)
{
    SimtMbar *m = find(bar);
    SimtThread *t = simt_now;
    if (parity != 0 && parity != 1) simt_fail("dev_mbar_wait for parity %d", parity);
    while ((m->phase & 1) == (uint32_t)parity) {
        m->waiting[t->warp->index] |= 1u << t->lane;
        simt_sleep("mbarrier at offset %u, parity %d", bar - SIMT_BASE, parity);
    }
    simt_join(t->warp->clock, m->done);
}

/* ---- bulk copies ---- */

static uint8_t *check_bulk(uint64_t global, uint32_t shared, uint32_t bytes, const char *what)
{
    if (!bytes || bytes % 16) simt_fail("%s: a bulk copy of %u bytes", what, bytes);
    simt_range(shared, bytes, what);
    return simt_global(global, bytes, 16, what);
}

static void arrives(size_t i)
{
    SimtBulk c = simt_block.bulk[i];
    SimtMbar *m = &simt_block.bars[c.bar];
    simt_block.bulk[i] = simt_block.bulk[--simt_block.n_bulk];
    memcpy(simt_range(c.shared, c.bytes, "writes"), c.host, c.bytes);
    for (uint32_t a = c.shared; a < c.shared + c.bytes; a += 16) {
        SimtGranule *g = simt_granule(a);
        g->coming--;
        g->write_mask = 0; /* all that went before was known to the copy's thread */
    }
    m->bytes -= c.bytes;
    turn(m);
}

static SimtBulk *add(SimtBulk c)
{
    SimtBlock *b = &simt_block;
    b->bulk = simt_more(b->bulk, &b->cap_bulk, b->n_bulk, sizeof *b->bulk);
    b->bulk[b->n_bulk] = c;
    return &b->bulk[b->n_bulk++];
}

void dev_bulk_load(uint32_t shared, uint64_t global, uint32_t bytes, uint32_t bar)
{
    SimtMbar *m = find(bar);
    SimtBulk c = {.shared = shared, .bytes = bytes,
                  .bar = (int)(m - simt_block.bars)};
    if (!m->fenced)
        simt_fail("a bulk load with the mbarrier at offset %u, after whose making there was no "
                  "dev_mbar_fence", bar - SIMT_BASE);
    c.host = check_bulk(global, shared, bytes, "reads");
    for (uint32_t a = shared; a < shared + bytes; a += 16)
        simt_async_write(simt_now, a, "a bulk load writes");
    add(c);
    if (simt_maybe()) arrives(simt_block.n_bulk - 1);
}

static void take(SimtBulk *c)
{
    if (c->read) return;
    memcpy(c->staging, simt_range(c->shared, c->bytes, "reads"), c->bytes);
    for (uint32_t a = c->shared; a < c->shared + c->bytes; a += 16) simt_granule(a)->leaving--;
    c->read = true;
}

static void put(size_t i)
{
    SimtBulk *c = &simt_block.bulk[i];
    take(c);
    memcpy(c->host, c->staging, c->bytes);
    free(c->staging);
    *c = simt_block.bulk[--simt_block.n_bulk];
}

void dev_bulk_store(uint64_t global, uint32_t shared, uint32_t bytes)
{
    SimtThread *t = simt_now;
    SimtBulk c = {.store = true, .shared = shared, .bytes = bytes, .thread = t->index,
                  .group = t->bulk_group, .host = check_bulk(global, shared, bytes, "writes")};
    for (uint32_t a = shared; a < shared + bytes; a += 16)
        simt_async_read(t, a, "a bulk store reads");
    c.staging = malloc(bytes);
    if (!c.staging) abort();
    SimtBulk *added = add(c);
    if (simt_maybe()) take(added);
}

void dev_bulk_commit(void) { simt_now->bulk_group++; }

static void wait_stores(int n, bool written)
{
    SimtThread *t = simt_now;
    SimtBlock *b = &simt_block;
    if (n < 0) simt_fail("dev_bulk_wait(%d)", n);
    for (size_t i = 0; i < b->n_bulk;) {
        SimtBulk *c = &b->bulk[i];
        if (!c->store || c->thread != t->index || c->group + (uint32_t)n >= t->bulk_group) {
            i++;
        } else if (written) {
            put(i);
        } else {
            take(c);
            i++;
        }
    }
}

void dev_bulk_wait_read(int n) { wait_stores(n, false); }
void dev_bulk_wait(int n) { wait_stores(n, true); }
void dev_async_fence(void) { simt_now->fences++; }

bool simt_async_step(void)
{
    SimtBlock *b = &simt_block;
    size_t n = b->n_bulk, first = n ? simt_random((uint32_t)n) : 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = (first + k) % n;
        if (!b->bulk[i].store) {
            arrives(i);
            return true;
        }
        if (b->launch.seed > SIMT_AT_ONCE && !b->bulk[i].read) {
            take(&b->bulk[i]);
            return true;
        }
    }
    return false;
}

void simt_async_end(void)
{
    SimtBlock *b = &simt_block;
    for (size_t i = 0; i < b->n_bulk && !b->failed; i++) {
        SimtBulk *c = &b->bulk[i];
        if (!c->store)
            simt_fail("ends before %u bytes of a bulk load have come to shared memory at offset %u",
                      c->bytes, c->shared - SIMT_BASE);
        else if (!c->read && b->launch.seed <= SIMT_AT_ONCE)
            simt_fail("ends while a bulk store of thread %u reads shared memory at offset %u: "
                      "dev_bulk_wait_read is missing", c->thread, c->shared - SIMT_BASE);
    }
    while (b->n_bulk && !b->failed) put(b->n_bulk - 1);
}
