/* Zip checkpoints. A zip's checksums would stop nearly every change to the pickle inside, so input
 * that is no zip is taken for a pickle and put into an archive with eight storages. */
#include <string.h>
#include <zlib.h>

#include "fuzz.h"

enum {
    STORAGE = 4096,
    STORAGES = 8,
    MOST = 1 << 16,
    ROOM = MOST + (STORAGES + 1) * (STORAGE + 200)
};

typedef struct Zip {
    uint8_t *bytes;
    size_t n;
    uint8_t central[1024];
    size_t n_central;
    int members;
} Zip;

static void put(uint8_t *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void add(Zip *z, const char *name, const uint8_t *data, size_t size)
{
    size_t n_name = strlen(name);
    uint8_t local[30] = "PK\3\4", entry[46] = "PK\1\2";
    uint32_t crc = (uint32_t)crc32(0, data, (uInt)size);
    put(local + 14, crc, 4);
    put(local + 18, (uint32_t)size, 4);
    put(local + 22, (uint32_t)size, 4);
    put(local + 26, (uint32_t)n_name, 2);
    memcpy(entry + 6, local + 4, 26);
    put(entry + 42, (uint32_t)z->n, 4);
    memcpy(z->bytes + z->n, local, 30);
    memcpy(z->bytes + z->n + 30, name, n_name);
    if (size) memcpy(z->bytes + z->n + 30 + n_name, data, size);
    z->n += 30 + n_name + size;
    memcpy(z->central + z->n_central, entry, 46);
    memcpy(z->central + z->n_central + 46, name, n_name);
    z->n_central += 46 + n_name;
    z->members++;
}

static void finish(Zip *z)
{
    uint8_t end[22] = "PK\5\6";
    put(end + 8, (uint32_t)z->members, 2);
    put(end + 10, (uint32_t)z->members, 2);
    put(end + 12, (uint32_t)z->n_central, 4);
    put(end + 16, (uint32_t)z->n, 4);
    memcpy(z->bytes + z->n, z->central, z->n_central);
    z->n += z->n_central;
    memcpy(z->bytes + z->n, end, 22);
    z->n += 22;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if ((size >= 2 && data[0] == 'P' && data[1] == 'K') || size > MOST) {
        fuzz_load("fuzz.pth", data, size);
        return 0;
    }
    uint8_t *storage = calloc(STORAGE, 1);
    Zip z = {.bytes = malloc(ROOM + 2048)};
    if (!storage || !z.bytes) abort();
    for (size_t i = 0; i < STORAGE; i += 4) storage[i + 3] = 0x3c; /* small floats */
    add(&z, "archive/data.pkl", data, size);
    for (int i = 0; i < STORAGES; i++) {
        char name[] = "archive/data/0";
        name[sizeof(name) - 2] = (char)('0' + i);
        add(&z, name, storage, i < STORAGES - 1 ? STORAGE : 64);
    }
    finish(&z);
    uint8_t *exact = malloc(z.n);
    if (!exact) abort();
    memcpy(exact, z.bytes, z.n);
    fuzz_load("fuzz.pth", exact, z.n);
    free(exact);
    free(z.bytes);
    free(storage);
    return 0;
}
